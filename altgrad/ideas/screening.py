"""The first gear: a cheap look at an idea, seed by seed, that promises nothing.

An idea runs on the champion's seeds, one after the other, until it is nominated, shown to gain less
than delta, or parked after the last seed. It is judged with the ledger's pooled spread, since one
pair has none of its own. Findings come from a reckoning, never from here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

NOMINATED, NO_GAIN, OPEN, PARKED, LOST = "nominated", "no gain", "open", "parked", "lost"
MOST_SEEDS = 4
NOMINATE_AT = 4.0
"""An e-value that is worth a place in the champion: odds of four against "no gain"."""

CONFIDENCE = 0.9
"""Of the bound below which an idea is given up; two-sided, so each side is wrong once in twenty."""


@dataclass(frozen=True)
class Screening:
    """What is known of an idea. gain > 0 is good, whatever the outcome's direction; low, high bound
    it. e: evidence against "no gain"; 1 = none."""

    pairs: int
    gain: float
    low: float
    high: float
    e: float
    verdict: str


def e_value(mean: float, n: int, spread: float) -> float:
    """E-value of "the mean gain is 0 or less" after n gains with a known standard deviation.

    The likelihood ratio against a half-normal of scale `spread` over gains above 0; at a true gain
    of 0 its expectation is 1 at every n, at a smaller one it is less. Source: one-sided form of
    the normal mixture, H. Robbins, Ann. Math. Stat. 41 (1970).
    """
    if not spread > 0:
        return math.inf if mean > 0 else 0.0
    z = math.sqrt(n) * mean / spread
    shrink = n / (n + 1)  # n tau² / (n tau² + sigma²) with tau = sigma
    log = math.log(2) - 0.5 * math.log1p(n) + 0.5 * z * z * shrink
    log += float(stats.norm.logcdf(z * math.sqrt(shrink)))
    return math.exp(min(log, 700.0))


def screen(
    gains: Sequence[float], spread: float, delta: float, *, most: int = MOST_SEEDS
) -> Screening:
    """Judge the gains so far, one a seed, in the order they came; nan is a run the idea lost.

    spread: standard deviation of a single gain, pooled over the ledger. delta: smallest gain that
    matters. most: seeds after which an idea that is still open is parked.
    """
    if any(not math.isfinite(g) for g in gains):
        return Screening(len(gains), math.nan, -math.inf, math.inf, 0.0, LOST)
    n, mean = len(gains), sum(gains) / len(gains)
    half = float(stats.norm.ppf(0.5 + CONFIDENCE / 2)) * spread / math.sqrt(n)
    e = e_value(mean, n, spread)
    verdict = OPEN if n < most else PARKED
    if e >= NOMINATE_AT:
        verdict = NOMINATED
    elif mean + half < delta:
        verdict = NO_GAIN
    return Screening(n, mean, mean - half, mean + half, e, verdict)
