"""Inputs and outside oracles for the number formats: ml_dtypes and gfloat."""

import functools

import gfloat
import ml_dtypes
import numpy as np
import torch

from altgrad.quantization import CATALOGUE, Format

ML_DTYPES = {
    "e4m3": ml_dtypes.float8_e4m3fn,
    "e4m3fn": ml_dtypes.float8_e4m3fn,
    "e5m2": ml_dtypes.float8_e5m2,
    "e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "e4m3b11fnuz": ml_dtypes.float8_e4m3b11fnuz,
    "e4m3_ieee": ml_dtypes.float8_e4m3,
    "e3m4_ieee": ml_dtypes.float8_e3m4,
    "e8m0fnu": ml_dtypes.float8_e8m0fnu,
    "e3m2fn": ml_dtypes.float6_e3m2fn,
    "e2m3fn": ml_dtypes.float6_e2m3fn,
    "e2m1fn": ml_dtypes.float4_e2m1fn,
    "bf16": ml_dtypes.bfloat16,
    "fp16": np.float16,
}
MODES = {
    "nearest_even": gfloat.RoundMode.TiesToEven,
    "nearest_away": gfloat.RoundMode.TiesToAway,
    "toward_zero": gfloat.RoundMode.TowardZero,
    "up": gfloat.RoundMode.TowardPositive,
    "down": gfloat.RoundMode.TowardNegative,
}
NAMES = list(CATALOGUE)


def overflow_of(f: Format) -> str:
    """What IEEE-style conversion does beyond the largest number."""
    return "inf" if f.has_inf else "nan" if f.has_nan else "saturate"


def gfloat_info(f: Format) -> gfloat.FormatInfo:
    """gfloat's description of the same format, from the same integers."""
    at_top = f.top_magnitude_code - f.max_code - f.has_inf
    return gfloat.FormatInfo(
        f.name,
        f.bits,
        f.mantissa_bits + 1,
        bias=f.bias,
        is_signed=f.signed,
        domain=gfloat.Domain.Extended if f.has_inf else gfloat.Domain.Finite,
        has_nz=f.has_negative_zero,
        num_high_nans=at_top,
        has_subnormals=f.subnormals,
        is_twos_complement=f.twos_complement,
    )


@functools.cache
def sixteen_bit_inputs() -> torch.Tensor:
    """Every fp16 and every bf16 number, as float32."""
    codes = torch.arange(-32768, 32768, dtype=torch.int32).to(torch.int16)
    return torch.cat([codes.view(torch.float16).float(), codes.view(torch.bfloat16).float()])


@functools.cache
def critical_inputs(name: str, *, whole: bool = False) -> torch.Tensor:
    """Every value, every midpoint, one spacing beyond the ends, and the float32 numbers next to
    all of them, both signs. Of tf32's half a million values every sixteenth, unless `whole`."""
    f = CATALOGUE[name]
    values = np.array(f.values())
    if f.bits > 16 and not whole:
        values = np.union1d(values[::16], values[1::16])
    ends = np.array([f.max + 0.5 * f.ulp(f.max), f.max + f.ulp(f.max)])
    exact = np.concatenate([values, (values[1:] + values[:-1]) / 2, ends, -ends])
    with np.errstate(over="ignore"):
        exact = exact.astype(np.float32)
    infinity = np.float32(np.inf)
    around = [exact, np.nextafter(exact, infinity), np.nextafter(exact, -infinity)]
    both = np.concatenate([*around, *(-a for a in around)])
    return torch.from_numpy(both)


def inputs(name: str, *, whole: bool = False) -> torch.Tensor:
    return torch.cat([sixteen_bit_inputs(), critical_inputs(name, whole=whole)])


def same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Bit-equal up to NaN payloads: equal with equal signs of zero, or both NaN."""
    both_nan = np.isnan(a) & np.isnan(b)
    return both_nan | ((a == b) & (np.signbit(a) == np.signbit(b)))
