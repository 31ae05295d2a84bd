"""Number formats: their grids, the codes near a number, its rounding in every mode, what they lose
of a bell curve."""

import math
from typing import Any

from altgrad.quantization.bell_curve import MOST_BITS, loss_over_scale, neighbours
from altgrad.quantization.format_table import catalogue_table
from altgrad.quantization.formats import Format
from altgrad.quantization.reference import ROUNDINGS, encode, round
from altgrad.settings import require

MOST_FORMATS = 8
RANDOM_BITS = 8
MOST_CODE_BITS = 16
"""Wider formats have too many codes to list those near a number."""


def catalogue() -> list[dict[str, Any]]:
    """Every format with a name."""
    return [{k: _plain(v) for k, v in row.items()} for row in catalogue_table()]


def chosen_formats(names: list[str], x: float) -> list[dict[str, Any]]:
    """The facts of each chosen format, and what it makes of x.

    Raises:
        ValueError: an unknown name, too many of them, or x is not a number.
    """
    require(len(names) <= MOST_FORMATS, f"at most {MOST_FORMATS} formats at a time.")
    require(math.isfinite(x), f"{x} is not a number that can be rounded.")
    return [_one(Format.named(name), x) for name in dict.fromkeys(names)]


def _one(f: Format, x: float) -> dict[str, Any]:
    (facts,) = catalogue_table([f.name])
    drawable = f.bits <= MOST_BITS
    values = f.values() if drawable else []
    return {
        "facts": {k: _plain(v) for k, v in facts.items()},
        "values": values,
        "spacing": [[v, f.ulp(v) / v] for v in values if v > 0],
        "near": [_code(v, f) for v in neighbours(f, x)] if f.bits <= MOST_CODE_BITS else [],
        "rounded": [_rounded(x, f, mode) for mode in ROUNDINGS],
        "ulp": f.ulp(x),
        "bell": loss_over_scale(f) if drawable and f.signed else [],
    }


def _code(value: float, f: Format) -> dict[str, Any]:
    code = encode(value, f)
    return {"value": value, "code": code, "bits": format(code, f"0{f.bits}b")}


def _rounded(x: float, f: Format, mode: str) -> dict[str, Any]:
    """One mode; the stochastic one gives both results, with their chances."""
    if mode != "stochastic":
        value = round(x, f, rounding=mode)
        return {"mode": mode, "value": _plain(value), "error": _plain(value - x)}
    how: dict[str, Any] = {"rounding": mode, "number_of_bits": RANDOM_BITS}
    made = [round(x, f, random_bits=bits, **how) for bits in range(2**RANDOM_BITS)]
    chances = {v: made.count(v) / len(made) for v in sorted(set(made))}
    mean = sum(v * p for v, p in chances.items())
    return {
        "mode": mode,
        "value": None,
        "chances": [[_plain(v), p] for v, p in chances.items()],
        "error": _plain(mean - x),
    }


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
