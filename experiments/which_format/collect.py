"""From run folders to results/: `python experiments/which_format/collect.py [RUNS]`.

What is collected of a part takes the place of what the tables hold of it; parts without a folder
below RUNS stay as they are, so the folders of an earlier day need not be kept.

results/runs.csv has a line per run and part that it belongs to: what the run was, how it ended,
what it lost and what its instruments saw (means over its looks). results/verdicts.csv has what
`altgrad compare` concluded of each part. Parts that are not whole are collected as far as they are.
"""

import csv
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from altgrad.compare.conclusion import conclude
from altgrad.compare.record import read_record
from altgrad.runs import (
    RunFolder,
    last_weights,
    read_json,
    read_metrics,
    read_settings,
    run_status,
)
from altgrad.settings import ConfigError

RESULTS = Path(__file__).with_name("results")
PREFIX = "which_format_"
TUNING_SEEDS = range(1001, 1010)
COPIES = "fp16 copies"
"""FP32 masters with FP16 copies: nothing is lost and next to nothing rounded (2^-11). It stands for
FP32 where the rule must leave the tied table alone, which takes a recipe that skips it."""
MEANS = (
    "bit_stall/total",
    "arrived_rate/total",
    "arrived_size/total",
    "arrived_cosine/total",
    "ulps_moved/mean",
    *(f"binade_rate/{b}" for b in range(8)),
    *(f"binade_step/{b}" for b in range(8)),
)


def main(runs: Path) -> None:
    parts = sorted((runs / "compare").glob(f"{PREFIX}*/record.json"))
    lines = [line for record in parts for line in runs_of(record.parent, runs)]
    merge(RESULTS / "runs.csv", lines)
    merge(RESULTS / "verdicts.csv", [v for record in parts for v in verdicts_of(record.parent)])
    print(f"{len(lines)} runs of {len(parts)} parts: {RESULTS}")


def merge(path: Path, lines: list[dict[str, Any]]) -> None:
    """Puts the lines in the place of all that the table holds of their parts; by part, in order."""
    old = read(path)
    new = {line["part"] for line in lines}
    kept = [line for line in old if line["part"] not in new]
    write(path, sorted([*kept, *lines], key=lambda line: str(line["part"])))


def read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def runs_of(comparison: Path, runs: Path) -> Iterator[dict[str, Any]]:
    """The finished, diverged and failed runs of a part, tuning first."""
    _, record = read_record(comparison)
    part = comparison.name.removeprefix(PREFIX)
    for name in record.tuning_runs:
        yield from line_of(runs / name, part=part, arm="", purpose="tuning")
    for arm, by_seed in record.runs.items():
        for name in by_seed.values():
            yield from line_of(runs / name, part=part, arm=arm, purpose="test")


def line_of(run: Path, **belongs: str) -> Iterator[dict[str, Any]]:
    if not (run / "config.yaml").is_file() or run_status(run) not in ("finished", "diverged"):
        return
    settings, metrics = (
        read_settings(run / "config.yaml"),
        list(read_metrics(run / "metrics.jsonl")),
    )
    # own_rates.py searches with parts of their own, whose seed says what they are for.
    searched = {"purpose": "tuning"} if settings["seed"] in TUNING_SEEDS else {}
    yield {
        **belongs,
        **searched,
        "run": run.name,
        **cell_of(settings),
        "seed": settings["seed"],
        "status": run_status(run),
        "val_loss": last(metrics, "val_loss"),
        "val_loss_unrounded": last(metrics, "val_loss_unrounded"),
        "weights": (last_weights(run) or "")[:16],
        **made_with(run),
        **{name.replace("/", "_"): mean(metrics, name) for name in MEANS},
        "effective_rank": mean_of_group(metrics, "effective_rank/"),
    }


def cell_of(settings: dict[str, Any]) -> dict[str, Any]:
    """What a run was, in the protocol's words."""
    optim, precision, model = (settings[group] for group in ("optim", "precision", "model"))
    rounded = precision["simulate"]
    weights = (precision["weight"]["format"] or precision["format"]) if rounded else ""
    kind = storage_of(precision) if rounded else "fp32"
    return {
        "layers": model["n_layer"],
        "width": model["n_embd"],
        "steps": settings["max_steps"],
        "storage": kind,
        "operands": operands_of(precision),
        "format": "" if kind == COPIES else weights,
        "rule": "ulp" if optim["name"].startswith("ulp") else "adamw",
        "spacing": optim["stiffness"] if optim["name"].startswith("ulp") else "",
        "placebo": optim["placebo"],
        "rates": "one" if optim["embedding_lr"] is None else "own",
        "lr": optim["lr"],
        "matrix_lr": optim["matrix_lr"] or optim["lr"],
        "other_lr": optim["embedding_lr"] or optim["lr"],
    }


def operands_of(precision: dict[str, Any]) -> str:
    """What has a number format: `weights` of all linear layers, of the `matrices` in the blocks
    alone (the tied table is left out, so it is neither rounded nor steered), or `all` operands."""
    if "lm_head" in precision["skip"]:
        return "matrices"
    return "all" if precision["simulate"] and precision["format"] != "none" else "weights"


def storage_of(precision: dict[str, Any]) -> str:
    if (precision["storage"], precision["weight"]["format"]) == ("master", "fp16"):
        return COPIES
    if precision["storage"] != "rounded":
        return str(precision["storage"])
    return "stochastic" if precision["storage_rounding"] == "stochastic" else "nearest"


def last(metrics: list[dict[str, Any]], name: str) -> float | str:
    found = [line[name] for line in metrics if name in line]
    return found[-1] if found and math.isfinite(found[-1]) else ""


def mean(metrics: list[dict[str, Any]], name: str) -> float | str:
    found = [line[name] for line in metrics if math.isfinite(line.get(name, math.nan))]
    return fmean(found) if found else ""


def mean_of_group(metrics: list[dict[str, Any]], prefix: str) -> float | str:
    """Over the names of a group, in the last line that has them."""
    lines = [[v for n, v in line.items() if n.startswith(prefix)] for line in metrics]
    found = [line for line in lines if line]
    return fmean(found[-1]) if found else ""


def made_with(run: Path) -> dict[str, str]:
    """The package's version and the processor as the run wrote them down. Losses differ by up to
    0.003 between processors, so no contrast mixes them."""
    environment = read_json(RunFolder(run).environment)
    code = environment.get("code", {})
    version = str(code.get("altgrad", ""))[:12] if isinstance(code, dict) else ""
    return {"code": version, "processor": str(environment.get("cpu", ""))}


def verdicts_of(comparison: Path) -> Iterator[dict[str, Any]]:
    """Of each arm against the part's control, and pairs that are one arm; nothing of a part whose
    runs have not all ended."""
    try:
        found = conclude(comparison)
    except ConfigError as error:
        print(f"{comparison.name}: no verdict yet ({error})")
        return
    part = comparison.name.removeprefix(PREFIX)
    same = {frozenset(pair) for pair in found.same_arms}
    for e in found.evidence:
        yield verdict(part, e.arm, e.control, e.verdict, e.pairs, e.mean, e.low, e.high)
    for a, b in map(sorted, same):
        if found.control not in (a, b):
            yield verdict(part, b, a, "the same arm", e.pairs, 0.0, 0.0, 0.0)
    for c in found.contrasts:
        pair = f"{c.first} x {c.second}"
        yield verdict(part, pair, "interaction", c.verdict, c.pairs, c.mean, c.low, c.high)


def verdict(part: str, arm: str, against: str, said: str, pairs: int, *numbers: float) -> dict:
    mean, low, high = numbers
    return {
        "part": part,
        "arm": arm,
        "against": against,
        "verdict": said,
        "pairs": pairs,
        "difference": mean,
        "low": low,
        "high": high,
    }


def write(path: Path, lines: list[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, list(lines[0]) if lines else [], lineterminator="\n")
        rows.writeheader()
        rows.writerows({n: _short(v) for n, v in line.items()} for line in lines)


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))
