"""How far a run is, from its metrics, line by line as they come; what is kept does not grow."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from altgrad.runs.lines import metrics_in
from altgrad.runs.watch import Follower

MOST_POINTS = 48
"""Of the small curve; twice as many are kept before every other one is dropped."""


class Progress:
    """Follows `metrics.jsonl`.

    Only the lines that are needed are parsed: those with an evaluation, one in every `stride`, and
    the last.

    Attributes:
        last: the newest line. spark: [step, loss], thinned out evenly. val_loss: the newest
            evaluation; best_val_loss: the lowest finite one. eval_s: its shortest duration.
    """

    __slots__ = (
        *("last", "spark", "val_loss", "best_val_loss", "lines", "evaluations", "eval_s"),
        *("_stride", "_follower", "_starts"),
    )

    def __init__(self, metrics: Path) -> None:
        self._follower = Follower(metrics)
        self._forget()
        self._starts = 0

    def _forget(self) -> None:
        self.last: dict[str, float] = {}
        self.spark: list[tuple[int, float]] = []
        self.val_loss = self.best_val_loss = self.eval_s = math.nan
        self.lines = self.evaluations = 0
        self._stride = 1

    def follow(self) -> bool:
        """Read what is new; whether there was anything."""
        before = self.lines
        for texts in self._follower.new_texts():
            if self._follower.starts != self._starts:  # another file stands in its place
                self._forget()
                self._starts = self._follower.starts
                before = -1
            self._take(texts)
        return self.lines != before

    def _take(self, texts: list[bytes]) -> None:
        for number, text in enumerate(texts, start=1):
            self.lines += 1
            if b'"val_loss"' in text:
                self._evaluated(text)
            if self.lines % self._stride == 0 or self.lines == 1:
                self._add_point(text)
            if number == len(texts):
                self.last = _small(next(_parsed(text), self.last))

    def _evaluated(self, text: bytes) -> None:
        for line in _parsed(text):
            if (loss := line.get("val_loss")) is None:
                continue
            self.val_loss = loss
            self.evaluations += 1
            if math.isfinite(loss):
                self.best_val_loss = min(loss, self.best_val_loss, key=_nan_last)
            self.eval_s = min(line.get("eval_s", math.nan), self.eval_s, key=_nan_last)

    def _add_point(self, text: bytes) -> None:
        for line in _parsed(text):
            loss = line.get("loss", line.get("val_loss"))
            if loss is not None and math.isfinite(loss):
                self.spark.append((int(line["step"]), float(f"{loss:.4g}")))
        if len(self.spark) >= 2 * MOST_POINTS:
            self.spark = self.spark[1::2]
            self._stride *= 2

    def left_s(self, end: int) -> float:
        """Seconds to go, at the pace of the newest step and of the evaluations so far."""
        step, step_ms = self.last.get("step", 0), self.last.get("step_ms", math.nan)
        pace = step_ms / 1e3
        if self.evaluations and step and math.isfinite(self.eval_s):
            pace += self.eval_s * self.evaluations / step
        return max(0.0, (end - step) * pace)


def _parsed(text: bytes) -> Iterator[dict[str, Any]]:
    return metrics_in([text.decode(errors="replace")])


def _small(line: dict[str, Any]) -> dict[str, float]:
    """Without the hundreds of numbers of a step that was looked at closely."""
    return {name: value for name, value in line.items() if "/" not in name}


def _nan_last(value: float) -> float:
    return math.inf if math.isnan(value) else value
