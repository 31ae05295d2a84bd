"""What runs logged, as one table on one clock: equal shares of each run instead of its steps.

Arms may have logged at different steps (rounded runs log every step, plain ones when asked), or, at
an equal budget of FLOPs, have made different numbers of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from altgrad.compare.why.names import is_mechanism
from altgrad.compare.why.spans import Array
from altgrad.runs import RunFolder, read_metrics

SPANS = 30
"""Into how many shares a run is cut: thousands of metrics over thousands of steps fit so."""


@dataclass(frozen=True)
class Measured:
    """values: metric -> `(runs, SPANS)`, the mean of the finite values in a span, nan where there
    is none. steps: metric -> the first step of each span at which it was measured, by the first
    run that has it; 0 where it was not."""

    values: dict[str, Array]
    steps: dict[str, list[int]]


def read_measured(runs: Sequence[tuple[Path, int]], primary: str) -> Measured:
    """Every mechanism that one of the runs logged.

    runs: folder and last step of each, the run whose steps are named first.
    """
    values: dict[str, Array] = {}
    steps: dict[str, list[int]] = {}
    for place, (run, last) in enumerate(runs):
        for name, found in _spans_of(run, last, primary).items():
            row = values.setdefault(name, np.full((len(runs), SPANS), np.nan))
            row[place] = found.means()
            steps.setdefault(name, found.first)
    return Measured(values, steps)


@dataclass
class _Spans:
    """One metric of one run; lists, because numpy is slow one number at a time."""

    sums: list[float] = field(default_factory=lambda: [0.0] * SPANS)
    counts: list[int] = field(default_factory=lambda: [0] * SPANS)
    first: list[int] = field(default_factory=lambda: [0] * SPANS)

    def add(self, span: int, step: int, value: float) -> None:
        self.sums[span] += value
        self.counts[span] += 1
        self.first[span] = self.first[span] or step

    def means(self) -> list[float]:
        return [s / n if n else math.nan for s, n in zip(self.sums, self.counts, strict=True)]


def _spans_of(run: Path, last: int, primary: str) -> dict[str, _Spans]:
    found: dict[str, _Spans] = {}
    for line in read_metrics(RunFolder(run).metrics):
        step = int(line["step"])
        for name, value in line.items():
            if is_mechanism(name, primary) and math.isfinite(value):
                found.setdefault(name, _Spans()).add(_span_of(step, last), step, value)
    return found


def _span_of(step: int, last: int) -> int:
    """Which share of a run a step lies in, from 0; steps count from 1."""
    return min(max(step - 1, 0) * SPANS // max(last, 1), SPANS - 1)
