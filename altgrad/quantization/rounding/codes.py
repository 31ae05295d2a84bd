"""Integer codes of tensors, and back."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from altgrad.quantization.formats import Format
from altgrad.quantization.rounding.checks import as_format, check, expand_scale
from altgrad.quantization.rounding.grid import working_dtype
from altgrad.quantization.rounding.round import round_values
from altgrad.quantization.rounding.stochastic import Stochastic


def quantize(
    x: Float[Tensor, "*shape"],
    f: Format | str,
    *,
    scale: float | Tensor | None = None,
    rounding: str | Stochastic = "nearest_even",
    overflow: str = "saturate",
    nan: float | None = None,
) -> Integer[Tensor, "*shape"]:
    """The codes of x/scale: uint8 up to 8 bits, int32 above (two's complement as its bit pattern).

    NaN takes the format's NaN code. Where the format has none, `nan=` says what to store instead;
    without it a NaN raises `ValueError` (which reads one flag back from the device).
    """
    f = as_format(f)
    check(x, f, scale, None, rounding, overflow)
    work = working_dtype(f, x.dtype)
    wide = x.detach().to(work)
    q = round_values(
        wide, f, scale=scale, rounding=rounding, overflow=overflow, unscaled=True
    ).values
    if not f.has_nan:
        q = _without_nan(q, f, nan)
    return _encode(q, f)


def _without_nan(q: Tensor, f: Format, nan: float | None) -> Tensor:
    if nan is not None:
        return torch.where(torch.isnan(q), float(nan), q)
    found = torch.isnan(q).any()
    if torch.compiler.is_compiling():
        torch._assert_async(~found, f"NaN given to {f.name}, which has none; pass nan=0.0")
    elif found:
        raise ValueError(f"NaN given to {f.name}, which has no NaN; say what to store: nan=0.0")
    return q


def _encode(q: Tensor, f: Format) -> Tensor:
    """Codes of numbers that are on the grid."""
    kind = torch.uint8 if f.bits <= 8 else torch.int32
    if f.twos_complement:
        return ((q / f.bottom_spacing).to(torch.int32) & ((1 << f.bits) - 1)).to(kind)
    magnitude = q.abs().double()
    word = magnitude.view(torch.int64)
    normal = (word >> (52 - f.mantissa_bits)) - ((1023 - f.bias) << f.mantissa_bits)
    below = (
        (magnitude / f.bottom_spacing).to(torch.int64) if f.subnormals else torch.zeros_like(word)
    )
    if f.has_zero:
        normal = torch.where(magnitude < math.ldexp(1.0, f.min_exponent), below, normal)
    if f.inf_code is not None:
        normal = torch.where(torch.isinf(q), f.inf_code, normal)
    negative = torch.signbit(q) if f.has_negative_zero else q < 0
    code = normal + negative * f.sign_code if f.signed else normal
    if f.nan_code is not None:
        code = torch.where(torch.isnan(q), f.nan_code, code)
    return code.to(kind)


def dequantize(
    codes: Integer[Tensor, "*shape"],
    f: Format | str,
    *,
    scale: float | Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "*shape"]:
    """The numbers that codes stand for, times the scale (any shape that divides the codes').

    A code is the bit pattern, as an unsigned number or in two's complement of the format's width.
    Raises `ValueError` for numbers beyond that (which reads one flag back from the device).
    """
    f = as_format(f)
    _check_codes(codes, f)
    values = _decode(codes.to(torch.int64) & ((1 << f.bits) - 1), f).to(
        torch.float64 if dtype == torch.float64 else torch.float32
    )
    if scale is not None:
        scale = torch.as_tensor(scale, dtype=torch.float32, device=codes.device)
        values = values * expand_scale(scale, codes.shape)
    return values.to(dtype)


def _check_codes(codes: Tensor, f: Format) -> None:
    if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
        raise ValueError(f"codes must be integers, got {codes.dtype}; quantize first")
    low, high = -(1 << (f.bits - 1)), (1 << f.bits) - 1
    held = torch.iinfo(codes.dtype)
    if codes.numel() == 0 or (low <= held.min and held.max <= high):
        return
    least, most = torch.aminmax(codes.to(torch.int64))
    if torch.compiler.is_compiling():
        torch._assert_async((least >= low) & (most <= high), f"not codes of {f.name}")
    elif least < low or most > high:
        strange = int(most) if most > high else int(least)
        raise ValueError(
            f"{strange} is not a code of {f.name}, which has {f.bits} bits: 0 to {high}"
        )


def _decode(code: Tensor, f: Format) -> Tensor:
    """Float64 numbers of int64 codes, by the definition in `formats.py`."""
    if f.twos_complement:
        return (code - (code >= f.sign_code) * (1 << f.bits)).double() * f.bottom_spacing
    sign = (code >= f.sign_code) if f.signed else torch.zeros_like(code, dtype=torch.bool)
    magnitude = code - sign * f.sign_code
    rebased = magnitude + ((1023 - f.bias) << f.mantissa_bits)
    value = (rebased << (52 - f.mantissa_bits)).view(torch.float64)
    if f.has_zero:
        trailing = magnitude.double() * (f.bottom_spacing if f.subnormals else 0.0)
        value = torch.where(magnitude < (1 << f.mantissa_bits), trailing, value)
    value = torch.where(magnitude > f.max_code, math.nan, value)
    if f.inf_code is not None:
        value = torch.where(magnitude == f.inf_code, math.inf, value)
    value = torch.where(sign, -value, value)
    if f.signed and not f.has_negative_zero:
        value = torch.where(code == f.sign_code, math.nan, value)
    return value
