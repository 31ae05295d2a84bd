"""Curves of several runs over step, tokens, FLOPs or seconds, thinned out for a screen."""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from statistics import fmean
from threading import Lock
from typing import Any

from altgrad.runs import RunFolder, read_settings, tokens_per_step
from altgrad.runs.plots import smooth
from altgrad.runs.watch import Follower
from altgrad.settings import require_choice
from altgrad.studio.card import Card

AXES = ("step", "tokens", "flops", "seconds")
SMOOTHING = {"none": 0, "some": 40, "much": 8}
"""Share of a curve on either side of a point that it is averaged with: one in so many."""
MOST_POINTS = 500
MOST_KEPT = 2_000_000
"""Numbers of runs that somebody looks at, kept between two looks."""

FlopsOf = Callable[[Card], float | None]


class Columns:
    """The metrics of one run by name: (step, value) of every line that has it; grows."""

    def __init__(self, card: Card) -> None:
        self._follower = Follower(RunFolder(card.path).metrics)
        self._starts = 0
        self.steps: dict[str, list[int]] = {}
        self.values: dict[str, list[float]] = {}

    def follow(self) -> "Columns":
        for line in self._follower.new_lines():
            if self._starts != self._follower.starts:
                self._starts = self._follower.starts
                self.steps, self.values = {}, {}
            step = line["step"]
            for name, value in line.items():
                self.steps.setdefault(name, []).append(step)
                self.values.setdefault(name, []).append(value)
        return self

    @property
    def size(self) -> int:
        return sum(map(len, self.values.values()))


class Shelf:
    """The columns of the runs that were looked at last. Thread-safe."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Columns] = OrderedDict()
        self._lock = Lock()

    def of(self, card: Card) -> Columns:
        with self._lock:
            columns = self._kept.pop(card.name, None) or Columns(card)
            self._kept[card.name] = columns.follow()
            while len(self._kept) > 1 and sum(c.size for c in self._kept.values()) > MOST_KEPT:
                self._kept.popitem(last=False)
            return columns


def curve(columns: Columns, name: str, *, smoothing: str) -> list[tuple[int, float | None]]:
    """Steps and values, at most `MOST_POINTS`; a value that is not finite is None: a gap."""
    require_choice(smoothing, SMOOTHING, "smooth")
    steps, values = columns.steps.get(name, []), columns.values.get(name, [])
    share = SMOOTHING[smoothing]
    if share and len(values) > 2:
        values = smooth(values, share=share)
    return _thin(steps, values)


def _thin(steps: Sequence[int], values: Sequence[float]) -> list[tuple[int, float | None]]:
    size = math.ceil(len(values) / MOST_POINTS) or 1
    return [
        (steps[min(i + size, len(steps)) - 1], _mean(values[i : i + size]))
        for i in range(0, len(values), size)
    ]


def _mean(values: Sequence[float]) -> float | None:
    found = [v for v in values if math.isfinite(v)]
    return float(f"{fmean(found):.6g}") if found else None


def over(
    points: list[tuple[int, float | None]], axis: str, card: Card, columns: Columns, flops: FlopsOf
) -> list[tuple[float, float | None]]:
    """The points with `axis` instead of the step; without those that have no place on it.

    Raises:
        ConfigError: an axis that is none.
        ValueError: FLOPs of a run whose network cannot be built here.
    """
    require_choice(axis, AXES, "x")
    if axis == "seconds":
        known = dict(
            zip(columns.steps.get("train_s", []), columns.values.get("train_s", []), strict=True)
        )
        return [(known[step], value) for step, value in points if step in known]
    factor = 1.0
    if axis != "step":
        factor = tokens_per_step(read_settings(RunFolder(card.path).config))
    if axis == "flops":
        factor = flops(card) or math.nan
    return [(step * factor, value) for step, value in points if math.isfinite(factor)]


def metric_names(columns: Columns) -> list[str]:
    """What can be drawn, the losses first; numbers of single layers have their heat maps."""
    first = ["loss", "val_loss", "val_bits_per_byte", "grad_norm", "lr", "tokens_per_s"]
    known = [n for n in columns.values if n != "step" and n.count("/") < 2]
    plain = [n for n in known if "/" not in n]
    means = [n for n in known if n.rpartition("/")[2] in ("mean", "total", "so_far", "max", "min")]
    return [*(n for n in first if n in known), *(n for n in plain + means if n not in first)]


def drawn(
    cards: Sequence[Card], shelf: Shelf, *, name: str, axis: str, smoothing: str, flops: FlopsOf
) -> dict[str, Any]:
    """For the page: one list of points a run, and the metrics that any of them has."""
    runs, names = [], {}
    for card in cards:
        columns = shelf.of(card)
        names.update(dict.fromkeys(metric_names(columns)))
        points = over(curve(columns, name, smoothing=smoothing), axis, card, columns, flops)
        runs.append({"name": card.name, "status": card.status, "points": points})
    return {"runs": runs, "names": list(names), "name": name, "x": axis}
