"""Numbers for the plots of a report, thinned out so that the page stays small."""

import math
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

from altgrad.compare.conclusion import Conclusion
from altgrad.compare.why.names import BASIC, split_name
from altgrad.runs import RunFolder, read_metrics

Row = dict[str, Any]
MOST_POINTS = 120
MOST_STEPS = 30
"""Points of a loss curve; steps of a mechanism's curve, of which there may be hundreds."""
MOST_ROWS = 50_000
"""Points of all loss curves of a plot together: of very many runs each has fewer."""


def loss_rows(conclusion: Conclusion, name: str) -> list[Row]:
    """`arm seed step value` of one metric of every run, means over equal spans of steps."""
    runs = sum(map(len, conclusion.runs.values()))
    most = max(2, min(MOST_POINTS, MOST_ROWS // max(1, runs)))
    return [
        {"arm": arm, "seed": seed, "step": step, "value": value}
        for arm, by_seed in conclusion.runs.items()
        for seed, run in by_seed.items()
        for step, value in thin(_read_metric(run, name), most)
    ]


def _read_metric(run: Path, name: str) -> list[tuple[int, float]]:
    lines = read_metrics(RunFolder(run).metrics)
    return [(m["step"], m[name]) for m in lines if name in m and math.isfinite(m[name])]


def thin(points: list[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    """At most `most` points: the mean of each span, at the span's last step."""
    size = math.ceil(len(points) / most) or 1
    spans = [points[i : i + size] for i in range(0, len(points), size)]
    return [(span[-1][0], _short(fmean(v for _, v in span))) for span in spans]


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def band_rows(rows: list[Row]) -> list[Row]:
    """Mean, lowest and highest over the seeds, for each arm and step that all its seeds reached."""
    seeds = defaultdict(set)
    values = defaultdict(list)
    for row in rows:
        seeds[row["arm"]].add(row["seed"])
        values[row["arm"], row["step"]].append(row["value"])
    return [
        {"arm": a, "step": s, "mean": _short(fmean(v)), "low": min(v), "high": max(v)}
        for (a, s), v in values.items()
        if len(v) == len(seeds[a])
    ]


def mechanism_rows(conclusion: Conclusion) -> dict[str, list[Row]]:
    """Group -> `arm item step value`, means over the seeds: whatever else the runs have logged.

    A name `grad_cos_sim/h.0.attn` belongs to the group `grad_cos_sim`, item `h.0.attn`; a name
    without a slash is a group of its own, item `all`. Groups that do not vary are left out.
    """
    sums: dict[tuple[str, str, str, int], list[float]] = defaultdict(list)
    for arm, by_seed in conclusion.runs.items():
        for run in by_seed.values():
            _add_run(arm, run, sums)
    groups: dict[str, list[Row]] = defaultdict(list)
    for (group, arm, item, step), values in sorted(sums.items()):
        row = {"arm": arm, "item": item, "step": step, "value": _short(fmean(values))}
        groups[group].append(row)
    return {group: rows for group, rows in groups.items() if _varies(rows)}


def _add_run(arm: str, run: Path, sums: dict[tuple[str, str, str, int], list[float]]) -> None:
    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for line in read_metrics(RunFolder(run).metrics):
        for name, value in line.items():
            if name not in BASIC and isinstance(value, int | float) and math.isfinite(value):
                found[name].append((line["step"], value))
    for name, points in found.items():
        group, item = split_name(name)
        for step, value in thin(points, MOST_STEPS):
            sums[group, arm, item, step].append(value)


def _varies(rows: list[Row]) -> bool:
    """A number that is the same everywhere (no step skipped, say) tells nothing."""
    return len({row["value"] for row in rows}) > 1


def difference_rows(conclusion: Conclusion) -> list[Row]:
    """One row a seed: `arm seed difference`, runs that were lost left out."""
    control = conclusion.outcomes[conclusion.control]
    return [
        {"arm": e.arm, "seed": a.seed, "difference": a.outcome - c.outcome}
        for e in conclusion.evidence
        for a, c in zip(conclusion.outcomes[e.arm], control, strict=False)  # one may have stopped
        if not (a.lost or c.lost)
    ]


def tuning_rows(conclusion: Conclusion) -> list[Row]:
    """`arm value outcome chosen`, one row a tuning run that was not lost."""
    return [
        {"arm": t["arm"], "value": float(v), "outcome": o, "chosen": float(v) == t["value"]}
        for t in conclusion.record.tuning
        for v, outcomes in t["outcomes"].items()
        for o in outcomes
        if o is not None and math.isfinite(o)
    ]
