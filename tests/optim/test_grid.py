import pytest
import torch
from torch import nn

from altgrad.optim import TableGrid
from altgrad.optim.grid_steps import GridOptimizer

VALUES = torch.tensor([-8.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 8.0])


def make(weight, *, lr=1.0, rung_clip=10.0, weight_decay=0.0, seed=0, momentum=0.0):
    p = nn.Parameter(torch.tensor(weight))
    base = torch.optim.SGD([p], lr=lr, momentum=momentum, weight_decay=weight_decay)
    grids = {p: TableGrid(VALUES, mantissa_bits=0)}
    return p, GridOptimizer(base, None, grids, rung_clip=rung_clip, seed=seed)


def step(p, optimizer, grad) -> list[float]:
    p.grad = torch.as_tensor(grad)
    optimizer.step()
    return p.tolist()


def test_weights_start_on_the_grid():
    p, _ = make([0.4, 0.6, 2.9, 3.1, -100.0])
    assert p.tolist() == [0.0, 1.0, 2.0, 4.0, -8.0]


def test_whole_rungs_are_taken_exactly_and_the_ends_stop():
    p, optimizer = make([1.0, 1.0, 4.0, -8.0])
    assert step(p, optimizer, [1.0, -2.0, -5.0, 1.0]) == [0.0, 4.0, 8.0, -8.0]


def test_fractions_of_a_rung_are_right_on_average():
    p, optimizer = make([1.0] * 100_000)
    step(p, optimizer, torch.full((100_000,), 0.3))
    assert p.detach().mean().item() == pytest.approx(0.7, abs=4 * 0.46 / 100_000**0.5)


def test_rungs_are_clipped():
    p, optimizer = make([1.0], rung_clip=2.0)
    assert step(p, optimizer, [-100.0]) == [4.0]


def test_velocity_is_sgds():
    p, optimizer = make([0.0], lr=1.0, momentum=0.5)
    assert step(p, optimizer, [-1.0]) == [1.0]
    assert step(p, optimizer, [-0.5]) == [2.0]  # 0.5 * 1 + 0.5


def test_decay_pulls_towards_zero_on_average():
    p, optimizer = make([4.0] * 20_000, lr=0.1, weight_decay=0.5)
    step(p, optimizer, torch.zeros(20_000))
    # 0.1 * 0.5 * 4 = 0.2 in value is 0.05 of the spacing 4 above; one rung down is 2
    assert p.detach().mean().item() == pytest.approx(4.0 - 0.05 * 2.0, abs=0.02)


def test_a_resumed_run_draws_the_same_numbers():
    grads = torch.randn(4, 50, generator=torch.Generator().manual_seed(1))
    p, optimizer = make([1.0] * 50, lr=0.7)
    for grad in grads[:2]:
        step(p, optimizer, grad)
    q, second = make(p.tolist(), lr=0.7)
    second.load_state_dict(optimizer.state_dict())
    for grad in grads[2:]:
        assert step(p, optimizer, grad) == step(q, second, grad)


def test_another_seed_draws_other_numbers():
    grad = torch.full((1000,), 0.5)
    p, first = make([1.0] * 1000, seed=0)
    q, second = make([1.0] * 1000, seed=1)
    assert step(p, first, grad) != step(q, second, grad)
