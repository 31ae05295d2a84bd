"""Properties of rounding, drawn by hypothesis over formats and numbers."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from altgrad import quantization as q
from altgrad.quantization.rounding import choose

DETERMINISTIC = ["nearest_even", "nearest_away", "toward_zero"]
SIGNED = [n for n in q.CATALOGUE if q.CATALOGUE[n].signed]
SYMMETRIC = [n for n in SIGNED if not q.CATALOGUE[n].twos_complement]
formats = st.sampled_from(SIGNED).map(q.CATALOGUE.get)
numbers = st.lists(
    st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40
).map(lambda values: torch.tensor(values, dtype=torch.float32))


@settings(max_examples=150, deadline=None)
@given(f=formats, x=numbers, rounding=st.sampled_from([*DETERMINISTIC, "up", "down"]))
def test_idempotent(f, x, rounding):
    once = q.fake_quantize(x, f, rounding=rounding)
    assert torch.equal(q.fake_quantize(once, f, rounding=rounding), once)


@settings(max_examples=150, deadline=None)
@given(f=formats, x=numbers, rounding=st.sampled_from([*DETERMINISTIC, "up", "down"]))
def test_monotone(f, x, rounding):
    y = q.fake_quantize(x.sort().values, f, rounding=rounding)
    assert (y[1:] >= y[:-1]).all()


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(SYMMETRIC), x=numbers, rounding=st.sampled_from(DETERMINISTIC))
def test_odd(name, x, rounding):
    y = q.fake_quantize(x, name, rounding=rounding)
    assert torch.equal(q.fake_quantize(-x, name, rounding=rounding), -y)


@settings(max_examples=150, deadline=None)
@given(f=formats, k=st.integers(-8, 8), seed=st.integers(0, 999))
def test_invariant_under_a_power_of_two_scale(f, k, seed):
    """Scaling x and the scale alike by 2^k scales the result."""
    x = torch.randn(50, generator=torch.Generator().manual_seed(seed)) * min(f.max, 1e4) / 3
    y = q.fake_quantize(x, f, scale=1.0)
    assert torch.equal(q.fake_quantize(x * 2.0**k, f, scale=2.0**k), y * 2.0**k)


@settings(max_examples=100, deadline=None)
@given(f=formats, x=numbers)
def test_up_and_down_enclose_and_toward_zero_shrinks(f, x):
    held = x.clamp(f.min, f.max)
    down, up = (q.fake_quantize(held, f, rounding=mode) for mode in ("down", "up"))
    assert ((down <= held) & (held <= up)).all()
    assert (q.fake_quantize(held, f, rounding="toward_zero").abs() <= held.abs()).all()


@settings(max_examples=100, deadline=None)
@given(f=formats, x=numbers)
def test_codes_carry_the_rounded_numbers(f, x):
    codes = q.quantize(x, f)
    assert torch.equal(q.dequantize(codes, f), q.fake_quantize(x, f))


@pytest.mark.parametrize("name", q.CATALOGUE)
def test_dequantize_is_the_definition_on_every_code(name):
    from altgrad.quantization.reference import decode

    f = q.CATALOGUE[name]
    codes = torch.arange(1 << min(f.bits, 12))
    expected = np.array([decode(int(code), f) for code in codes])
    np.testing.assert_array_equal(q.dequantize(codes, f, dtype=torch.float64).numpy(), expected)
    back = q.quantize(q.dequantize(codes, f, dtype=torch.float64), f, nan=0.0, overflow=_own(f))
    again = q.dequantize(back, f, dtype=torch.float64).numpy()
    np.testing.assert_array_equal(again, expected)


def _own(f):
    return "inf" if f.has_inf else "saturate"


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("name", SIGNED)
def test_stochastic_frequencies_are_within_five_sigma(monkeypatch, name, native):
    """Between neighbours, at subnormals, at the top, and at several remainders."""
    if not native:
        monkeypatch.setattr(choose, "_native_can", lambda job: False)
    f = q.CATALOGUE[name]
    values = f.values()
    positive = [value for value in values if value >= 0]
    pairs = [(positive[i], positive[i + 1]) for i in {0, 1, len(positive) // 2, len(positive) - 2}]
    draws = 20000
    for number, (below, above) in enumerate(pairs):
        for share in (0.5, 0.1, 0.9375):
            x = torch.full((draws,), below + share * (above - below), dtype=torch.float32)
            exact = (float(x[0]) - below) / (above - below)
            y = q.fake_quantize(x, f, rounding=q.Stochastic(seed=17 + number))
            assert set(y.unique().tolist()) <= {below, above}
            sigma = (exact * (1 - exact) / draws) ** 0.5
            assert abs((y == above).double().mean() - exact) < 5 * sigma + 2**-12


def test_stochastic_noise_is_white_over_neighbours_and_seeds():
    x = torch.full((200_000,), 1.0 + 1 / 16)
    up = [
        (q.fake_quantize(x, "e4m3", rounding=q.Stochastic(seed=s)) > 1).double() for s in range(4)
    ]
    up = [u - 0.5 for u in up]
    bound = 5 * 0.25 / len(x) ** 0.5
    for lag in (1, 2, 64, 4096, 65535, 65536, 65537, 131072):
        assert (up[0][lag:] * up[0][:-lag]).mean().abs() < bound * (1 - lag / len(x)) ** -0.5
    for other in up[1:]:
        assert (up[0] * other).mean().abs() < bound


def test_a_seed_decides_everything_and_shape_nothing():
    x = torch.randn(64, 48)
    first = q.fake_quantize(x, "e5m2", rounding=q.Stochastic(seed=1))
    assert torch.equal(
        first, q.fake_quantize(x, "e5m2", rounding=q.Stochastic(seed=torch.tensor(1)))
    )
    flat = q.fake_quantize(x.reshape(-1), "e5m2", rounding=q.Stochastic(seed=1))
    assert torch.equal(first.reshape(-1), flat)
    strided = x.t().contiguous().t()
    assert torch.equal(first, q.fake_quantize(strided, "e5m2", rounding=q.Stochastic(seed=1)))
    assert not torch.equal(first, q.fake_quantize(x, "e5m2", rounding=q.Stochastic(seed=2)))


def test_a_generator_is_used_once_per_call_and_not_the_global_one():
    x, state = torch.randn(100), torch.get_rng_state()
    drawn = [torch.Generator().manual_seed(3) for _ in range(2)]
    a, b = (q.fake_quantize(x, "e4m3", rounding=q.Stochastic(generator=g)) for g in drawn)
    assert torch.equal(a, b)
    again = q.fake_quantize(x, "e4m3", rounding=q.Stochastic(generator=drawn[0]))
    assert not torch.equal(a, again)
    assert torch.equal(torch.get_rng_state(), state)


def test_few_random_bits_match_gfloat(bit_equal):
    import gfloat

    from tests.conformance import oracles

    f, bits = q.CATALOGUE["e4m3fn"], 4
    x = oracles.critical_inputs("e4m3fn")
    drawn = torch.randint(0, 1 << bits, x.shape, generator=torch.Generator().manual_seed(0))
    mine = q.fake_quantize(x, f, rounding=q.Stochastic(random_bits=drawn, bits=bits))
    info, mode = oracles.gfloat_info(f), gfloat.RoundMode.Stochastic
    theirs = gfloat.round_ndarray(info, x.double().numpy(), mode, True, drawn.numpy(), bits)
    bit_equal("gfloat", "stochastic rounding, given the bits", mine, theirs)
