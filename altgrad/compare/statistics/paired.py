"""Statistics of a comparison, as pure functions over arrays.

Runs are paired by seed: the same seed gives both arms the same initialisation and the same batches,
so most of the noise cancels in the difference d = arm - control, one number a seed. Everything here
takes such differences (`d`, shape `(n,)`) or the arms' outcomes and returns numbers; what may be
concluded from them is decided in `verdict.py`, from the settings of the question.

Calibrated by `benchmarks/verdict_calibration.py`; its table stands in docs/evidence/calibration.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
EXACT_SIGN_FLIPS = 20
"""Up to this many pairs all 2^n sign patterns are counted; beyond, 100,000 random ones."""


@dataclass(frozen=True)
class Interval:
    low: float
    high: float


@dataclass(frozen=True)
class PairedT:
    """Mean and standard deviation of d, the interval of the mean and the two-sided p."""

    n: int
    mean: float
    sd: float
    interval: Interval
    p: float


def paired_t(d: ArrayLike, confidence: float = 0.95) -> PairedT:
    """Student's paired t: interval mean ± t(n-1) sd/√n, and the p of "the mean is 0".

    With one pair the interval is the whole line; with differences that are all equal it is a point.
    Source: Student, The probable error of a mean, Biometrika 6 (1908).
    """
    from scipy import stats

    d = np.asarray(d, dtype=np.float64)
    n, sd = len(d), standard_deviation(d)
    mean = float(d.mean() if sd else d[0])
    if n < 2:
        return PairedT(n, mean, math.nan, Interval(-math.inf, math.inf), 1.0)
    half = float(stats.t.ppf(0.5 + confidence / 2, n - 1)) * sd / math.sqrt(n)
    p = 2 * float(stats.t.sf(abs(t_value(mean, sd, n)), n - 1))
    return PairedT(n, mean, sd, Interval(mean - half, mean + half), p)


def t_value(mean: float, sd: float, n: int) -> float:
    """mean / (sd/√n); ±inf, or 0, where nothing varies."""
    if sd == 0:
        return 0.0 if mean == 0 else math.copysign(math.inf, mean)
    return mean / sd * math.sqrt(n)


def standard_deviation(d: Array) -> float:
    """With n - 1 below; exactly 0 for equal numbers, where the textbook formula leaves dust."""
    return 0.0 if np.ptp(d) == 0 else float(d.std(ddof=1))


def bca_interval(
    d: ArrayLike, confidence: float = 0.95, *, resamples: int = 9999, seed: int = 0
) -> Interval:
    """Bias-corrected and accelerated bootstrap interval of the mean of d.

    Assumes no distribution, but is too narrow for few pairs (see the calibration table): shown
    beside the t interval, never instead of it.
    Source: B. Efron, Better bootstrap confidence intervals, JASA 82 (1987); scipy.stats.bootstrap.
    """
    from scipy import stats

    d = np.asarray(d, dtype=np.float64)
    if len(d) < 2:
        return Interval(-math.inf, math.inf)
    if standard_deviation(d) == 0:
        return Interval(float(d[0]), float(d[0]))
    made = stats.bootstrap(
        (d,),
        np.mean,
        confidence_level=confidence,
        n_resamples=resamples,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    return Interval(float(made.confidence_interval.low), float(made.confidence_interval.high))


def sign_flip_p(d: ArrayLike, *, seed: int = 0) -> float:
    """Two-sided permutation p of "the arms may be exchanged within each seed".

    The share of sign patterns ±d whose |sum| is at least the one seen; exact up to 20 pairs. With n
    pairs it cannot fall below 2^(1-n): five pairs never reach 0.05.
    Source: R. A. Fisher, The Design of Experiments (1935), §21.
    """
    d = np.asarray(d, dtype=np.float64)
    seen = abs(d.sum()) * (1 - 1e-12)
    if len(d) <= EXACT_SIGN_FLIPS:
        sums = np.zeros(1)
        for value in d:
            sums = np.concatenate([sums + value, sums - value])
        return float(np.mean(np.abs(sums) >= seen))
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(100_000, len(d)))
    return float((1 + np.sum(np.abs(signs @ d) >= seen)) / 100_001)


def effect_in_noise(control: ArrayLike, arm: ArrayLike) -> float:
    """Mean difference in units of seed noise: divided by √((s_control² + s_arm²) / 2).

    Cohen's d_av (D. Lakens, Frontiers in Psychology 4:863, 2013, eq. 10). ±inf where no seed
    makes any difference.
    """
    a, b = np.asarray(control, dtype=np.float64), np.asarray(arm, dtype=np.float64)
    if len(a) < 2:
        return math.nan
    noise = math.sqrt((standard_deviation(a) ** 2 + standard_deviation(b) ** 2) / 2)
    return t_value(float((b - a).mean()), noise, 1)


def holm(p: Sequence[float]) -> list[float]:
    """p adjusted for several arms: compare each with alpha, and the chance that any of them errs
    stays below alpha.

    Source: S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Stat. 6
    (1979).
    """
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, floor = [1.0] * len(p), 0.0
    for rank, i in enumerate(order):
        floor = max(floor, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = floor
    return adjusted


def tost_p(d: ArrayLike, delta: float) -> float:
    """p of "the mean of d is at least delta away from 0": small means equivalent within delta.

    The larger of two one-sided t tests (TOST).
    Source: D. J. Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15 (1987).
    """
    from scipy import stats

    d = np.asarray(d, dtype=np.float64)
    if len(d) < 2:
        return 1.0
    mean, sd, n = float(d.mean()), standard_deviation(d), len(d)
    nearest = max(t_value(mean - delta, sd, n), t_value(-delta - mean, sd, n))
    return float(stats.t.cdf(nearest, n - 1))


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Interval of a rate, such as diverged runs; sensible also at 0 of 3.

    Source: E. B. Wilson, JASA 22 (1927); scipy.stats.binomtest.
    """
    from scipy import stats

    if n == 0:
        return Interval(0.0, 1.0)
    made = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return Interval(float(made.low), float(made.high))


def lost_alone(lost_arm: ArrayLike, lost_control: ArrayLike) -> tuple[int, int]:
    """Seeds in which only the arm was lost, and seeds in which only the control was."""
    a, c = np.asarray(lost_arm, dtype=bool), np.asarray(lost_control, dtype=bool)
    return int((a & ~c).sum()), int((c & ~a).sum())


def less_stable_p(lost_arm: ArrayLike, lost_control: ArrayLike) -> float:
    """One-sided exact p of "the arm is lost no more often than the control", paired by seed.

    Only seeds where exactly one of both is lost count. Each argument: booleans `(n,)`.
    Source: Q. McNemar, Psychometrika 12 (1947), in its exact binomial form.
    """
    from scipy import stats

    only_arm, only_control = lost_alone(lost_arm, lost_control)
    if only_arm == 0:
        return 1.0
    return float(stats.binomtest(only_arm, only_arm + only_control, alternative="greater").pvalue)
