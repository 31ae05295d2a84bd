"""Numbers that a run logged layer by layer, as tables over the steps. Loads no torch."""

import math
from typing import Any

OVER_TIME = {
    "sqnr_db/weight": "error of the weight: SQNR (dB)",
    "sqnr_db/input": "error of the input: SQNR (dB)",
    "sqnr_db/grad_output": "error of the output's gradient: SQNR (dB)",
    "underflows%/weight": "weights that became zero (%)",
    "underflows%/input": "inputs that became zero (%)",
    "underflows%/grad_output": "output gradients that became zero (%)",
    "overflows%/grad_output": "output gradients beyond the range (%)",
    "bit_stall": "updates that changed no rounded weight (share)",
    "dead_neurons": "dead neurons (share)",
    "grad_snr_db": "gradient against the FP32 shadow (dB)",
}
"""Metric -> title of its heat map, in the order of the picture."""

AGGREGATES = ("mean", "min", "max", "total", "so_far")

LayerTable = tuple[list[str], list[int], list[list[float]]]
"""Layers, steps, and a row of values for each layer; NaN where there is none."""


def layer_table(lines: list[dict[str, Any]], metric: str) -> LayerTable | None:
    """The table of a metric, or None if it was not logged per layer."""
    if not any(_layer_of(key, metric) for line in lines for key in line):
        return None
    having = [m for m in lines if m.get("skipped") or any(_layer_of(key, metric) for key in m)]
    layers = list(
        dict.fromkeys(layer for line in having for key in line if (layer := _layer_of(key, metric)))
    )
    # bit_stall was once logged as 0 where nothing had been moved
    void = [metric == "bit_stall" and bool(line.get("skipped")) for line in having]
    values = [
        [
            math.nan if no else line.get(f"{metric}/{name}", math.nan)
            for line, no in zip(having, void, strict=True)
        ]
        for name in layers
    ]
    return layers, [line["step"] for line in having], values


def _layer_of(key: str, metric: str) -> str:
    """`sqnr_db/input/transformer.h.0.mlp` -> the module; empty for aggregates and other metrics."""
    head, _, name = key.rpartition("/")
    return name if head == metric and name not in AGGREGATES else ""


def short_name(name: str) -> str:
    """`transformer.h.0.attn.c_q.weight` -> `0.attn.c_q`."""
    return name.removeprefix("transformer.h.").removeprefix("transformer.").removesuffix(".weight")
