"""`fake_quantize` at its edges, against the definition in `reference.py`, number by number.

Every dtype, scaling, shape and overflow rule meets every other one. What the definition leaves
open is written here in numpy, which knows IEEE arithmetic: amax, the scale rules, division and
product in float32 (float64 for float64 tensors), and the way back into the tensor's dtype.
"""

import itertools
import math
from functools import cache

import ml_dtypes
import numpy as np
import pytest
import torch

from altgrad import quantization as q
from altgrad.quantization import reference
from altgrad.quantization import scaling as scaling_module
from altgrad.quantization.rounding import choose, native

DTYPES = {
    torch.float32: np.float32,
    torch.bfloat16: ml_dtypes.bfloat16,
    torch.float16: np.float16,
    torch.float64: np.float64,
}
FORMATS = ["e4m3fn", "e5m2", "e2m1fn", "int8", "e7m0", "e4m3fnuz"]
PRODUCT_RULES = ("saturate", "inf", "nan")
F32 = np.float32
TINY, MOST = F32(2.0**-126), np.finfo(np.float32).max


@cache
def shapes(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Name -> a tensor of that dtype, all of its numbers held exactly."""
    info = torch.finfo(dtype)
    g = torch.Generator().manual_seed(0)
    some = (torch.randn(2, 40, generator=g) * torch.logspace(-3, 3, 40)).to(dtype)
    tiny, least = info.smallest_normal, info.smallest_normal * info.eps
    inf, nan = math.inf, math.nan
    zeros = torch.zeros
    return {
        "matrix": some[:, :32].contiguous(),
        "ragged": some[:, :37].contiguous(),
        "transposed": some[:, 10:20].t(),
        "expanded": some[:1, 4:36].expand(2, 32),
        "strided": some[:, ::2],
        "one dimension": torch.tensor([1.0, 1000.0, 0.001], dtype=dtype),
        "one number": torch.tensor([-3.3], dtype=dtype),
        "no dimension": torch.tensor(2.7, dtype=dtype),
        "three dimensions": some[:, :32].reshape(2, 2, 16),
        "nothing": zeros(0, dtype=dtype),
        "no rows": zeros(0, 32, dtype=dtype),
        "no columns": zeros(3, 0, dtype=dtype),
        "zeros": torch.tensor([[0.0, -0.0], [-0.0, 0.0]], dtype=dtype),
        "huge": torch.tensor([[info.max, -info.max, 1.0], [info.max / 3, 2.0, -0.0]], dtype=dtype),
        "subnormal": torch.tensor([[tiny, -tiny / 2, least], [3 * least, 0.0, -least]]).to(dtype),
        "wide": torch.tensor([[info.max, least, -tiny, 1.0]], dtype=dtype),
        "with infinities": torch.tensor([[inf, -inf, 3.0], [1.0, nan, -5.0]], dtype=dtype),
        "nothing finite": torch.tensor([[nan, inf], [-inf, nan]], dtype=dtype),
        "negative NaN": torch.tensor([[math.copysign(nan, -1.0), 2.0]], dtype=dtype),
    }


SCALINGS = {
    "tensor": (q.PerTensor(), "exact"),
    "tensor, powers": (q.PerTensor("power_of_two"), "power_of_two"),
    "row": (q.PerRow(), "exact"),
    "column": (q.PerColumn("power_of_two"), "power_of_two"),
    "blocks": (q.PerBlock(5, ragged=True), "exact"),
    "mx": (q.MX(ragged=True), "mx"),
    "given": (3.0, None),
    "given, small": (2.0**-126, None),
    "given, large": (2.0**126, None),
}


def groups_of(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Which numbers share a scale: an index per number, of x's shape."""
    where = np.indices(shape) if shape else np.zeros((0,), int)
    flat = np.zeros(shape, int)
    size = {"blocks": 5, "mx": 32}.get(name)
    axes = {"row": shape[:-1], "column": shape[-1:]}.get(name, ())
    if name == "row":
        kept = where[:-1]
    elif name == "column":
        kept = where[-1:]
    elif size:
        axes = (*shape[:-1], -(-shape[-1] // size))
        kept = np.concatenate([where[:-1], where[-1:] // size])
    else:
        return flat
    return np.ravel_multi_index(tuple(kept), axes) if len(kept) else flat


def scale_of(amax: F32, f: q.Format, rule: str) -> F32:
    """The rules of `scaling.py`, in their own words."""
    if amax == 0:
        return F32(1)
    if rule == "mx":
        exponent = math.frexp(float(amax))[1] - 1 if amax >= TINY else -127
        return F32(2.0 ** min(max(exponent - f.max_exponent, -127), 127))
    scale = max(F32(amax / F32(f.max)), TINY)
    if rule == "power_of_two":
        fraction, exponent = math.frexp(float(scale))
        return F32(2.0 ** (exponent - (fraction == 0.5)))
    return scale


def amax_of(numbers: np.ndarray) -> F32:
    finite = np.abs(numbers[np.isfinite(numbers)])
    return F32(min(finite.max(initial=0.0), MOST))


@cache
@np.errstate(all="ignore")
def expected(
    dtype: torch.dtype, format_name: str, name: str, overflow: str, what: str
) -> np.ndarray:
    """The result by definition, in x's dtype."""
    x, f = shapes(dtype)[what], q.Format.named(format_name)
    work = np.float64 if x.dtype == torch.float64 else F32
    numbers = x.double().numpy()
    scaling, rule = SCALINGS[name]
    scales = np.full(numbers.shape, F32(scaling) if rule is None else F32(1))
    if rule is not None:
        groups = groups_of(name, numbers.shape)
        for group in np.unique(groups):
            here = groups == group
            scales[here] = scale_of(amax_of(numbers[here]), f, rule)
    out = np.empty(numbers.shape, DTYPES[x.dtype])
    for at in np.ndindex(numbers.shape):
        scale = work(scales[at])
        ratio = work(numbers[at]) / scale
        rounded = work(reference.round(float(ratio), f, overflow=overflow))
        out[at] = delivered(rounded * scale, DTYPES[x.dtype], overflow)
    return out


def delivered(y, kind: type, overflow: str):
    """Into the tensor's dtype: what it cannot hold goes by the overflow rule, too."""
    info = ml_dtypes.finfo(kind)
    held = np.asarray(y).astype(kind)
    if not np.isinf(held.astype(np.float64)) or overflow == "inf":
        return held
    most = {"saturate": float(info.max), "nan": math.nan}[overflow]
    return np.asarray(math.copysign(most, float(y))).astype(kind)


def allowed(f: q.Format, overflow: str) -> bool:
    return {"saturate": True, "inf": f.has_inf, "nan": f.has_nan}[overflow]


def cases(f: q.Format):
    for scaling, overflow in itertools.product(SCALINGS, PRODUCT_RULES):
        if allowed(f, overflow):
            yield scaling, overflow


def arguments(name: str) -> dict:
    scaling, rule = SCALINGS[name]
    return {"scale": scaling} if rule is None else {"scaling": scaling}


NEEDS_A_DIMENSION = ("row", "column", "blocks", "mx")


@pytest.fixture(params=["native", "torch"])
def tier(request, monkeypatch):
    if request.param == "native" and native.library() is None:
        pytest.skip("no C++ compiler")
    if request.param == "torch":
        monkeypatch.setattr(choose, "_native_can", lambda job: False)
        monkeypatch.setattr(scaling_module.native, "available", lambda x, out_dtype: False)
    return request.param


def assert_equal(x: torch.Tensor, y: torch.Tensor, right: np.ndarray, case: str) -> None:
    assert (y.dtype, y.shape) == (x.dtype, x.shape), case
    found, right = y.double().numpy(), right.astype(np.float64)
    same = (found == right) & (np.signbit(found) == np.signbit(right))
    same |= np.isnan(found) & np.isnan(right)
    assert same.all(), f"{case}: {x} became {y}, by definition {right}"


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_edges_are_those_of_the_definition(tier, compared, dtype, name):
    f, count = q.Format.named(name), 0
    for scaling, overflow in cases(f):
        for what, x in shapes(dtype).items():
            if scaling in NEEDS_A_DIMENSION and x.dim() == 0:
                continue
            right, settings = expected(dtype, name, scaling, overflow, what), arguments(scaling)
            before, case = x.clone(), f"{what}, {scaling}, {overflow}"
            assert_equal(x, q.fake_quantize(x, f, overflow=overflow, **settings), right, case)
            if overflow == "saturate":
                by = "row" if x.dim() else True
                counted = q.fake_quantize(x, f, return_stats=by, **settings)
                assert_equal(x, counted[0], right, case)
            assert torch.equal(x.nan_to_num(7.0), before.nan_to_num(7.0)), f"{case} changed x"
            count += right.size
    compared("the definition", f"edges of fake_quantize ({tier})", count)


@pytest.mark.parametrize("scaling", NEEDS_A_DIMENSION)
def test_a_single_number_has_no_rows_columns_or_blocks(scaling):
    for settings in (arguments(scaling), {"return_stats": "row"}):
        with pytest.raises(ValueError, match="a single number has no rows"):
            q.fake_quantize(torch.tensor(2.0), "e4m3", **settings)


def test_a_traced_product_beyond_the_tensors_dtype_saturates():
    x = torch.tensor([60000.0, -60000.0, 1.0]).half()

    def work(x):
        return q.fake_quantize(x, "e2m1fn", scaling=q.PerTensor("power_of_two"))

    assert torch.compile(work, backend="aot_eager")(x).tolist() == [65504.0, -65504.0, 0.0]


SCALES = [1e-50, 0.0, -1.0, math.nan, math.inf, 1e39, 2.0**-150, 2.0**128 - 2.0**103]


@pytest.mark.parametrize("as_tensor", [False, True], ids=["number", "tensor"])
@pytest.mark.parametrize("scale", SCALES)
def test_a_scale_that_float32_cannot_hold_is_refused(scale, as_tensor):
    given = torch.tensor([[scale, 1.0]], dtype=torch.float64) if as_tensor else scale
    with pytest.raises(ValueError, match=r"finite and above zero, got .* \(in float32\)"):
        q.fake_quantize(torch.ones(2, 2), "e4m3", scale=given)


@pytest.mark.parametrize("scale", [2.0**-149, 1e-40, 3e38, 2.0**128 - 2.0**104])
def test_every_scale_that_float32_holds_is_taken(scale):
    assert torch.isfinite(q.fake_quantize(torch.ones(3), "e4m3", scale=scale)).all()
