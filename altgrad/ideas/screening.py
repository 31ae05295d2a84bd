"""The first gear: a cheap look at an idea, seed by seed, that promises nothing.

An idea runs on the champion's seeds, one after the other, until it is nominated, shown to gain less
than delta, or parked after the last seed. It is judged with the ledger's pooled spread, since one
pair has none of its own; how well that spread is known (its degrees of freedom) counts. Findings
come from a reckoning, never from here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import special

NOMINATED, NO_GAIN, OPEN, PARKED, LOST = "nominated", "no gain", "open", "parked", "lost"
MOST_SEEDS = 4
NOMINATE_AT = 4.0
"""An e-value that is worth a place in the champion: odds of four against "no gain"."""

CONFIDENCE = 0.9
"""Of the interval that is shown; two-sided."""

GIVE_UP_AT = 0.85
"""One-sided confidence of the bound below which an idea is given up: of the ideas that gain just
delta so many survive a look. Higher costs more pairs for ideas that do nothing:
docs/howto/ideas.md."""


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


def e_value(mean: float, n: int, spread: float, freedom: float = math.inf) -> float:
    """E-value of "the mean gain is 0 or less" after n gains.

    spread: their standard deviation, estimated apart from their mean with so many degrees of
    `freedom`; inf = known. The likelihood ratio of "the gain is half-normal above 0, of scale one
    standard deviation" against "it is 0"; with an estimated spread, of the t statistic's
    distributions (right-Haar prior on the true one), so that its expectation at a true gain of 0
    is 1 however badly the spread is known, and at a smaller one less. A spread put in as if it were
    known would have none below two degrees of freedom. Sources: H. Robbins, Ann. Math. Stat. 41
    (1970); M. Pérez-Ortiz and others, arXiv 2208.07610.
    """
    if not spread > 0:
        return math.inf if mean > 0 else 0.0
    z, shrink = math.sqrt(n) * mean / spread, n / (n + 1)
    log = math.log(2) - 0.5 * math.log1p(n)
    if math.isinf(freedom):
        log += 0.5 * z * z * shrink + float(special.log_ndtr(z * math.sqrt(shrink)))
        return math.exp(min(log, 700.0))
    x = z * z / freedom
    log += (freedom + 1) / 2 * (math.log1p(x) - math.log1p(x / (n + 1)))
    # What is known of the gain then: Student's t around the shrunken mean.
    scale = math.sqrt((freedom + z * z / (n + 1)) / (freedom + 1))
    above = float(special.stdtr(freedom + 1, z * math.sqrt(shrink) / scale))
    return math.exp(min(log, 700.0)) * above


def half_width(n: int, spread: float, confidence: float, freedom: float = math.inf) -> float:
    """From the mean of n gains to the one-sided bound with this confidence."""
    if math.isinf(freedom):
        return float(special.ndtri(confidence)) * spread / math.sqrt(n)
    return float(special.stdtrit(freedom, confidence)) * spread / math.sqrt(n)


def screen(
    gains: Sequence[float],
    spread: float,
    delta: float,
    freedom: float = math.inf,
    *,
    most: int = MOST_SEEDS,
) -> Screening:
    """Judge the gains so far, one a seed, in the order they came; nan is a run the idea lost.

    spread, freedom: standard deviation of a single gain, pooled over the ledger, and how well it
    is known. delta: smallest gain that matters. most: seeds after which an idea that is still open
    is parked.
    """
    if any(not math.isfinite(g) for g in gains):
        return Screening(len(gains), math.nan, -math.inf, math.inf, 0.0, LOST)
    n, mean = len(gains), sum(gains) / len(gains)
    half = half_width(n, spread, 0.5 + CONFIDENCE / 2, freedom)
    e = e_value(mean, n, spread, freedom)
    verdict = OPEN if n < most else PARKED
    if e >= NOMINATE_AT:
        verdict = NOMINATED
    elif mean + half_width(n, spread, GIVE_UP_AT, freedom) < delta:
        verdict = NO_GAIN
    return Screening(n, mean, mean - half, mean + half, e, verdict)
