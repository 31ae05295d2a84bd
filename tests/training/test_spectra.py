"""Ranks of matrices whose ranks are known."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from altgrad.training.instruments.config import DiagnosticsConfig
from altgrad.training.instruments.dead_neurons import DeadNeurons
from altgrad.training.instruments.instrument import Context
from altgrad.training.instruments.ranks import (
    Ranks,
    effective_rank,
    rank_for_energy,
    stable_rank,
)


def looked(instrument: Ranks | DeadNeurons) -> dict[str, float]:
    """The numbers of one step at which this instrument alone is due."""
    instrument.context.start()
    instrument.gradients()
    instrument.moved()
    return instrument.context.readout.read()


def test_orthogonal_matrices_use_all_directions():
    singular = torch.ones(6)
    assert stable_rank(singular).item() == pytest.approx(6.0)
    assert effective_rank(singular).item() == pytest.approx(6.0)
    assert rank_for_energy(singular).item() == 6


def test_rank_one_matrices_use_one():
    singular = torch.tensor([3.0, 0.0, 0.0])
    assert [f(singular).item() for f in (stable_rank, effective_rank, rank_for_energy)] == [
        pytest.approx(1.0),
        pytest.approx(1.0),
        1,
    ]


def test_zero_matrices_use_none():
    singular = torch.zeros(4)
    assert [f(singular).item() for f in (stable_rank, effective_rank, rank_for_energy)] == [0, 0, 0]


def test_ranks_equal_their_definition_in_numpy():
    weight = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    s = np.linalg.svd(weight.numpy().astype(np.float64), compute_uv=False)
    p = s / s.sum()
    singular = torch.linalg.svdvals(weight)
    frobenius = np.linalg.norm(weight.numpy()) ** 2
    assert stable_rank(singular).item() == pytest.approx(frobenius / s[0] ** 2, rel=1e-5)
    assert effective_rank(singular).item() == pytest.approx(
        math.exp(-(p * np.log(p)).sum()), rel=1e-5
    )


def test_lost_rank_is_measured_from_the_first_look():
    model = nn.Linear(8, 8, bias=False)
    nn.init.orthogonal_(model.weight)
    watch = Ranks(Context(model))
    assert looked(watch)["rank_loss/max"] == pytest.approx(0.0, abs=1e-6)
    with torch.no_grad():
        model.weight[2:] = 0
    assert looked(watch)["rank_loss/weight"] == pytest.approx(0.75, abs=1e-5)
    other = Ranks(Context(model))
    other.load_state_dict(watch.state_dict())
    assert looked(other)["rank_loss/weight"] == pytest.approx(0.75, abs=1e-5)


def test_a_neuron_is_dead_after_its_window_and_wakes_up():
    model = nn.Linear(3, 4)
    settings = DiagnosticsConfig(dead_neuron_threshold=1e-8, dead_neuron_window=3)
    dead = DeadNeurons(Context(model, diagnostics=settings))
    gradient = torch.ones(4, 3)
    gradient[1] = 1e-9
    shares = []
    for step in range(5):
        model.weight.grad = torch.ones(4, 3) if step == 4 else gradient
        shares.append(looked(dead)["dead_neurons/max"])
    assert shares == [0.0, 0.0, 0.25, 0.25, 0.0]


def test_rows_of_absent_tokens_are_not_dead_neurons():
    model = nn.Embedding(4, 3)
    model(torch.tensor([1])).sum().backward()
    dead = DeadNeurons(Context(model, diagnostics=DiagnosticsConfig(dead_neuron_window=1)))
    assert looked(dead) == {}
