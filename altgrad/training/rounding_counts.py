"""What the rounded layers counted in a step, as metrics per role and layer.

Shares are in percent, as in NVIDIA's TransformerEngine (`overflows%`, `underflows%`).
"""

import math
from collections.abc import Iterable
from statistics import fmean

from torch import nn

from altgrad.quantization.convert import quant_layers, read_counts
from altgrad.quantization.linear import COLUMNS
from altgrad.training.readout import Metrics, Readout, rows_of

SHARES = {"overflows%": "overflow", "underflows%": "underflow", "subnormals%": "subnormal"}


def rounding_metrics(model: nn.Module) -> Metrics:
    """`NAME/ROLE/LAYER` for overflows%, saturations%, underflows%, subnormals%, sqnr_db and amax,
    and `NAME/ROLE/mean`, `NAME/ROLE/max` over the layers; for SQNR `mean` and `min`.

    One host synchronisation; empty where nothing was counted.
    """
    readout = Readout()
    observe_rounding(readout, model)
    return readout.read()


def observe_rounding(readout: Readout, model: nn.Module) -> None:
    """`rounding_metrics`, read later."""
    counts, layers = read_counts(model), quant_layers(model)
    lines = {
        f"{role}/{name}": line for name, roles in counts.items() for role, line in roles.items()
    }
    saturates = {
        f"{role}/{name}": getattr(layers[name].recipe, role).overflow == "saturate"
        for name, roles in counts.items()
        for role in roles
    }
    readout.add(lines.values(), lambda numbers: _metrics(rows_of(lines, numbers), saturates))


def _metrics(table: dict[str, list[float]], saturates: dict[str, bool]) -> Metrics:
    found: Metrics = {}
    for key, line in table.items():
        values = dict(zip(COLUMNS, line, strict=True))
        for metric, value in _of_line(values, saturates[key]).items():
            found[f"{metric}/{key}"] = value
    return {**found, **_aggregates(found)}


def _of_line(values: dict[str, float], saturates: bool) -> Metrics:
    percent = 100 / max(values["numel"], 1)
    shares = {metric: values[column] * percent for metric, column in SHARES.items()}
    shares["saturations%"] = shares["overflows%"] if saturates else 0.0
    return {
        **shares,
        "sqnr_db": _decibels(values["signal"], values["noise"]),
        "amax": values["amax"],
    }


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def _aggregates(found: Metrics) -> Metrics:
    groups: dict[str, list[float]] = {}
    for name, value in found.items():
        groups.setdefault(name.rpartition("/")[0], []).append(value)
    return {key: value for group, values in groups.items() for key, value in _of(group, values)}


def _of(group: str, values: Iterable[float]) -> list[tuple[str, float]]:
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return []
    worst = ("min", min(finite)) if group.startswith("sqnr_db") else ("max", max(finite))
    return [(f"{group}/mean", fmean(finite)), (f"{group}/{worst[0]}", worst[1])]
