"""Oracle: torch.optim.AdamW. And the measurement of what Adam leaves of the stiffness."""

import pytest
import torch
from torch import nn

from altgrad.optim.manifold import ManifoldOptimizer
from altgrad.optim.stiffness import published_stiffness
from altgrad.optim.ulp import UlpOptimizer
from tests.optim.toy import ToyModel, format_grid, train, weights_of


def adamw(params, **settings) -> torch.optim.AdamW:
    return torch.optim.AdamW(params, **{"lr": 1e-3, "betas": (0.9, 0.95), **settings})


def test_with_stiffness_one_it_is_torchs_adamw_bit_for_bit():
    ours, theirs = ToyModel(), ToyModel()
    fields = dict.fromkeys(ours.parameters(), torch.ones_like)
    settings = {"lr": 0.01, "weight_decay": 0.1}
    train(ours, ManifoldOptimizer(adamw(ours.parameters(), **settings), fields), range(8))
    train(theirs, adamw(theirs.parameters(), **settings), range(8))
    torch.testing.assert_close(weights_of(ours), weights_of(theirs), rtol=0, atol=0)


def test_the_moments_are_those_of_the_preconditioned_gradient():
    p = nn.Parameter(torch.tensor([0.5, -2.0, 0.0]))
    grad = torch.tensor([1.0, 1.0, 1.0])
    p.grad = grad.clone()
    stiffness = published_stiffness(format_grid("e5m2"))
    optimizer = ManifoldOptimizer(adamw([p]), {p: stiffness})
    optimizer.step()
    expected = 0.1 * torch.tensor([0.125, 0.5, 1.0])
    torch.testing.assert_close(optimizer.state[p]["exp_avg"], expected)
    torch.testing.assert_close(p.grad, grad, rtol=0, atol=0)


def displacement(make, weight: torch.Tensor, steps: int = 50) -> torch.Tensor:
    """How far each weight goes under gradients of one distribution, the same for every rule."""
    p = nn.Parameter(weight.clone())
    optimizer = make(p)
    generator = torch.Generator().manual_seed(9)
    for _ in range(steps):
        p.grad = 0.02 * (torch.randn(weight.shape, generator=generator) + 0.5)
        optimizer.step()
    return (p.detach() - weight).abs()


@pytest.fixture
def weight() -> torch.Tensor:
    """Magnitudes over eight binades, so the stiffness varies by a factor of 256."""
    exponents = torch.arange(8).repeat_interleave(256).float()
    return torch.exp2(exponents - 8) * 1.4


def manifold(eps: float):
    stiffness = published_stiffness(format_grid("e4m3fn"))
    return lambda p: ManifoldOptimizer(
        adamw([p], lr=1e-5, eps=eps, weight_decay=0.0), {p: stiffness}
    )


def ratio_of_binades(moved: torch.Tensor) -> float:
    """Mean displacement in the largest binade over that in the smallest."""
    by_binade = moved.view(8, 256).mean(1)
    return (by_binade[-1] / by_binade[0]).item()


def test_adam_divides_the_stiffness_away(weight):
    """The stiffness differs by 128 between the binades; the steps do not: at most by 1 %."""
    assert ratio_of_binades(displacement(manifold(1e-8), weight)) == pytest.approx(1.0, abs=0.01)
    plain = displacement(lambda p: adamw([p], lr=1e-5, eps=1e-30, weight_decay=0.0), weight)
    stiff = displacement(manifold(1e-30), weight)
    torch.testing.assert_close(stiff, plain, rtol=2e-3, atol=1e-8)


def test_what_adam_leaves_of_the_stiffness_is_its_eps(weight):
    """With eps as large as the preconditioned gradients the small weights do move less."""
    assert ratio_of_binades(displacement(manifold(1e-4), weight)) > 3.0


def test_sgd_keeps_the_stiffness(weight):
    stiffness = published_stiffness(format_grid("e4m3fn"))

    def sgd(p):
        return ManifoldOptimizer(torch.optim.SGD([p], lr=1e-4, momentum=0.9), {p: stiffness})

    assert ratio_of_binades(displacement(sgd, weight)) == pytest.approx(128.0, rel=0.02)


def test_geometry_after_the_moments_is_kept(weight):
    stiffness = published_stiffness(format_grid("e4m3fn"))

    def ulp(p):
        base = adamw([p], lr=1e-3, weight_decay=0.0)
        return UlpOptimizer(base, {p: stiffness}, match_rms=False)

    assert ratio_of_binades(displacement(ulp, weight)) == pytest.approx(128.0, rel=0.05)
