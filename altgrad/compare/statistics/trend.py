"""How a paired difference goes with size: a straight line over log2 of the size, seed by seed.

Every seed that finished on every rung gives one line; what is said of the lines' slope, or of their
height at a size, is Student's t over the seeds. That asks nothing of the noise on different rungs:
it may differ in size, and rungs of one seed may move together (they see the same batches). A seed's
slope is a fixed weighting of its differences, so the interval is exact for normal noise, also where
the true differences do not lie on a line; `bend` says whether they do.

Source: the summary-measures analysis of repeated measurements, J. N. S. Matthews et al., BMJ 300
(1990).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from altgrad.compare.statistics import paired

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean over the seeds with its interval, and the p of "it is 0"."""

    mean: float
    low: float
    high: float
    p: float

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def estimate(values: ArrayLike, alpha: float = 0.05) -> Estimate:
    """Student's t of one value a seed, `(seeds,)`."""
    t = paired.paired_t(values, 1 - alpha)
    return Estimate(t.mean, t.interval.low, t.interval.high, t.p)


def complete_seeds(differences: ArrayLike) -> Array:
    """`(seeds, rungs)` without the seeds that miss a rung (nan)."""
    d = np.asarray(differences, dtype=np.float64)
    return d[np.isfinite(d).all(axis=1)]


def slopes(sizes: ArrayLike, d: Array) -> Array:
    """Least-squares slope of each seed's differences over log2(size), `(seeds,)`: per doubling."""
    x = np.log2(np.asarray(sizes, dtype=np.float64))
    centred = x - x.mean()
    return np.asarray(d @ centred / (centred @ centred))


def heights(sizes: ArrayLike, d: Array, at: float) -> Array:
    """Each seed's line at the size `at`, `(seeds,)`."""
    x = np.log2(np.asarray(sizes, dtype=np.float64))
    return np.asarray(d.mean(axis=1) + slopes(sizes, d) * (np.log2(at) - x.mean()))


def both_ways_p(d: Array, least: float) -> float:
    """p of "the difference goes one way from the first rung to the last".

    Small where some rung between is shown to lie above both ends, or below both: the larger of its
    two t tests' p, times the number of rungs that could. Rungs whose mean is not `least` away from
    both ends do not count.
    """
    inner, smallest = range(1, d.shape[1] - 1), 1.0
    for k in inner:
        ends = [estimate(d[:, k] - d[:, 0]), estimate(d[:, k] - d[:, -1])]
        beyond = ends[0].mean * ends[1].mean > 0
        if beyond and min(abs(e.mean) for e in ends) >= least:
            smallest = min(smallest, max(e.p for e in ends))
    return min(1.0, smallest * max(1, len(inner)))


def bend(sizes: ArrayLike, d: Array, alpha: float = 0.05) -> Estimate | None:
    """Curvature of the differences over log2(size), per doubling squared; None below three
    rungs."""
    x = np.log2(np.asarray(sizes, dtype=np.float64))
    if len(x) < 3:
        return None
    basis = np.vander(x - x.mean(), 3, increasing=True)
    return estimate(d @ np.linalg.pinv(basis)[2], alpha)
