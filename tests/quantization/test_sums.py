"""Sums over many tensors: the native pass, the torch version, and double arithmetic agree."""

import pytest
import torch

from altgrad import quantization as q
from altgrad.quantization.rounding import native, tensor_sums
from altgrad.quantization.scaling import NVFP4, PerBlock, PerColumn, PerRow, PerTensor

SHAPES = [(70, 300), (1,), (33,), (40_000,), (3, 20_000), (2, 3, 5), (1, 1)]
VERSIONS = ["native", "torch"]


@pytest.fixture(params=VERSIONS)
def version(request, monkeypatch) -> str:
    if request.param == "torch":
        monkeypatch.setattr(native, "library", lambda: None)
    elif native.library() is None:
        pytest.skip("no C++ compiler")
    return request.param


def tensors(seed: int = 0) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=g) * 1e-3 + 1e-4 for shape in SHAPES]


def test_gradient_sums_equal_double_arithmetic(version):
    given = tensors()
    table, _ = tensor_sums.gradient_sums(given, 5e-4)
    for t, line in zip(given, table, strict=True):
        x = t.double().flatten()
        std = x.std(correction=min(len(x) - 1, 1))
        dead = (t.abs() < 5e-4).double().mean()
        expected = torch.stack([x.mean(), std, x.norm(), dead, x.abs().max()])
        torch.testing.assert_close(line, expected, rtol=1e-12, atol=1e-18)


def test_peaks_are_those_of_each_row(version):
    given = tensors()
    expected = [t.abs().amax(1) if t.dim() == 2 else t.abs().max().reshape(1) for t in given]
    assert torch.equal(tensor_sums.gradient_sums(given, 0.0).peaks, torch.cat(expected))


def test_a_constant_has_no_spread(version):
    table, _ = tensor_sums.gradient_sums([torch.full((1000,), 0.1)], 0.0)
    assert table[0, 1] < 1e-16


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_shows(version, bad):
    given = torch.ones(5, 7)
    given[2, 3] = bad
    table, peaks = tensor_sums.gradient_sums([given, torch.ones(4)], 0.0)
    assert not table[0, [0, 2, 4]].isfinite().any()
    assert peaks.isfinite().tolist() == [True, True, False, True, True, True]
    assert table[1].tolist() == [1.0, 0.0, 2.0, 0.0, 1.0]


def test_pair_sums_equal_double_arithmetic(version):
    a, b = tensors(0), tensors(1)
    found = tensor_sums.pair_sums(a, b)
    for i, (x, y) in enumerate(zip(a, b, strict=True)):
        x, y = x.double().flatten(), y.double().flatten()
        freedom = min(len(x) - 1, 1)
        expected = [x @ x, y @ y, x @ y, (x - y) @ (x - y), x.mean(), x.std(correction=freedom)]
        expected += [y.mean(), y.std(correction=freedom)]
        line = torch.stack([column[i] for column in found])
        torch.testing.assert_close(line, torch.stack(expected), rtol=1e-11, atol=1e-18)


def test_equal_tensors_are_at_no_distance(version):
    found = tensor_sums.pair_sums(tensors(), tensors())
    assert torch.equal(found.aa, found.ab)
    assert found.distance.tolist() == [0.0] * len(SHAPES)


SCALINGS = {
    "none": None,
    "tensor": PerTensor(),
    "tensor_power_of_two": PerTensor("power_of_two"),
    "row": PerRow(),
    "column": PerColumn(),
    "block": PerBlock(25),
    "ragged": PerBlock(32, "mx", ragged=True),
    "nvfp4": NVFP4(ragged=True),
}


@pytest.mark.parametrize("name", ["e5m2", "e4m3", "e7m0", "e0m7", "e2m1fn"])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_updates_are_counted_as_one_tensor_at_a_time(version, scaling, name):
    f, scaling = q.Format.named(name), SCALINGS[scaling]
    g = torch.Generator().manual_seed(3)
    before = [torch.randn(s, generator=g) for s in ((120, 300), (50,), (4, 50))]
    after = [w + 0.02 * torch.randn(w.shape, generator=g) * (w > 0) for w in before]
    kept = [
        torch.where(torch.rand(w.shape, generator=g) < 0.5, w, new).contiguous()
        for w, new in zip(before, after, strict=True)
    ]
    codings = [(f, scaling), None, (f, scaling)]
    table = tensor_sums.UpdateCounter(before, codings).count(before, after, kept)
    for i, (w, new, stored) in enumerate(zip(before, after, kept, strict=True)):
        assert table[i, 0] == (w == stored).sum()
        assert table[i, 1] == (w != new).sum()
        scale = scaling and scaling.expand(scaling.scales(w, f), w)
        one = q.count_stalls(w, new, f, scale=scale, stored=stored)
        assert table[i, 2] == (one.flips if i != 1 else 0)
    assert 0 < table[0, 2] < table[0, 1]


def test_other_dtypes_go_without_the_native_pass():
    given = [t.bfloat16() for t in tensors()]
    table, _ = tensor_sums.gradient_sums(given, 0.0)
    torch.testing.assert_close(table[0, 2], given[0].double().norm(), rtol=1e-6, atol=0)
