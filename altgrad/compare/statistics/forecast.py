"""What a difference would be at a size that was not run: three ways to go on, and all they allow.

- the line goes on: the difference moves by as much with every doubling as it did so far;
- it stays: the difference is what it was on the largest rung;
- the laws go on: each arm's E + A·N^-α is extrapolated, and the difference is theirs.

Each is right about some truths and confidently wrong about others, and four rungs cannot tell
which. So the forecast is the hull of their intervals, and its centre the middle of their three
centres. `benchmarks/scaling_calibration.py` counts how often the truth lies inside
(docs/howto/scaling.md).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from altgrad.compare.statistics import power_law, trend
from altgrad.compare.statistics.trend import Array

RESAMPLES = 2000


@dataclass(frozen=True)
class Forecast:
    """The difference at a size. ways: name -> (centre, low, high), before their hull was taken."""

    size: float
    mean: float
    low: float
    high: float
    ways: dict[str, tuple[float, float, float]]


def forecast(
    sizes: ArrayLike,
    control: Array,
    arm: Array,
    at: float,
    *,
    alpha: float = 0.05,
    resamples: int = RESAMPLES,
) -> Forecast:
    """The difference arm - control at the size `at`.

    control, arm: outcomes `(seeds, rungs)` of the same seeds, complete, at least two seeds and
    three rungs, the largest last.
    """
    d = arm - control
    ways = {
        "the line goes on": _of(trend.estimate(trend.heights(sizes, d, at), alpha)),
        "it stays": _of(trend.estimate(d[:, -1], alpha)),
        "the laws go on": _by_laws(sizes, control, arm, at, alpha, resamples),
    }
    centres, lows, highs = zip(*ways.values(), strict=True)
    return Forecast(at, float(np.median(centres)), min(lows), max(highs), ways)


def left_out(sizes: ArrayLike, control: Array, arm: Array, **how: float | int) -> Forecast:
    """The forecast for the largest rung, made from the others."""
    n = np.asarray(sizes, dtype=np.float64)
    return forecast(n[:-1], control[:, :-1], arm[:, :-1], float(n[-1]), **how)  # type: ignore[arg-type]


def _of(found: trend.Estimate) -> tuple[float, float, float]:
    return found.mean, found.low, found.high


def _by_laws(
    sizes: ArrayLike, control: Array, arm: Array, at: float, alpha: float, resamples: int
) -> tuple[float, float, float]:
    means = [y.mean(axis=0) for y in (control, arm)]
    again = [power_law.resampled_means(y, resamples=resamples) for y in (control, arm)]
    ends = [power_law.fit(sizes, y).at(at)[:, 0] for y in (*means, *again)]
    found, resampled = float(ends[1][0] - ends[0][0]), ends[3] - ends[2]
    interval = power_law.bootstrap_interval(found, resampled, len(control), alpha)
    return found, interval.low, interval.high
