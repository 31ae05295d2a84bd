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

Earlier differences with the same standard deviation are data about it, too. With their spread s0
on nu degrees of freedom the same right-Haar prior gives the same B with the spread of both
together, s² = (nu s0² + (n-1) sd²) / (nu + n - 1), x = t²/(nu + n - 1) and the power (nu + n)/2:
an exact martingale, however small nu is, since the earlier data are a part of it and no plug-in.
nu = 0 is the sequence above, nu = inf Robbins' with a known variance. It decides before the fourth
pair, where the other cannot; it is wrong where the spread is another one: `Spread.holds`.
Sources: T. L. Lai, Ann. Stat. 4 (1976); M. Pérez-Ortiz, T. Lardy, R. de Heide, P. Grünwald,
arXiv 2208.07610 (the martingale); H. Wang, A. Ramdas, arXiv 2310.03722 (the t sequence).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from altgrad.compare.statistics.paired import Interval, standard_deviation, t_value

SUSPICIOUS = 0.01
"""p of the F test below which pairs are taken for really noisier than the earlier ones."""


@dataclass(frozen=True)
class Spread:
    """Standard deviation of a difference, from earlier pairs; freedom = 0: nothing is known."""

    value: float = 0.0
    freedom: float = 0.0

    def times(self, factor: float) -> "Spread":
        return Spread(self.value * factor, self.freedom)

    def pooled(self, d: NDArray[np.float64]) -> float:
        """With the differences d, each weighted by its degrees of freedom."""
        if not self.freedom:
            return standard_deviation(d)
        squares = self.freedom * self.value**2 + float(((d - d.mean()) ** 2).sum())
        return math.sqrt(squares / (self.freedom + len(d) - 1))

    def holds(self, d: NDArray[np.float64]) -> bool:
        """Whether d is not visibly noisier than what is known (one-sided F test)."""
        from scipy import stats

        if len(d) < 2 or not self.freedom:
            return bool(self.freedom)
        ratio = (standard_deviation(d) / self.value) ** 2
        return float(stats.f.sf(ratio, len(d) - 1, self.freedom)) >= SUSPICIOUS


UNKNOWN = Spread()


def bayes_factor(t: float, n: int, tau: float = 2.0, freedom: float = 0.0) -> float:
    """B(n, t) above; reject "the mean is 0" when it reaches 1/alpha.

    freedom: of the earlier pairs whose spread is pooled into t.
    """
    if n + freedom < 2:
        return 1.0
    spread = 1 + n * tau**2
    if math.isinf(t):
        return math.inf
    x = t * t / (n + freedom - 1)
    log = -0.5 * math.log(spread)
    log += (n + freedom) / 2 * (math.log1p(x) - math.log1p(x / spread))
    return math.exp(min(log, 700.0))


def anytime_interval(
    d: ArrayLike, alpha: float = 0.05, tau: float = 2.0, known: Spread = UNKNOWN
) -> Interval:
    """Confidence sequence of the mean of d at this n: covers at all n together with 1 - alpha.

    tau: the effect, in standard deviations of d, for which the sequence is tuned. known: the spread
    of earlier pairs. Where d is visibly noisier the wider of both intervals is taken: what is said
    then never is more than the sequence with the known spread allows.
    """
    d = np.asarray(d, dtype=np.float64)
    half = max(_half(d, alpha, tau, each) for each in _spreads(d, known))
    mean = float(d.mean())
    return Interval(mean - half, mean + half)


def _spreads(d: NDArray[np.float64], known: Spread) -> list[Spread]:
    """What to reckon with: the known spread, and beside it d's own where that is larger."""
    if not known.freedom:
        return [UNKNOWN]
    return [known] if known.holds(d) else [known, UNKNOWN]


def _half(d: NDArray[np.float64], alpha: float, tau: float, known: Spread) -> float:
    if len(d) + known.freedom < 2:
        return math.inf
    sd = known.pooled(d)
    return t_boundary(len(d), alpha, tau, known.freedom) * sd / math.sqrt(len(d)) if sd else 0.0


def t_boundary(n: int, alpha: float, tau: float = 2.0, freedom: float = 0.0) -> float:
    """The |t| at which B(n, t) = 1/alpha; inf while n is too small for any t to reach it."""
    spread, total = 1 + n * tau**2, n + freedom
    k = (math.sqrt(spread) / alpha) ** (2 / total)
    room = 1 - k / spread
    return math.inf if room <= 0 else math.sqrt((total - 1) * (k - 1) / room)


def anytime_p(d: ArrayLike, tau: float = 2.0, known: Spread = UNKNOWN) -> float:
    """1/B, at most 1: valid at any stopping time."""
    d = np.asarray(d, dtype=np.float64)
    return max(_p(d, tau, each) for each in _spreads(d, known))


def _p(d: NDArray[np.float64], tau: float, known: Spread) -> float:
    if len(d) + known.freedom < 2:
        return 1.0
    t = t_value(float(d.mean()), known.pooled(d), len(d))
    return min(1.0, 1.0 / bayes_factor(t, len(d), tau, known.freedom))


def chance_to_decide(
    d: ArrayLike, most: int, alpha: float, delta: float, known: Spread = UNKNOWN
) -> float:
    """Chance that the sequence, at its last look, will show a difference or that it is below delta.

    The mean of the pairs to come is predicted from those there are (Student's t for their mean and
    spread). most: pairs at the last look. A decision on the way there is not counted.
    """
    from scipy import stats

    d = np.asarray(d, dtype=np.float64)
    n, mean, sd = len(d), float(d.mean()), known.pooled(d)
    if not sd:
        return 1.0
    half = t_boundary(most, alpha, freedom=known.freedom) * sd / math.sqrt(most)
    more = most - n
    scale = more / most * sd * math.sqrt(1 / n + 1 / more)
    predicted = stats.t(n - 1 + known.freedom, mean, scale)
    different = float(predicted.cdf(-half) + predicted.sf(half))
    room = delta - half
    return different + (float(predicted.cdf(room) - predicted.cdf(-room)) if room > 0 else 0.0)


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
