"""Rounding to a format's grid, written once in torch operations: eager, traced, or compiled.

A format enters as a handful of constants (`GridConstants`), so the same code serves all of them:

* Above the smallest normal number a small format is the wide float with trailing bits cut off, so
  rounding is integer arithmetic on the bit pattern: add half a spacing (or random bits) and mask.
  The carry runs into the exponent by itself. Where M = 0 the even code is decided by the exponent's
  parity, which is that same bit, flipped when the two biases differ in parity.
* Below it the spacing is fixed. Adding and subtracting 1.5·2^F spacings rounds to nearest even in
  hardware, F being the wide float's mantissa bits; the stochastic mode lifts x by 2^M spacings,
  which puts it into a binade whose cut-off bits mean the same as above.

All of it is exact as long as the compiler neither contracts nor reassociates. Float32 carries
float32, bfloat16 and float16 inputs; float64 itself, and the few formats below 2^-126.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from altgrad.quantization.formats import Format

_WORDS = {torch.float32: torch.int32, torch.float64: torch.int64}
MANTISSA = {torch.float32: 23, torch.float64: 52}


class GridConstants(NamedTuple):
    """A format, an overflow rule and a working float type as numbers a kernel can use."""

    shift: int  # trailing bits that are cut off
    half_minus_one: int  # just below half a spacing, in those bits
    keep: int  # mask of the bits that stay
    flip: int  # 1 where the even code has the odd exponent (M = 0)
    min_normal: float  # below this the spacing is fixed
    low: float  # 1.5·2^F fixed spacings
    lift: float  # 2^M fixed spacings
    spacing: float  # the fixed spacing
    relative_spacing: float  # 2^-M
    lo: float  # finite range
    hi: float
    over_lo: float  # what lies beyond becomes
    over_hi: float
    zero: float  # added last: -0.0 keeps a minus zero, +0.0 removes it
    lo_threshold: float  # beyond these a value counts as overflow
    hi_threshold: float
    smallest_normal: float  # below this a non-zero result counts as subnormal


def grid(f: Format, overflow: str, dtype: torch.dtype, extra_bits: int = 0) -> GridConstants:
    """The constants of `f` for one working dtype; `extra_bits` refines its mantissa."""
    if torch.compiler.is_compiling():  # the tracer sees through caches and complains
        return _grid(f, overflow, dtype, extra_bits)
    return _remembered_grid(f, overflow, dtype, extra_bits)


def _grid(f: Format, overflow: str, dtype: torch.dtype, extra_bits: int) -> GridConstants:
    mantissa, wide = f.mantissa_bits + extra_bits, MANTISSA[dtype]
    shift = wide - mantissa
    spacing = math.ldexp(f.bottom_spacing, -extra_bits)
    top_step = 0.5 * f.ulp(f.max)
    beyond = {"saturate": f.max, "inf": math.inf, "nan": math.nan}[overflow]
    beyond_low = {"saturate": f.min, "inf": -math.inf, "nan": math.nan}[overflow]
    return GridConstants(
        shift=shift,
        half_minus_one=(1 << (shift - 1)) - 1,
        keep=-(1 << shift),
        flip=(1 + f.bias) % 2 if mantissa == 0 else 0,
        min_normal=math.ldexp(1.0, f.min_exponent),
        low=math.ldexp(1.5 * spacing, wide),
        lift=math.ldexp(spacing, mantissa),
        spacing=spacing,
        relative_spacing=math.ldexp(1.0, -mantissa),
        lo=f.min,
        hi=f.max,
        over_lo=beyond_low if f.signed else f.min,
        over_hi=beyond,
        zero=-0.0 if f.has_negative_zero else 0.0,
        lo_threshold=f.min - top_step,
        hi_threshold=f.max + top_step,
        smallest_normal=f.smallest_normal,
    )


_remembered_grid = lru_cache(maxsize=1024)(_grid)


def working_dtype(f: Format, dtype: torch.dtype) -> torch.dtype:
    """float32 where it carries input and format exactly, otherwise float64.

    Raises `ValueError` for a format that float64 cannot carry either.
    """
    bottom = f.min_exponent
    if bottom < -1022 or f.max > 2.0**1000:
        raise ValueError(
            f"{f.name} spans {f.smallest_subnormal:.3g} to {f.max:.3g}, beyond float64's normal "
            "numbers; tensors take narrower formats, quantization.reference rounds single numbers"
        )
    # Down to the smallest normal number the integer arithmetic holds; half a spacing must be a
    # float32 as well (2^-149 is its smallest), or ties could not be seen.
    fits = bottom >= -126 and f.max < 2.0**128 and f.bottom_spacing >= 2.0**-148
    return torch.float32 if fits and dtype != torch.float64 else torch.float64


def nearest_even(
    a: Float[Tensor, "*shape"], word: Integer[Tensor, "*shape"], g: GridConstants
) -> Float[Tensor, "*shape"]:
    """Magnitudes `a` (bit pattern `word`) to the grid, ties to the even code."""
    odd = ((word >> g.shift) & 1) ^ g.flip
    normal = ((word + (odd + g.half_minus_one)) & g.keep).view(a.dtype)
    return torch.where(a < g.min_normal, (a + g.low) - g.low, normal)


EXPONENT_BITS = 0x7F800000
"""Of a float32: what is left of x is the power of two below it, its binade."""

# In [2^23, 2^24) float32's spacing is 1, so adding 2^23 spacings of the grid leaves no bit below
# one of them, and the adder rounds to nearest even. The extra half keeps x + c in that binade for
# negative x, too, so that one constant serves both signs.
_ADDED = 1.5 * 2.0**23


def adding_rounds(f: Format, g: GridConstants, rounding: str, dtype: torch.dtype) -> bool:
    """Whether the short cut of `_round_by_adding` holds: float32, to nearest, saturating, with room
    above for the number that is added, and a mantissa that decides ties by itself."""
    usual = rounding == "nearest_even" and dtype == torch.float32 and g.over_hi == g.hi
    return usual and f.signed and f.subnormals and 1 <= f.mantissa_bits <= 16 and f.max < 2.0**100


def _round_by_adding(x: Tensor, g: GridConstants) -> Tensor:
    """x + c - c with c = 1.5·2^23 spacings of x's own binade: the adder does the rounding, for both
    signs and for subnormals. NaN and infinities take care of themselves."""
    binade = (x.view(torch.int32) & EXPONENT_BITS).view(torch.float32)
    # From below: the spacing is fixed under min_normal. From above: c must not be infinite.
    c = torch.clamp(binade, g.min_normal, 2.0**100) * (_ADDED * g.relative_spacing)
    y = torch.clamp((x + c) - c, g.lo, g.hi)
    return torch.copysign(y, x) if math.copysign(1.0, g.zero) < 0 else y


def stochastic(
    a: Float[Tensor, "*shape"], g: GridConstants, random_bits: Integer[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Magnitudes to the grid, up if the cut-off bits plus `random_bits` carry."""
    below = a < g.min_normal
    lifted = torch.where(below, a + g.lift, a)
    kept = ((lifted.view(_WORDS[a.dtype]) + random_bits) & g.keep).view(a.dtype)
    return torch.where(below, kept - g.lift, kept)


def _directed(a: Tensor, word: Tensor, g: GridConstants, away: Tensor | bool | None) -> Tensor:
    """Correct the nearest-even result to `away` from zero (True), towards it (False), or, with
    None, to nearest with ties away."""
    t = nearest_even(a, word, g)
    binade = (word & ~((1 << MANTISSA[a.dtype]) - 1)).view(a.dtype)
    step = torch.where(a < g.min_normal, g.spacing, binade * g.relative_spacing)
    zero = torch.zeros_like(t)
    if away is None:
        return t + torch.where(a - t == 0.5 * step, step, zero)
    if isinstance(away, bool):
        away = torch.full_like(word, away, dtype=torch.bool)
    return t + torch.where((t < a) & away, step, torch.where((t > a) & ~away, -step, zero))


def round_to_grid(
    x: Tensor, g: GridConstants, f: Format, rounding: str, random_bits: Tensor | None = None
) -> Tensor:
    """Any shape, float32 or float64 -> the format's numbers, overflow and NaN settled.

    `random_bits` (same shape, x's integer dtype) lie in the trailing `g.shift` bits.
    """
    if adding_rounds(f, g, rounding, x.dtype):
        return _round_by_adding(x, g)
    word = x.view(_WORDS[x.dtype]) & torch.iinfo(_WORDS[x.dtype]).max
    a = word.view(x.dtype)
    inward: Tensor | bool = False
    if rounding == "nearest_even":
        t = nearest_even(a, word, g)
    elif rounding == "stochastic":
        assert random_bits is not None
        t = stochastic(a, g, random_bits)
    elif rounding == "nearest_away":
        t = _directed(a, word, g, None)
    else:
        inward = _inward(x, rounding)
        t = _directed(a, word, g, ~inward if isinstance(inward, Tensor) else False)
    y = _settle_overflow(torch.copysign(t, x), x, g, inward)
    return _settle_specials(y, x, g, f)


def _inward(x: Tensor, rounding: str) -> Tensor | bool:
    """Where a directed mode points towards zero."""
    if rounding == "toward_zero":
        return True
    return torch.signbit(x) if rounding == "up" else ~torch.signbit(x)


def _settle_overflow(y: Tensor, x: Tensor, g: GridConstants, inward: Tensor | bool) -> Tensor:
    if inward is not False:  # a mode that points towards zero stops at the largest number
        held = torch.isfinite(x) & inward
        y = torch.where(held, torch.clamp(y, g.lo, g.hi), y)
    y = torch.where(y > g.hi, g.over_hi, y)
    return torch.where(y < g.lo, g.over_lo, y)


def _settle_specials(y: Tensor, x: Tensor, g: GridConstants, f: Format) -> Tensor:
    invalid = torch.isnan(x)
    if not f.signed:
        invalid = invalid | (x < 0)
    if not f.has_zero:
        invalid = invalid | (x == 0)
        y = torch.clamp(y, min=g.smallest_normal)
    return torch.where(invalid, math.nan, y + g.zero)


def held(
    y: Float[Tensor, "*shape"], scale: Tensor | None, f: Format, overflow: str
) -> Float[Tensor, "*shape"]:
    """y = q·scale, which a finite q can take beyond y's dtype: settled in place, by the same rule
    as what is beyond the format's range."""
    if scale is None or overflow == "inf" or not _may_leave(y, scale, f):
        return y
    info = torch.finfo(y.dtype)
    if overflow == "saturate":
        return y.clamp_(info.min, info.max)
    return y.masked_fill_(torch.isinf(y), math.nan)


def _may_leave(y: Tensor, scale: Tensor, f: Format) -> bool:
    """Whether a scale is that large; where looking would have to wait, it may be."""
    if torch.compiler.is_compiling() or scale.device.type != "cpu":
        return True
    # A little below the exact limit: a false alarm costs one pass, a miss an infinity.
    limit = 0.999 * torch.finfo(y.dtype).max / max(f.max, -f.min)
    return bool((scale > limit).any())
