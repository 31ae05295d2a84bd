"""The catalogue as a table of derived facts, for people: `altgrad formats` and the docs."""

from __future__ import annotations

from altgrad.quantization.formats import CATALOGUE, Format


def catalogue_table(names: list[str] | None = None) -> list[dict[str, object]]:
    """One row of derived facts per format (all of the catalogue by default), for printing."""
    return [_row(Format.named(name)) for name in (names or CATALOGUE)]


def _row(f: Format) -> dict[str, object]:
    return {
        "name": f.name,
        "bits": f.bits,
        "E": f.exponent_bits,
        "M": f.mantissa_bits,
        "bias": f.bias,
        "max": f.max,
        "smallest normal": f.smallest_normal,
        "smallest": f.smallest_subnormal,
        "eps": f.eps,
        "finite codes": f.finite_codes,
        "inf": "-" if f.inf_code is None else f"{f.inf_code:#04x}",
        "NaN": "-" if f.nan_code is None else f"{f.nan_code:#04x}",
        "-0": "yes" if f.has_negative_zero else "no",
        "source": f.source,
    }
