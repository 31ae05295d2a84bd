"""The face of the package: dtypes, strides, out=, statistics, straight-through, refusals."""

import math

import pytest
import torch

from altgrad import quantization as q
from altgrad.quantization.reference import round as round_scalar

X = torch.randn(24, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_every_float_dtype_is_rounded_exactly_and_kept(dtype):
    x = (X * 100).to(dtype)
    y = q.fake_quantize(x, "e4m3")
    f = q.Format.named("e4m3")
    expected = [round_scalar(value, f) for value in x.double().flatten().tolist()]
    assert y.dtype == dtype
    assert y.double().flatten().tolist() == expected


def test_float64_is_not_rounded_twice():
    """1 + 2^-4 + 2^-40 lies above a tie of E4M3, but float32 would make it the tie."""
    x = torch.tensor([1 + 2**-4 + 2**-40], dtype=torch.float64)
    assert q.fake_quantize(x, "e4m3").item() == 1.125
    assert q.fake_quantize(x.float(), "e4m3").item() == 1.0


@pytest.mark.parametrize("big", [False, True])
def test_out_may_be_the_input_and_strides_do_not_matter(big):
    x = torch.randn(600, 600) if big else X.clone()
    expected = q.fake_quantize(x, "e5m2", scaling=q.PerTensor())
    strided = torch.empty(x.t().shape).t()
    assert q.fake_quantize(x, "e5m2", scaling=q.PerTensor(), out=strided) is strided
    assert torch.equal(strided, expected)
    assert torch.equal(q.fake_quantize(x.t(), "e5m2", scaling=q.PerTensor()), expected.t())
    assert q.fake_quantize(x, "e5m2", scaling=q.PerTensor(), out=x) is x
    assert torch.equal(x, expected)


def test_empty_and_scalar_tensors_pass():
    assert q.fake_quantize(torch.empty(0, 4), "e4m3", scaling=q.PerTensor()).shape == (0, 4)
    assert q.fake_quantize(torch.tensor(1.07), "e4m3").item() == 1.125


@pytest.mark.parametrize(
    ("name", "overflow", "expected"),
    [
        ("e5m2", "saturate", [57344.0, -57344.0]),
        ("e5m2", "inf", [math.inf, -math.inf]),
        ("e4m3", "saturate", [448.0, -448.0]),
    ],
)
def test_overflow_does_what_was_asked(name, overflow, expected):
    x = torch.tensor([1e6, -math.inf])
    assert q.fake_quantize(x, name, overflow=overflow).tolist() == expected


def test_overflow_to_nan_and_nan_stay_nan():
    x = torch.tensor([1e6, -math.inf, math.nan])
    assert q.fake_quantize(x, "e4m3", overflow="nan").isnan().all()
    assert q.fake_quantize(x[2:], "e2m1fn").isnan().all()


def test_codes_of_nan_need_a_decision_where_the_format_has_none():
    x = torch.tensor([1.0, math.nan])
    with pytest.raises(ValueError, match="say what to store"):
        q.quantize(x, "e2m1fn")
    assert q.dequantize(q.quantize(x, "e2m1fn", nan=0.0), "e2m1fn").tolist() == [1.0, 0.0]
    assert q.quantize(x, "e4m3").tolist() == [0x38, 0x7F]


def test_int8_codes_are_twos_complement():
    codes = q.quantize(torch.tensor([-128.0, -1.0, 127.0, 400.0]), "int8")
    assert codes.view(torch.int8).tolist() == [-128, -1, 127, 127]


def test_statistics_count_what_they_say():
    x = torch.tensor(
        [[1e6, 464.0, 464.1, 2**-10, 2**-11, 0.0], [-1e-9, 1e-2, math.nan, 1.0, math.inf, 2.0]]
    )
    _, stats = q.fake_quantize(x, "e4m3", return_stats=True)
    assert (stats.amax, stats.overflow, stats.nan, stats.inf) == (1e6, 3, 1, 1)
    assert (stats.underflow, stats.subnormal) == (3, 1)
    _, rows = q.fake_quantize(x, "e4m3", return_stats="row")
    assert rows.overflow.tolist() == [2, 1]
    assert rows.share("underflow").tolist() == [2 / 6, 1 / 6]


def test_sqnr_is_the_ratio_of_the_norms():
    y, stats = q.fake_quantize(X, "e3m4", scaling=q.PerTensor(), return_stats=True)
    assert stats.sqnr_db.item() == pytest.approx(q.sqnr_db(X, y).item(), abs=1e-3)


def test_scales_of_every_shape_agree_with_dividing_by_hand():
    for shape in [(), (1, 1), (24, 1), (1, 64), (24, 4), (6, 8), (64,)]:
        scale = torch.rand(shape, generator=torch.Generator().manual_seed(1)) + 0.5
        wide = scale
        for dim in range(scale.dim()):
            wide = wide.repeat_interleave(X.shape[dim - scale.dim()] // scale.shape[dim], dim)
        expected = q.fake_quantize(X / wide, "e3m4") * wide
        assert torch.equal(q.fake_quantize(X, "e3m4", scale=scale), expected)
        codes = q.quantize(X, "e3m4", scale=scale)
        assert torch.equal(q.dequantize(codes, "e3m4", scale=scale), expected)


@pytest.mark.parametrize(
    ("name", "codes"), [("e2m1fn", [0, 16]), ("e4m3", [256]), ("int4", [-9]), ("e4m3", [1.0])]
)
def test_numbers_that_are_no_codes_are_refused(name, codes):
    with pytest.raises(ValueError, match=r"not a code of|must be integers"):
        q.dequantize(torch.tensor(codes), name)


def test_codes_in_twos_complement_are_the_same_bits():
    codes = torch.arange(256, dtype=torch.uint8)
    for name in ("e4m3", "int8"):
        values = q.dequantize(codes, name).nan_to_num(777.0)
        assert torch.equal(q.dequantize(codes.view(torch.int8), name).nan_to_num(777.0), values)


def test_ulp_of_a_tensor_is_the_formats_ulp():
    for name in ("e4m3", "e7m0", "e0m7", "int8", "bf16"):
        f = q.Format.named(name)
        x = torch.cat([X.flatten(), torch.tensor([0.0, f.max, 2 * f.max if f.bits < 16 else 1.0])])
        assert q.ulp(x, f).tolist() == [f.ulp(value) for value in x.tolist()]
        assert torch.equal(q.ulp(4 * X, f, scale=4.0), 4 * q.ulp(X, f))


# --- straight through ------------------------------------------------------------------------


def test_the_gradient_passes_straight_through():
    x = X.clone().requires_grad_()
    y, stats = q.fake_quantize(x, "e4m3", return_stats=True)
    (y * torch.arange(64.0)).sum().backward()
    assert torch.equal(x.grad, torch.arange(64.0).expand(24, 64))
    assert not stats.table.requires_grad


def test_backward_only_rounds_the_gradient_alone():
    x = X.clone().requires_grad_()
    y = q.round_backward(x, "e5m2")
    y.backward(X)
    assert torch.equal(y, X)
    assert torch.equal(x.grad, q.fake_quantize(X, "e5m2"))


def test_both_directions_round_with_their_own_formats():
    x = X.clone().requires_grad_()
    y = q.round_both(x, "e4m3", backward="e5m2")
    y.backward(X)
    assert torch.equal(y, q.fake_quantize(X, "e4m3"))
    assert torch.equal(x.grad, q.fake_quantize(X, "e5m2"))


def test_gradcheck_where_finite_differences_see_the_grid():
    """On a uniform grid, differences over one spacing measure the slope 1 that is passed on."""
    x = (torch.randint(-50, 50, (6,)).double() / 128).requires_grad_()
    step = {"eps": 1 / 128, "atol": 0.0, "rtol": 0.0}
    assert torch.autograd.gradcheck(lambda t: q.round_forward(t, "e0m7"), x, **step)
    assert torch.autograd.gradcheck(lambda t: q.round_backward(t, "e4m3"), x, **step)
    assert torch.autograd.gradcheck(lambda t: q.round_both(t, "e0m7", backward="e4m3"), x, **step)


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"x": torch.arange(4)}, "int64 is not rounded"),
        ({"scale": 0.0}, "finite and above zero, got 0.0"),
        ({"scale": math.nan}, "finite and above zero, got nan"),
        ({"scale": torch.tensor([[1.0], [-1.0]])}, "above zero, got -1.0"),
        ({"scale": torch.ones(5, 1)}, "does not divide"),
        ({"scale": 1.0, "scaling": q.PerTensor()}, "both given"),
        ({"scaling": q.PerBlock(24)}, "blocks of 24 do not divide"),
        ({"rounding": "nearest"}, "choose from nearest_even"),
        ({"rounding": "stochastic"}, "Stochastic"),
        ({"overflow": "inf"}, "e4m3 has no infinity"),
        ({"overflow": "clip"}, "choose from saturate"),
        ({"return_stats": "column"}, "choose from False, True, 'row'"),
        ({"x": [1.0]}, "give a torch.Tensor"),
        ({"x": torch.eye(4).to_sparse()}, "give x.to_dense"),
        ({"f": None}, "not the name of a number format"),
        ({"f": torch.float8_e4m3fn}, "not the name of a number format"),
        ({"f": "fp8"}, "did you mean 'fp16'"),
        ({"scale": "2"}, "give a number or a tensor"),
        ({"scale": True}, "give a number or a tensor"),
        ({"scaling": "tensor"}, "give an object such as"),
        ({"scaling": q.PerTensor}, "give an object such as"),
        ({"x": torch.tensor(1.0), "scaling": q.PerBlock(4)}, "no rows, columns or blocks"),
        ({"x": torch.tensor(1.0), "scaling": q.PerRow()}, "no rows, columns or blocks"),
        ({"rounding": q.Stochastic(seed=1, bits=0)}, "takes 1 to 20"),
        ({"rounding": q.Stochastic(seed=1, bits=21)}, "takes 1 to 20"),
        ({"rounding": q.Stochastic(random_bits=torch.zeros(3).int())}, "of x's shape"),
        ({"rounding": q.Stochastic(random_bits=torch.zeros(2, 64))}, "must be integers"),
        ({"out": torch.empty(3, 3)}, "out= must be like x"),
        ({"out": torch.empty(2, 64, dtype=torch.bfloat16)}, "out= must be like x"),
        ({"x": torch.randn(2).half(), "f": "e6m1"}, "cannot hold every number of e6m1"),
        ({"x": torch.randn(2).bfloat16(), "f": "fp16"}, "cannot hold every number of fp16"),
        ({"f": "e9m9"}, "e9m9 has 19 bits"),
        ({"f": "e11m4", "x": torch.randn(2).double()}, "beyond float64's normal numbers"),
    ],
)
def test_nonsense_is_refused_in_one_line(arguments, words):
    given = {"x": torch.randn(2, 64), "f": "e4m3", **arguments}
    with pytest.raises(ValueError, match=words) as refusal:
        q.fake_quantize(given.pop("x"), given.pop("f"), **given)
    assert "\n" not in str(refusal.value)


def test_stochastic_needs_exactly_one_source():
    with pytest.raises(ValueError, match="exactly one of"):
        q.Stochastic()
    with pytest.raises(ValueError, match="exactly one of"):
        q.Stochastic(seed=1, generator=torch.Generator())
    for seed in (1.5, torch.tensor(1.5)):
        with pytest.raises(ValueError, match="give an int or a 0-d integer tensor"):
            q.Stochastic(seed=seed)
