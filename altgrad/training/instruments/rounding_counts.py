"""What the rounded layers counted in a step, as metrics per role and layer.

Shares are in percent, as in NVIDIA's TransformerEngine (`overflows%`, `underflows%`).
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import fmean

from altgrad.quantization.convert import count_table, counted_layers, rounded_roles
from altgrad.quantization.linear import COLUMNS, QuantLinear
from altgrad.quantization.recipe import ROLES
from altgrad.quantization.rounding import decibels
from altgrad.runs import Metrics
from altgrad.training.instruments.instrument import Instrument

SHARES = {"overflows%": "overflow", "underflows%": "underflow", "subnormals%": "subnormal"}
METRICS = (*SHARES, "saturations%", "sqnr_db", "amax")

Key = tuple[str, str, bool]
"""Role, layer, and whether what is beyond the range saturates."""


class RoundingCounts(Instrument):
    """`NAME/ROLE/LAYER` for overflows%, saturations%, underflows%, subnormals%, sqnr_db and amax,
    and `NAME/ROLE/mean`, `NAME/ROLE/max` over the layers; for SQNR `mean` and `min`."""

    def gradients(self) -> None:
        layers = counted_layers(self.context.layers)
        if not layers:
            return
        keys: list[Key | None] = [
            (role, name, getattr(layer.recipe, role).overflow == "saturate") if there else None
            for name, layer in layers.items()
            for role, there in _roles(layer)
        ]
        table = count_table(layers)
        self.context.readout.add([table], lambda numbers: _metrics(keys, numbers))


def _roles(layer: QuantLinear) -> list[tuple[str, bool]]:
    rounded = rounded_roles(layer)
    return [(role, role in rounded) for role in ROLES]


def _metrics(keys: Sequence[Key | None], numbers: list[float]) -> Metrics:
    width = len(COLUMNS)
    found: Metrics = {}
    groups: dict[str, list[list[float]]] = {}
    for i, key in enumerate(keys):
        if key is None:
            continue
        role, layer, saturates = key
        values = _of_line(numbers[i * width : (i + 1) * width], saturates)
        found |= zip(_names(role, layer), values, strict=True)
        groups.setdefault(role, []).append(values)
    for role, lines in groups.items():
        for metric, column in zip(METRICS, zip(*lines, strict=True), strict=True):
            found |= _over_layers(f"{metric}/{role}", column)
    return found


@lru_cache(maxsize=8192)
def _names(role: str, layer: str) -> tuple[str, ...]:
    return tuple(f"{metric}/{role}/{layer}" for metric in METRICS)


_AT = {name: COLUMNS.index(name) for name in COLUMNS}


def _of_line(line: list[float], saturates: bool) -> list[float]:
    """The values of METRICS from one line of the counts."""
    percent = 100 / max(line[_AT["numel"]], 1)
    shares = [line[_AT[column]] * percent for column in SHARES.values()]
    noise, signal = line[_AT["noise"]], line[_AT["signal"]]
    return [*shares, shares[0] if saturates else 0.0, decibels(signal, noise), line[_AT["amax"]]]


def _over_layers(group: str, values: Sequence[float]) -> Metrics:
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return {}
    if group.startswith("sqnr_db"):
        return {f"{group}/mean": fmean(finite), f"{group}/min": min(finite)}
    return {f"{group}/mean": fmean(finite), f"{group}/max": max(finite)}
