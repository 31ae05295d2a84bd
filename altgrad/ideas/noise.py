"""How much a difference between two runs says: the ledger's own measurement of noise.

A paired difference of one idea has too few pairs to know its spread, and all ideas of a ledger run
on the same machine, data and length: their spreads are pooled, each weighted by its degrees of
freedom. Two floors hold it up: the machine's own noise (the same run twice), and, before any idea
has two pairs, the spread of the baseline over its seeds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

SUSPICIOUS = 0.01
"""p of the F test below which an arm's own spread is taken for really larger."""

ENOUGH = 6
"""Degrees of freedom of paired differences from which on they alone say what the spread is."""


@dataclass(frozen=True)
class Noise:
    """spread: standard deviation of one paired difference, and its degrees of freedom.

    repeat: difference of two runs with the same seed and settings (0 where runs are exact).
    """

    spread: float
    freedom: int
    repeat: float

    def smallest_gain(self, pairs: int, alpha: float = 0.05, power: float = 0.8) -> float:
        """The gain that so many pairs show with this chance: (z_alpha + z_power) · spread / √n.

        One-sided, with a known spread: what screening could see at best.
        """
        z = float(stats.norm.ppf(1 - alpha) + stats.norm.ppf(power))
        return z * self.spread / math.sqrt(pairs)

    def spread_of(self, gains: Sequence[float]) -> "Spread":
        """The spread to judge an idea with: its own where that is visibly larger (an F test)."""
        pooled = Spread(self.spread, max(1, self.freedom), False)
        if len(gains) < 2 or not self.spread:
            return pooled
        own = float(np.std(gains, ddof=1))
        ratio = (own / self.spread) ** 2
        larger = float(stats.f.sf(ratio, len(gains) - 1, pooled.freedom)) < SUSPICIOUS
        return Spread(own, len(gains) - 1, True) if larger else pooled


@dataclass(frozen=True)
class Spread:
    """value: standard deviation of a single gain. own: of this idea's gains alone."""

    value: float
    freedom: int
    own: bool


def pool(baseline: Sequence[float], repeat: float, pairs: Sequence[Sequence[float]] = ()) -> Noise:
    """The noise of a ledger.

    baseline: the baseline's outcomes, one a seed. repeat: of the same seed twice, second minus
    first. pairs: for each idea its paired differences; those with two or more count.
    """
    counted = [np.asarray(p, dtype=np.float64) for p in pairs]
    counted = [p for p in counted if len(p) >= 2 and np.isfinite(p).all()]
    freedom = sum(len(p) - 1 for p in counted)
    squares = sum(float(((p - p.mean()) ** 2).sum()) for p in counted)
    # Independent runs differ by √2 standard deviations; pairing can only make that less, so the
    # baseline's seeds bound the spread from above. They count as one idea, until ideas know better.
    if freedom < ENOUGH:
        first = math.sqrt(2) * float(np.std(baseline, ddof=1)) if len(baseline) > 1 else 0.0
        weight = 1 if counted else len(baseline) - 1
        squares, freedom = squares + weight * first**2, freedom + weight
    spread = math.sqrt(squares / freedom) if freedom else 0.0
    return Noise(max(spread, abs(repeat)), freedom, abs(repeat))


def pairing(champion: Sequence[float], idea: Sequence[float], noise: Noise) -> dict[str, Any]:
    """What running both on the same seeds was worth: nan is a lost run.

    correlation: of the two over the seeds; a change of shapes, batch or data order breaks it.
    seeds_factor: seeds this idea needs where a usual one of the ledger needs 1, from the spread of
    its differences. Both None below three whole pairs, which know nothing of it.
    """
    pairs = [(a, b) for a, b in zip(champion, idea, strict=True) if math.isfinite(a + b)]
    if len(pairs) < 3:
        return {"correlation": None, "seeds_factor": None}
    x, y = (np.array(v) for v in zip(*pairs, strict=True))
    varied = bool(np.ptp(x) and np.ptp(y))
    factor = float(np.var(x - y, ddof=1)) / noise.spread**2 if noise.spread else None
    return {
        "correlation": float(np.corrcoef(x, y)[0, 1]) if varied else None,
        "seeds_factor": factor,
    }
