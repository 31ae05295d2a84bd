import numpy as np
import pytest
import torch
from torch import nn

from altgrad.optim import Storage
from altgrad.optim.stored import StoredOptimizer
from altgrad.quantization import PrecisionConfig, Recipe, apply_recipe, grids_of
from altgrad.training.instruments.arrived import ArrivedUpdates, sums_by_binade
from altgrad.training.instruments.instrument import Context

BEFORE = torch.tensor([[1.0, -0.75, 0.5, 0.3, 0.01, 1e-4, 0.0]])
WANTED = torch.tensor([[1.1, -0.70, 0.4, 0.3, 0.02, 3e-4, 0.1]])
KEPT = torch.tensor([[1.0, -0.50, 0.5, 0.3, 0.02, 1e-4, 0.125]])


def measured(kind: str = "e4m3", *, rate: float = 0.01, seed: int | None = 1):
    """One step of SGD on a gradient of ones, from weights on the grid; the largest stays, and with
    it the scale."""
    layer = nn.Linear(40, 30, bias=False)
    generator = torch.Generator().manual_seed(0)
    layer.weight.data = torch.randn(30, 40, generator=generator)
    model = nn.Sequential(layer)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    if kind != "plain":
        apply_recipe(model, Recipe.of(PrecisionConfig(simulate=True, format=kind)))
        how = {"mode": "rounded", "stochastic": seed is not None, "seed": seed or 0}
        optimizer = StoredOptimizer(optimizer, Storage(grids_of(model), **how))
    context = Context(model, optimizer)
    context.remember_weights()
    layer.weight.grad = torch.ones(30, 40)
    layer.weight.grad[layer.weight.abs() == layer.weight.abs().max()] = 0.0
    optimizer.step()
    ArrivedUpdates(context).moved()
    return context.readout.read()


def test_sums_are_those_of_numpy_and_a_weight_lies_in_the_binade_it_is_smaller_by():
    a, d = (KEPT - BEFORE).numpy()[0], (WANTED - BEFORE).numpy()[0]
    table = sums_by_binade(BEFORE, WANTED, KEPT).numpy()
    where = np.array([0, 1, 1, 2, 7, 7, 7])  # 1/0.75 and 1/0.5 are both below 4; 0 is the last
    for binade in range(8):
        here = where == binade
        w = BEFORE.numpy()[0][here]
        expected = [a[here] @ d[here], d[here] @ d[here], a[here] @ a[here], w @ w]
        np.testing.assert_allclose(table[binade], expected, rtol=1e-5, atol=1e-12)


def test_in_a_plain_run_everything_arrives():
    found = measured("plain")
    for name in ("arrived_rate", "arrived_size", "arrived_cosine"):
        assert found[f"{name}/total"] == pytest.approx(1.0, abs=1e-6)
        assert found[f"{name}/0.weight"] == pytest.approx(1.0, abs=1e-6)
    assert all(found[f"binade_rate/{b}"] == pytest.approx(1.0, abs=1e-6) for b in range(1, 8))
    assert "binade_rate/0" not in found  # the largest weight alone, which did not move


def test_steps_below_half_a_spacing_do_not_arrive_where_it_is_wide():
    """E4M3, scaled to a largest weight of 3.4: half a spacing is more than a step of 0.01 down to
    weights of 0.15."""
    found = measured(seed=None)
    assert [found[f"binade_rate/{b}"] for b in (1, 2, 3)] == [0.0] * 3
    assert found["binade_rate/7"] == pytest.approx(1.0, abs=0.05)
    assert found["binade_step/1"] == 0.0
    assert found["arrived_rate/total"] == pytest.approx(0.32, abs=0.01)


def test_nothing_arrived_has_a_rate_and_no_direction():
    found = measured("e7m0", rate=1e-6, seed=None)
    assert found["arrived_rate/total"] == found["arrived_size/total"] == 0.0
    assert "arrived_cosine/total" not in found


def test_nothing_wanted_has_no_rate():
    assert not [n for n in measured(rate=0.0) if n.startswith(("arrived", "binade_rate"))]


def test_at_random_the_rate_is_one_on_average_and_the_direction_is_lost():
    found = [measured(seed=seed) for seed in range(1, 21)]
    rates = [f["arrived_rate/total"] for f in found]
    assert sum(rates) / len(rates) == pytest.approx(1.0, abs=0.05)
    assert all(f["arrived_cosine/total"] < 0.5 and f["arrived_size/total"] > 2 for f in found)


def test_the_rate_is_size_times_cosine():
    found = measured("e5m2", rate=0.1)
    product = found["arrived_size/total"] * found["arrived_cosine/total"]
    assert found["arrived_rate/total"] == pytest.approx(product, rel=1e-5)
