"""Oracles: torch.optim.Muon (bit for bit where it computes in the same dtype) and the SVD."""

import copy

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


def test_rows_are_levelled_as_normuons_algorithm_says():
    """Row by row and number by number, in float64, from Muon's own orthogonal updates."""
    shape, beta, lr = (5, 3), 0.8, 0.1
    p, plain = (nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for _ in range(2))
    levelling, muon = Muon([p], lr=lr, neuron_beta=beta), Muon([plain], lr=lr)
    expected, v = torch.zeros(shape, dtype=torch.float64), [0.0] * shape[0]
    for step in range(4):
        grad = torch.randn(shape, generator=torch.Generator().manual_seed(step)).double()
        before = plain.detach().clone()
        for weight, optimizer in ((p, levelling), (plain, muon)):
            weight.grad = grad.clone()
            optimizer.step()
        update = plain.detach() - before
        rows = []
        for i, row in enumerate((update / lr).tolist()):
            # Muon's own factor on this shape is undone, or v would hold it.
            row = [x / step_scale(torch.Size(shape), "original") for x in row]
            v[i] = beta * v[i] + (1 - beta) * sum(x * x for x in row) / len(row)
            rows.append([x / v[i] ** 0.5 for x in row])
        levelled = torch.tensor(rows, dtype=torch.float64)
        expected += levelled * (update.norm() / levelled.norm())
        torch.testing.assert_close(p.detach(), expected, rtol=1e-7, atol=1e-10)


def test_a_levelled_first_step_moves_every_row_alike_and_is_as_long_as_muons():
    p, plain = (nn.Parameter(torch.zeros(8, 24)) for _ in range(2))
    grad = torch.randn(8, 24, generator=torch.Generator().manual_seed(0))
    for weight, beta in ((p, 0.95), (plain, 0.0)):
        weight.grad = grad.clone()
        Muon([weight], lr=0.1, neuron_beta=beta).step()
    norms = p.detach().norm(dim=1)
    torch.testing.assert_close(norms, norms.mean().expand(8), rtol=1e-4, atol=0)
    assert p.detach().norm().item() == pytest.approx(plain.detach().norm().item(), rel=1e-4)
    p.grad = torch.zeros_like(p)
    before = p.detach().clone()
    Muon([p], lr=0.1, neuron_beta=0.95).step()
    assert torch.equal(p.detach(), before)


def test_a_state_saved_before_rows_were_levelled_goes_on():
    ours, resumed = parameters(), parameters()
    optimizer, later = Muon(ours, lr=0.1), Muon(resumed, lr=0.1)
    run(optimizer, ours, 2)
    saved = copy.deepcopy(optimizer.state_dict())
    for group in saved["param_groups"]:
        del group["neuron_beta"]
    later.load_state_dict(saved)
    for a, b in zip(resumed, ours, strict=True):
        a.data.copy_(b.data)
    for params, taking in ((ours, optimizer), (resumed, later)):
        run(taking, params, 1)
    for a, b in zip(resumed, ours, strict=True):
        assert torch.equal(a, b)


def test_momentum_rises_to_its_value():
    assert momentum_at(0, 0.95, 300) == pytest.approx(0.85)
    assert momentum_at(150, 0.95, 300) == pytest.approx(0.90)
    assert momentum_at(300, 0.95, 300) == momentum_at(9999, 0.95, 300) == pytest.approx(0.95)
    assert momentum_at(0, 0.95, 0) == pytest.approx(0.95)
    assert momentum_at(0, 0.5, 300) == pytest.approx(0.5)


def test_vectors_are_refused():
    with pytest.raises(ValueError, match=r"takes matrices; got a tensor of shape \(3,\)"):
        Muon([nn.Parameter(torch.zeros(3))])
