import math

import pytest
import torch

from altgrad.model.parts import resolve
from tests.model.tiny import tiny_config

X = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def mlp(name: str, **changes):
    return resolve("mlp", name)(tiny_config(bias=False, **changes)).double()


def test_squared_relu_is_homogeneous_of_degree_two():
    part = mlp("relu2")
    torch.testing.assert_close(part(2 * X), 4 * part(X))
    assert (part.activation(X)[X < 0] == 0).all()


@pytest.mark.parametrize(("name", "tolerance"), [("gelu", 1e-12), ("gelu_tanh", 1e-3)])
def test_gelu_is_x_times_the_normal_distribution(name, tolerance):
    exact = X * 0.5 * (1 + torch.erf(X / math.sqrt(2)))
    torch.testing.assert_close(mlp(name).activation(X), exact, atol=tolerance, rtol=0)


def test_swiglu_gates_with_silu():
    part = mlp("swiglu")
    gate = X @ part.c_gate.weight.T
    wanted = (gate * gate.sigmoid() * (X @ part.c_fc.weight.T)) @ part.c_proj.weight.T
    torch.testing.assert_close(part(X), wanted)


def test_swiglu_keeps_about_the_same_number_of_parameters():
    size = lambda name: sum(p.numel() for p in mlp(name, n_embd=384).parameters())  # noqa: E731
    assert mlp("swiglu", n_embd=384).c_fc.out_features == 1024
    assert size("swiglu") == size("gelu")


def test_n_inner_sets_the_width():
    assert mlp("relu2", n_inner=24).c_fc.out_features == 24
    assert mlp("swiglu", n_inner=24).c_gate.out_features == 24
