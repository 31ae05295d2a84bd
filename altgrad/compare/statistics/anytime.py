"""Peeking allowed: an interval that holds at every number of seeds at once.

A t interval keeps its promise at one n, fixed beforehand. Whoever looks after each seed and stops
when it excludes zero is wrong far more often than 5 % of the time. The sequence below contains the
true mean at *all* n together with the stated chance, so that "as you go" may stop at any of them.

For a mean m the Bayes factor of "the standardised effect is N(0, tau²)" against "it is 0", with the
right-Haar prior on the unknown standard deviation, is a function of t alone (x = t²/(n-1)):

    B(n, t) = (1 + n tau²)^(-1/2) · ((1 + x) / (1 + x / (1 + n tau²)))^(n/2)

Under m it is a test martingale for the scale-invariant data, so by Ville's inequality it ever
reaches 1/alpha with chance at most alpha; the sequence is all m whose B stays below. tau = 2 loses
little between one and four standard deviations, where paired runs of small models lie.
Sources: T. L. Lai, Ann. Stat. 4 (1976); M. Pérez-Ortiz, T. Lardy, R. de Heide, P. Grünwald,
arXiv 2208.07610 (the martingale); H. Wang, A. Ramdas, arXiv 2310.03722 (the t sequence).
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from altgrad.compare.statistics.paired import Interval, standard_deviation, t_value


def bayes_factor(t: float, n: int, tau: float = 2.0) -> float:
    """B(n, t) above; reject "the mean is 0" when it reaches 1/alpha."""
    if n < 2:
        return 1.0
    spread = 1 + n * tau**2
    if math.isinf(t):
        return math.inf
    x = t * t / (n - 1)
    log = -0.5 * math.log(spread) + n / 2 * (math.log1p(x) - math.log1p(x / spread))
    return math.exp(min(log, 700.0))


def anytime_interval(d: ArrayLike, alpha: float = 0.05, tau: float = 2.0) -> Interval:
    """Confidence sequence of the mean of d at this n: covers at all n together with 1 - alpha.

    tau: the effect, in standard deviations of d, for which the sequence is tuned.
    """
    d = np.asarray(d, dtype=np.float64)
    n, mean = len(d), float(d.mean())
    if n < 2:
        return Interval(-math.inf, math.inf)
    sd = standard_deviation(d)
    half = t_boundary(n, alpha, tau) * sd / math.sqrt(n) if sd else 0.0
    return Interval(mean - half, mean + half)


def t_boundary(n: int, alpha: float, tau: float = 2.0) -> float:
    """The |t| at which B(n, t) = 1/alpha; inf while n is too small for any t to reach it."""
    spread = 1 + n * tau**2
    k = (math.sqrt(spread) / alpha) ** (2 / n)
    room = 1 - k / spread
    return math.inf if room <= 0 else math.sqrt((n - 1) * (k - 1) / room)


def anytime_p(d: ArrayLike, tau: float = 2.0) -> float:
    """1/B, at most 1: valid at any stopping time."""
    d = np.asarray(d, dtype=np.float64)
    if len(d) < 2:
        return 1.0
    sd = standard_deviation(d)
    return min(1.0, 1.0 / bayes_factor(t_value(float(d.mean()), sd, len(d)), len(d), tau))


def anytime_less_stable_p(only_arm: int, only_control: int) -> float:
    """p of "the arm is lost no more often than the control", valid at every look.

    1/B of a test martingale: "of the seeds where one of both is lost it is the arm with a chance
    uniform on (1/2, 1)" against "with chance 1/2". Seven lost runs against none reach 0.05.
    Source: the beta-binomial mixture of H. Robbins, Ann. Math. Stat. 41 (1970), one-sided.
    """
    from scipy import special

    a, b = only_arm + 1, only_control + 1
    log = special.betaln(a, b) + math.log(2 * special.betainc(b, a, 0.5))
    log += (only_arm + only_control) * math.log(2)
    return min(1.0, math.exp(-log))
