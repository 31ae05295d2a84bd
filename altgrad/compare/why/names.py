"""Names of metrics taken apart: which are mechanisms, and of which group and layer."""

import re
from typing import Any

from altgrad.quantization.recipe import ROLES

BASIC = {
    *("step", "loss", "perplexity", "lr", "val_loss", "val_perplexity", "val_bits_per_byte"),
    *("eval_s", "step_ms", "tokens_per_s", "mfu", "train_s", "compile_s"),
    *("peak_memory_bytes", "peak_gpu_bytes", "energy_j"),
}
"""Metrics that are no mechanism: outcomes, cost and the schedule."""

SECOND_OUTCOMES = {"val_loss_unrounded", "shadow_loss"}
"""The outcome measured another way: it moves with it because it nearly is it."""


AGGREGATES = ("mean", "all", "total", "so_far", "min", "max", "median", "std")
"""Items of a group that summarise its layers, the preferred one first."""


def is_mechanism(name: str, primary: str) -> bool:
    """Whether a metric may stand beside the outcome `primary` as something else that differed."""
    return name not in BASIC and name not in SECOND_OUTCOMES and name != primary


def split_name(name: str) -> tuple[str, str]:
    """Group and item of a metric: `grad_snr/h.0_fp8` is `h.0` of `grad_snr_fp8`,
    `amax/input/h.0` is `h.0` of `amax/input`."""
    group, _, item = name.partition("/")
    role, _, layer = item.partition("/")
    if role in ROLES and layer:
        group, item = f"{group}/{role}", layer
    item = item.removeprefix("transformer.").replace(".weight", "")
    for kind in ("_fp8", "_fp32", "_diff"):
        if item.endswith(kind):
            return group + kind, item.removesuffix(kind)
    return group, item or "all"


def natural(name: str) -> list[Any]:
    """Sorts `h.2` before `h.10`."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
