"""Gradient statistics against NumPy, and at their edges."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from altgrad.training.instruments.gradients import (
    compute_gradient_stats,
    gradient_cosine_similarity,
)


def with_gradients(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    model(torch.randn(4, 5)).square().sum().backward()
    return model


def test_statistics_equal_numpys():
    model = with_gradients()
    stats = compute_gradient_stats(model, threshold=0.3)
    for name, parameter in model.named_parameters():
        g = parameter.grad.numpy().astype(np.float64).ravel()
        assert stats[f"grad_norm_l2/{name}"] == pytest.approx(np.linalg.norm(g), rel=1e-6)
        assert stats[f"grad_norm_linf/{name}"] == pytest.approx(np.abs(g).max(), rel=1e-6)
        assert stats[f"dead_neuron_frac/{name}"] == pytest.approx(np.mean(np.abs(g) < 0.3))
        snr = abs(g.mean()) / g.std(ddof=1)
        assert stats[f"grad_snr/{name}"] == pytest.approx(snr, rel=1e-5)
    l2 = [np.linalg.norm(p.grad.numpy()) for p in model.parameters()]
    assert stats["grad_norm_l2/mean"] == pytest.approx(np.mean(l2), rel=1e-6)
    assert stats["grad_norm_l2/min"] == pytest.approx(np.min(l2), rel=1e-6)


def test_constant_gradients_have_infinite_ratio():
    model = nn.Linear(3, 2)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    stats = compute_gradient_stats(model)
    assert stats["grad_snr/weight"] == math.inf
    assert stats["grad_snr/mean"] == 0.0


def test_without_gradients_the_aggregates_are_zero():
    stats = compute_gradient_stats(nn.Linear(2, 2))
    assert stats["grad_norm_l2/mean"] == stats["grad_norm_linf/max"] == 0.0


def test_a_model_agrees_with_itself_and_opposes_its_negative():
    model, other = with_gradients(), with_gradients()
    assert gradient_cosine_similarity(model, other)["grad_cos_sim/min"] == pytest.approx(1.0)
    for parameter in other.parameters():
        parameter.grad.neg_()
    assert gradient_cosine_similarity(model, other)["grad_cos_sim/mean"] == pytest.approx(-1.0)


def test_cosine_equals_torchs():
    a, b = with_gradients(0), with_gradients(1)
    found = gradient_cosine_similarity(a, b)
    for (name, p), q in zip(a.named_parameters(), b.parameters(), strict=True):
        expected = nn.functional.cosine_similarity(p.grad.flatten(), q.grad.flatten(), dim=0)
        assert found[f"grad_cos_sim/{name}"] == pytest.approx(expected.item(), abs=1e-6)


def test_zero_gradients_are_not_nan():
    a, b = with_gradients(), with_gradients()
    for parameter in a.parameters():
        parameter.grad.zero_()
    assert gradient_cosine_similarity(a, b)["grad_cos_sim/min"] == 0.0
    assert gradient_cosine_similarity(a, a)["grad_cos_sim/min"] == 1.0


def test_different_models_are_refused():
    with pytest.raises(ValueError, match="differ in parameters"):
        gradient_cosine_similarity(with_gradients(), nn.Linear(5, 7))
