"""Oracles: torch.optim.Muon (bit for bit where it computes in the same dtype) and the SVD."""

import pytest
import torch
from torch import nn

from altgrad.optim.muon import Muon, fast_dtype, momentum_at, newton_schulz, step_scale

SHAPES = [(6, 6), (24, 8), (8, 24), (6, 6), (24, 8), (1, 5), (5, 1)]
CPU = torch.device("cpu")
BF16_CPU = fast_dtype(CPU) is torch.bfloat16


def parameters(seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def run(optimizer, params, steps: int) -> None:
    for step in range(steps):
        generator = torch.Generator().manual_seed(100 + step)
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step()


@pytest.mark.skipif(not BF16_CPU, reason="torch.optim.Muon computes in bfloat16 only")
@pytest.mark.parametrize("scale", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("nesterov", [True, False])
def test_equals_torch_muon_bit_for_bit(scale, nesterov):
    ours, theirs = parameters(), parameters()
    common = {"lr": 0.02, "momentum": 0.95, "nesterov": nesterov, "weight_decay": 0.1}
    run(Muon(ours, ns_steps=5, scale=scale, **common), ours, 4)
    run(torch.optim.Muon(theirs, ns_steps=5, adjust_lr_fn=scale, **common), theirs, 4)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.skipif(not BF16_CPU, reason="torch.optim.Muon computes in bfloat16 only")
def test_float32_differs_from_bfloat16_by_its_rounding_only():
    matrix = torch.randn(16, 64, generator=torch.Generator().manual_seed(1))
    fine = newton_schulz(matrix, dtype=torch.float32)
    coarse = newton_schulz(matrix, dtype=torch.bfloat16).float()
    assert (fine - coarse).norm() / fine.norm() < 0.03


@pytest.mark.parametrize("shape", [(12, 12), (40, 10), (10, 40)])
def test_newton_schulz_keeps_the_singular_vectors_and_levels_the_values(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    result = newton_schulz(matrix, steps=8, dtype=torch.float64)
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    values = u.T @ result @ vh.T
    torch.testing.assert_close(values, torch.diag(values.diag()), rtol=0, atol=1e-9)
    assert values.diag().min() > 0.65
    assert values.diag().max() < 1.25


def test_a_zero_gradient_moves_nothing():
    p = nn.Parameter(torch.ones(4, 4))
    p.grad = torch.zeros(4, 4)
    Muon([p], lr=0.1).step()
    torch.testing.assert_close(p.detach(), torch.ones(4, 4), rtol=0, atol=0)


def test_the_rms_of_a_matched_step_is_a_fifth_of_the_rate():
    p = nn.Parameter(torch.zeros(64, 256))
    p.grad = torch.randn(64, 256, generator=torch.Generator().manual_seed(4))
    Muon([p], lr=1.0, scale="match_rms_adamw").step()
    assert p.detach().square().mean().sqrt().item() == pytest.approx(0.2, rel=0.15)


@pytest.mark.parametrize(
    ("rows", "columns", "scale"), [(768, 192, 2.0), (192, 768, 1.0), (192, 192, 1.0)]
)
def test_the_original_scale_is_the_root_of_rows_over_columns(rows, columns, scale):
    assert step_scale(torch.Size([rows, columns]), "original") == scale


def test_momentum_rises_to_its_value():
    assert momentum_at(0, 0.95, 300) == pytest.approx(0.85)
    assert momentum_at(150, 0.95, 300) == pytest.approx(0.90)
    assert momentum_at(300, 0.95, 300) == momentum_at(9999, 0.95, 300) == pytest.approx(0.95)
    assert momentum_at(0, 0.95, 0) == pytest.approx(0.95)
    assert momentum_at(0, 0.5, 300) == pytest.approx(0.5)


def test_vectors_are_refused():
    with pytest.raises(ValueError, match=r"takes matrices; got a tensor of shape \(3,\)"):
        Muon([nn.Parameter(torch.zeros(3))])
