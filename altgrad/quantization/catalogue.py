"""The formats that have a name: the constants of each with their source, and how a name is read.

Data only: `formats.py` makes `Format`s of it, so it imports nothing of altgrad's but a refusal.

The eight 8-bit splits e0m7 … e7m0 follow one principle: what hardware does where it does it (E4M3
and E5M2 are OCP's), IEEE P3109 signed finite elsewhere, fixed point where there is no exponent.
`e3m4` and `e4m3` mean those; the IEEE-like relatives with infinities are `e3m4_ieee`, `e4m3_ieee`.
"""

from __future__ import annotations

import re
from typing import Any

from altgrad.settings import closest

Constants = dict[str, Any]
"""The arguments of one `Format`."""

_OCP8 = "OCP 8-bit Floating Point Specification (OFP8) 1.0, 2023"
_MX = "OCP Microscaling Formats (MX) 1.0, 2023"
_P3109 = "IEEE P3109 interim report (2026), binary{K}p{P}"
_FNUZ = "Noune et al., 8-bit numerical formats for deep neural networks, arXiv 2206.02915"
_ML_DTYPES = "ml_dtypes (OpenXLA), IEEE 754 conventions at 8 bits"
_FIXED = "fixed point"
OWN = "one's own"


def _make(
    name: str, exponent: int, mantissa: int, special: str, source: str, **more: Any
) -> Constants:
    bits = {"exponent_bits": exponent, "mantissa_bits": mantissa}
    return {"name": name, **bits, "special_values": special, "source": source, **more}


def binary(bits: int, precision: int, *, signed: bool = True, extended: bool = False) -> Constants:
    """IEEE P3109 Binary{bits}p{precision}: bias 2^(W-1) for W exponent bits, one NaN, no -0."""
    exponent_bits = bits - precision + (not signed)
    if not (precision > 0 and exponent_bits > 0):
        raise ValueError(
            f"binary{bits}p{precision}: a {'signed' if signed else 'unsigned'} P3109 format of "
            f"{bits} bits has a precision of 1 to {bits - signed}"
        )
    suffix = "" if signed and not extended else "su"[not signed] + "fe"[extended]
    special = "extended" if extended else "fnuz"
    name = f"binary{bits}p{precision}{suffix}"
    return _make(name, exponent_bits, precision - 1, special, _P3109, signed=signed)


def _split(exponent: int) -> Constants:
    """The research's 8-bit split with that many exponent bits."""
    if exponent == 4:
        return _make("e4m3", 4, 3, "fn", f"{_OCP8}, E4M3")
    source = f"{_FIXED}: symmetric int8 k/128" if exponent == 0 else f"{_P3109}, signed finite"
    return _make(f"e{exponent}m{7 - exponent}", exponent, 7 - exponent, "fnuz", source)


_ENTRIES = [
    # The eight 8-bit splits the research compares (e5m2 is OCP's own entry).
    *(_split(exponent) for exponent in (0, 1, 2, 3, 4)),
    _make("e5m2", 5, 2, "ieee", f"{_OCP8}, E5M2"),
    *(_split(exponent) for exponent in (6, 7)),
    # 8-bit formats of hardware and libraries.
    _make("e4m3fn", 4, 3, "fn", f"{_OCP8}, E4M3"),
    _make("e4m3fnuz", 4, 3, "fnuz", _FNUZ),
    _make("e5m2fnuz", 5, 2, "fnuz", _FNUZ),
    _make("e4m3b11fnuz", 4, 3, "fnuz", "Google XLA, hybrid FP8 (Sun et al. 2019)", bias=11),
    _make("e4m3_ieee", 4, 3, "ieee", _ML_DTYPES),
    _make("e3m4_ieee", 3, 4, "ieee", _ML_DTYPES),
    # OCP MX: the scale and the narrow elements.
    _make("e8m0fnu", 8, 0, "fn", f"{_MX}, E8M0", bias=127, signed=False, subnormals=False),
    _make("e3m2fn", 3, 2, "finite", f"{_MX}, FP6 E3M2"),
    _make("e2m3fn", 2, 3, "finite", f"{_MX}, FP6 E2M3"),
    _make("e2m1fn", 2, 1, "finite", f"{_MX}, FP4 E2M1"),
    # Wider formats.
    _make("fp16", 5, 10, "ieee", "IEEE 754-2019 binary16"),
    _make("bf16", 8, 7, "ieee", "Google bfloat16"),
    _make("tf32", 8, 10, "ieee", "NVIDIA TensorFloat-32 (A100 white paper, 2020)"),
    # Integers as fixed point: the spacing is 1, the bias only moves it.
    _make("int8", 0, 7, "finite", "two's complement, spacing 1", bias=-6, twos_complement=True),
    _make("int4", 0, 3, "finite", "two's complement, spacing 1", bias=-2, twos_complement=True),
    # IEEE P3109 at 8 bits, signed: finite, then extended.
    *(binary(8, precision) for precision in range(1, 8)),
    *(binary(8, precision, extended=True) for precision in range(1, 8)),
]
CONSTANTS: dict[str, Constants] = {entry["name"]: entry for entry in _ENTRIES}
SPLITS = tuple(f"e{exponent}m{7 - exponent}" for exponent in range(8))

# What `e{X}m{Y}` means beyond 8 bits: the format that hardware has, where it has one.
_HARDWARE = {(5, 10): "fp16", (8, 7): "bf16", (3, 2): "e3m2fn", (2, 3): "e2m3fn", (2, 1): "e2m1fn"}
_SPLIT_NAME = re.compile(r"e(\d+)m(\d+)(?:b(-?\d+))?(?:_(ieee|fnuz|fn|extended|finite))?(_flush)?")
_P3109_NAME = re.compile(r"binary(\d+)p(\d+)([su])?([ef])?")


def constants_of(name: str) -> Constants:
    """The constants of the format called `name`.

    Raises:
        ValueError: there is none; the message has the nearest name.
    """
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is not the name of a number format; give a str such as 'e4m3'")
    if name in CONSTANTS:
        return CONSTANTS[name]
    if match := _SPLIT_NAME.fullmatch(name):
        return _from_split_name(name, match)
    if match := _P3109_NAME.fullmatch(name):
        _refuse_width(name, int(match[1]))
        return binary(
            int(match[1]), int(match[2]), signed=match[3] != "u", extended=match[4] == "e"
        )
    raise ValueError(_unknown(name))


def _from_split_name(name: str, match: re.Match[str]) -> Constants:
    """`e{X}m{Y}`, and what is said otherwise of it: `b{bias}`, `_{special values}`, `_flush`."""
    exponent, mantissa = int(match[1]), int(match[2])
    _refuse_width(name, 1 + exponent + mantissa)
    usual = usual_split(exponent, mantissa)
    _, _, bias, special, flush = match.groups()
    if not (bias or special or flush):
        return usual
    more: Constants = {"bias": int(bias)} if bias else {}
    more |= {"subnormals": False} if flush else {}
    return _make(name, exponent, mantissa, special or usual["special_values"], OWN, **more)


def usual_split(exponent: int, mantissa: int) -> Constants:
    """What `e{X}m{Y}` alone means: the format that hardware has, or P3109's signed finite."""
    name = f"e{exponent}m{mantissa}"
    known = _HARDWARE.get((exponent, mantissa), name)
    if known in CONSTANTS:
        return CONSTANTS[known]
    source = f"{_P3109}, signed finite" if exponent else _FIXED
    return _make(name, exponent, mantissa, "fnuz", source)


def _refuse_width(name: str, bits: int) -> None:
    if bits > 16:
        raise ValueError(f"{name} has {bits} bits; names reach 16 bits, e.g. e8m7 or e5m10")


def _unknown(name: str) -> str:
    near = closest(name, CONSTANTS)
    hint = f"did you mean {near!r}? " if near else ""
    return (
        f"unknown number format {name!r}; {hint}`altgrad formats` lists {len(CONSTANTS)}, and any "
        "e{X}m{Y}, e{X}m{Y}b{bias} and binary{K}p{P} up to 16 bits has a name, e.g. e4m3 or e2m5b4"
    )
