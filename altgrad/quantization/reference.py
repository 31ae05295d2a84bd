"""The definition: one number at a time, in Python floats, exact, slow, and kept for ever.

A Python float has 53 significant bits and 11 exponent bits, so every number of every format here
is one, and scaling by a power of two loses nothing. Rounding is then three lines of school
arithmetic: measure x in units of the grid's spacing, keep the integer part, and let the mode
decide from the rest whether to take one spacing more. The tensor versions in `rounding/` must agree
with this file bit for bit; the tests compare them on every code and every midpoint.
"""

from __future__ import annotations

import math

from altgrad.quantization.formats import Format, decode

ROUNDINGS = ("nearest_even", "nearest_away", "toward_zero", "up", "down", "stochastic")
OVERFLOWS = ("saturate", "inf", "nan")


def encode(value: float, f: Format) -> int:
    """The code of a number of the format; the inverse of `decode`.

    Raises `ValueError` for a value that the format does not have: round first.
    """
    if math.isnan(value):
        return _required(f.nan_code, value, f)
    negative = math.copysign(1.0, value) < 0
    if math.isinf(value):
        code = _required(f.inf_code, value, f)
    else:
        code = _encode_magnitude(abs(value), f)
    if f.twos_complement:
        return -code % (1 << f.bits) if negative else code
    if value == 0.0 and not f.has_negative_zero:
        negative = False
    found = code + f.sign_code * negative
    if decode(min(found, (1 << f.bits) - 1), f) != value:
        raise ValueError(f"{value!r} is not a number of {f.name}; round it first")
    return found


def _required(code: int | None, value: float, f: Format) -> int:
    if code is None or (value < 0 and not f.signed):
        raise ValueError(f"{f.name} has no code for {value!r}")
    return code


def _encode_magnitude(magnitude: float, f: Format) -> int:
    """The code, without sign, if `magnitude` is on the grid; some other code if it is not."""
    if (f.has_zero and magnitude < math.ldexp(1.0, f.min_exponent)) or f.twos_complement:
        return int(magnitude / f.bottom_spacing) if f.subnormals else 0
    fraction, exponent = math.frexp(magnitude)
    trailing = int(math.ldexp(fraction, f.mantissa_bits + 1)) - (1 << f.mantissa_bits)
    return ((exponent - 1 + f.bias) << f.mantissa_bits) + trailing


def round(
    x: float,
    f: Format,
    *,
    rounding: str = "nearest_even",
    overflow: str = "saturate",
    random_bits: int = 0,
    number_of_bits: int = 0,
) -> float:
    """x to a number of the format.

    `rounding`: one of ROUNDINGS. `stochastic` first rounds the remainder, to nearest even, to
    `number_of_bits` bits and goes up if that plus the random integer carries (P3109's, and
    gfloat's, plain stochastic mode; unbiased up to that first rounding).
    `overflow` says what a result beyond the largest number becomes. A mode that points towards
    zero never overflows from a finite x. NaN gives NaN; so does a negative x without a sign bit,
    and zero where there is none.
    """
    negative = math.copysign(1.0, x) < 0
    if math.isnan(x) or (negative and x != 0 and not f.signed) or (x == 0 and not f.has_zero):
        return math.nan
    if x == 0:
        return -0.0 if negative and f.has_negative_zero else 0.0
    limit = -f.min if negative and f.signed else f.max
    magnitude = abs(x)
    if math.isfinite(x):
        inward = _goes_inward(rounding, negative)
        magnitude = _on_grid(abs(x), f, inward, random_bits, number_of_bits)
        overflow = "saturate" if inward in ("toward_zero",) else overflow
    if magnitude > limit:
        magnitude = {"saturate": limit, "inf": math.inf, "nan": math.nan}[overflow]
    magnitude = magnitude if f.has_zero else max(magnitude, f.smallest_normal)
    if magnitude == 0 and not f.has_negative_zero:
        return 0.0
    return -magnitude if negative else magnitude


def _goes_inward(rounding: str, negative: bool) -> str:
    """`up` and `down` as what they mean for the magnitude."""
    if rounding in ("up", "down"):
        return "toward_zero" if (rounding == "up") == negative else "away"
    return rounding


def _on_grid(magnitude: float, f: Format, rounding: str, random_bits: int, bits: int) -> float:
    spacing_exponent = max(math.frexp(magnitude)[1] - 1, f.min_exponent) - f.mantissa_bits
    if magnitude < math.ldexp(1.0, f.min_exponent):
        spacing_exponent = math.frexp(f.bottom_spacing)[1] - 1
    # A non-zero remainder must not vanish when it is scaled down below 2^-1074.
    scaled = math.ldexp(magnitude, -spacing_exponent) or 5e-324
    whole = math.floor(scaled)
    rest = scaled - whole
    if rounding == "nearest_even":
        up = rest > 0.5 or (rest == 0.5 and _code_is_odd(whole, spacing_exponent, f))
    elif rounding == "nearest_away":
        up = rest >= 0.5
    elif rounding == "away":
        up = rest > 0
    elif rounding == "stochastic":
        threshold = rest * 2.0**bits
        up = _round_half_even(threshold) + random_bits >= 2**bits
    else:
        up = False
    return _times_power_of_two(whole + up, spacing_exponent)


def _code_is_odd(whole: int, spacing_exponent: int, f: Format) -> bool:
    """A tie goes to the even code. With M = 0 that is the parity of the exponent field."""
    if f.mantissa_bits or whole == 0:
        return whole % 2 == 1
    return (spacing_exponent + f.bias) % 2 == 1


def _round_half_even(x: float) -> int:
    whole = math.floor(x)
    rest = x - whole
    return whole + (rest > 0.5 or (rest == 0.5 and whole % 2 == 1))


def _times_power_of_two(whole: int, exponent: int) -> float:
    try:
        return math.ldexp(whole, exponent)
    except OverflowError:
        return math.inf
