"""What a run logged layer by layer, as heat maps: layer by step, thinned out for a screen."""

import math
from typing import Any

from altgrad.runs import RunFolder, read_metrics
from altgrad.runs.layers import OVER_TIME, layer_table, short_name
from altgrad.studio.card import Card

MOST_STEPS = 80
MOST_LAYERS = 120


def heat_maps(card: Card) -> list[dict[str, Any]]:
    """One map a metric: `layers`, `steps` and `values` (layer by layer; None where there is none).

    A metric that is nothing but zero, infinite or absent says so in `only`, and has no values.
    """
    lines = [m for m in read_metrics(RunFolder(card.path).metrics) if any("/" in k for k in m)]
    lines = lines[:: math.ceil(len(lines) / MOST_STEPS) or 1]
    maps = []
    for metric, title in OVER_TIME.items():
        table = layer_table(lines, metric)
        if table is not None:
            maps.append({"metric": metric, "title": title, **_map(*table)})
    return maps


def _map(layers: list[str], steps: list[int], values: list[list[float]]) -> dict[str, Any]:
    found = {v for row in values for v in row}
    only = "" if any(math.isfinite(v) and v for v in found) else _said(found)
    shown = [] if only else [[_short(v) for v in row] for row in values[:MOST_LAYERS]]
    names = [short_name(name) for name in layers[:MOST_LAYERS]]
    return {"layers": names, "steps": steps, "values": shown, "only": only}


def _said(found: set[float]) -> str:
    known = {v for v in found if not math.isnan(v)}
    names = {0.0: "zero", math.inf: "infinite (no error)", -math.inf: "minus infinity (no signal)"}
    return " or ".join(names[v] for v in sorted(known)) or "without a value"


def _short(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None
