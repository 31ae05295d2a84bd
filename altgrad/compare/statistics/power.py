"""How many seeds would decide: power of the paired t test and of the equivalence test."""

import math

import numpy as np
from numpy.typing import NDArray

MOST_SEEDS = 1000
"""Beyond this many pairs the answer is "more than that"."""


def t_power(n: NDArray[np.int64], effect: float, alpha: float = 0.05) -> NDArray[np.float64]:
    """Chance that the two-sided paired t test sees a true mean of `effect` standard deviations.

    n: pairs, `(k,)`, each at least 2.
    Source: noncentral t; J. Cohen, Statistical Power Analysis (1988), §2.4.
    """
    from scipy import stats

    shift = abs(effect) * np.sqrt(n)
    critical = stats.t.ppf(1 - alpha / 2, n - 1)
    return np.asarray(stats.nct.sf(critical, n - 1, shift), dtype=np.float64)


def tost_power(
    n: NDArray[np.int64], effect: float, delta: float, alpha: float = 0.05
) -> NDArray[np.float64]:
    """Chance that TOST finds a true mean of `effect` equivalent within `delta` (both in sd).

    A lower bound that is tight from a power of one half on: both one-sided tests, by Bonferroni.
    Source: K. F. Phillips, J. Pharmacokinetics and Biopharmaceutics 18 (1990).
    """
    from scipy import stats

    critical = stats.t.ppf(1 - alpha, n - 1)
    above = stats.nct.sf(critical, n - 1, (delta + effect) * np.sqrt(n))
    below = stats.nct.sf(critical, n - 1, (delta - effect) * np.sqrt(n))
    return np.asarray(np.maximum(above + below - 1, 0.0), dtype=np.float64)


def seeds_needed(
    mean: float, sd: float, delta: float, *, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """Fewest pairs that decide, better/worse or equivalent, with the given chance.

    Takes mean and sd of the differences seen so far for the true ones: a plan, not a promise.
    None: more than `MOST_SEEDS`, or too few pairs to know.
    """
    if not math.isfinite(sd):
        return None
    if sd == 0:
        return 2
    # An effect of 20 sd is seen by two or three pairs; more would only strain the arithmetic.
    effect, bound = min(abs(mean) / sd, 20.0), min(delta / sd, 40.0)
    tried = _first(t_power, effect, alpha=alpha, power=power)
    if effect < bound:
        equivalent = _first(tost_power, effect, bound, alpha=alpha, power=power)
        tried = min((n for n in (tried, equivalent) if n), default=None)
    return tried


def _first(test, *effect: float, alpha: float, power: float) -> int | None:
    """The smallest n at which the test has the power; a few first, for large effects."""
    for low, high in ((2, 40), (40, MOST_SEEDS + 1)):
        n = np.arange(low, high)
        enough = np.flatnonzero(test(n, *effect, alpha) >= power)
        if len(enough):
            return int(n[enough[0]])
    return None
