"""Oracle: the published equations, one number at a time in Python floats."""

import math

import pytest
import torch
from torch import nn

from altgrad.optim import OptimConfig, build_optimizer
from altgrad.optim.m_adam import MAdam
from altgrad.optim.madam import Madam
from tests.optim.toy import ToyModel, train

WEIGHTS = [[0.5, -0.3, 0.02], [-1.5, 0.0, 0.7]]


def gradients(steps: int) -> torch.Tensor:
    return torch.randn(steps, 2, 3, generator=torch.Generator().manual_seed(5)).double()


def run(optimizer, p, grads) -> torch.Tensor:
    for grad in grads:
        p.grad = grad.clone()
        optimizer.step()
    return p.detach()


def parameter() -> nn.Parameter:
    return nn.Parameter(torch.tensor(WEIGHTS, dtype=torch.float64))


def madam_by_hand(w, grads, limit, lr=0.1, bound=1.2, octaves=0):
    v = 0.0
    for t, g in enumerate(grads, start=1):
        v = 0.999 * v + 0.001 * g * g
        n = max(-bound, min(bound, g / math.sqrt(v / (1 - 0.999**t))))
        sign = (w > 0) - (w < 0)
        if octaves and w:
            k = round(octaves * math.log2(abs(w))) - round(octaves * lr * n * sign)
            w = sign * 2 ** (k / octaves)
        else:
            w *= math.exp(-lr * n * sign)
        w = max(-limit, min(limit, w))
    return w


@pytest.mark.parametrize("octaves", [0, 16])
def test_madam_is_the_published_equation(octaves):
    grads, p = gradients(12), parameter()
    limit = 1.1 * p.detach().square().mean().sqrt().item()
    actual = run(Madam([p], lr=0.1, bound=1.2, scale=1.1, steps_per_octave=octaves), p, grads)
    expected = [
        [
            madam_by_hand(WEIGHTS[i][j], grads[:, i, j].tolist(), limit, octaves=octaves)
            for j in range(3)
        ]
        for i in range(2)
    ]
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64))


def test_lns_weights_are_powers_of_the_base():
    p = parameter()
    run(Madam([p], lr=0.1, scale=100.0, steps_per_octave=8), p, gradients(5))
    levels = 8 * p.detach()[p != 0].abs().log2()
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("octaves", [0, 8])
def test_madam_keeps_zeros_and_signs(octaves):
    p = parameter()
    signs = p.detach().sign()
    run(Madam([p], lr=0.5, steps_per_octave=octaves), p, gradients(30))
    torch.testing.assert_close(p.detach().sign(), signs, rtol=0, atol=0)


def test_madam_refuses_a_tensor_of_zeros():
    model = ToyModel()
    nn.init.zeros_(model.down.weight)
    with pytest.raises(
        ValueError, match=r"cannot move a tensor of zeros \(here of shape \(8, 24\)"
    ):
        build_optimizer(model, OptimConfig(name="madam"))


def test_madam_decay_shrinks_by_a_factor():
    p = nn.Parameter(torch.tensor([[2.0, -4.0]]))
    p.grad = torch.zeros_like(p)
    Madam([p], lr=0.1, weight_decay=0.5, scale=10.0).step()
    torch.testing.assert_close(p.detach(), torch.tensor([[2.0, -4.0]]) * math.exp(-0.05))


@pytest.mark.parametrize("name", ["madam", "lns_madam", "m_adam"])
def test_what_is_not_two_dimensional_is_moved_by_adamw_at_its_own_rate(name):
    model, other = ToyModel(), ToyModel()
    config = OptimConfig(name=name, lr=0.01, free_lr=0.003)
    train(model, build_optimizer(model, config), range(1))
    train(other, build_optimizer(other, OptimConfig(name="adamw", lr=0.003)), range(1))
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        if a.ndim != 2:
            torch.testing.assert_close(a, b, rtol=0, atol=0)


def m_adam_by_hand(w, grads, lr=0.1, ratio=0.5, decay=0.2):
    moments = {"m": [0.0, 0.0], "e": [0.0, 0.0]}

    def adam(name, g, t):
        first, second = moments[name]
        moments[name] = [0.9 * first + 0.1 * g, 0.95 * second + 0.05 * g * g]
        first, second = moments[name]
        return first / (1 - 0.9**t) / (math.sqrt(second / (1 - 0.95**t)) + 1e-8)

    for t, g in enumerate(grads, start=1):
        m, e = math.frexp(w)
        by_m, by_e = lr * adam("m", g * 2**e, t), ratio * lr * adam("e", g * w * math.log(2), t)
        m -= max(-0.25, min(0.25, by_m))
        w = m * 2 ** (e - max(-0.5, min(0.5, by_e))) * (1 - lr * decay)
    return w


def test_m_adam_is_the_published_equation():
    grads, p = gradients(12), parameter()
    optimizer = MAdam([p], lr=0.1, exponent_lr_ratio=0.5, weight_decay=0.2)
    expected = [
        [m_adam_by_hand(WEIGHTS[i][j], grads[:, i, j].tolist()) for j in range(3)] for i in range(2)
    ]
    torch.testing.assert_close(
        run(optimizer, p, grads), torch.tensor(expected, dtype=torch.float64)
    )
