"""L(N) = E + A·N^-α: how a loss falls with size, fitted by least squares to the means over seeds.

For a given α the law is linear in E and A, so α alone is searched: on a grid, then on three finer
ones (variable projection: G. Golub, V. Pereyra, SIAM J. Numer. Anal. 10 (1973)). E and A are kept
at 0 or above. Many curves are fitted at once, which is what a bootstrap over seeds needs.

Three numbers from four or five rungs are known badly: the intervals say how badly, and are for
reading, not for deciding. Form of the law: J. Hoffmann et al., arXiv 2203.15556, eq. 10, one of its
two terms.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from altgrad.compare.statistics.paired import Interval

Array = NDArray[np.float64]
EXPONENTS = np.geomspace(0.01, 3.0, 96)
FINER = 17
"""Values that each of the finer searches tries between the neighbours of the best one."""


@dataclass(frozen=True)
class Laws:
    """Fitted laws, one a row. scale is A at the reference size: L = floor +
    scale·(N/reference)^-α."""

    floor: Array
    scale: Array
    exponent: Array
    reference: float

    def at(self, sizes: ArrayLike) -> Array:
        """Losses `(laws, sizes)`."""
        n = np.atleast_1d(np.asarray(sizes, dtype=np.float64)) / self.reference
        return np.asarray(self.floor[:, None] + self.scale[:, None] * n ** -self.exponent[:, None])

    @property
    def amplitude(self) -> Array:
        """A, for N in its own units."""
        return np.asarray(self.scale * self.reference**self.exponent)


def fit(sizes: ArrayLike, losses: ArrayLike) -> Laws:
    """The law of each row of losses, `(curves, rungs)` or `(rungs,)`, at least three rungs."""
    n, y = np.asarray(sizes, dtype=np.float64), np.atleast_2d(np.asarray(losses, dtype=np.float64))
    assert n.shape[0] == y.shape[1] >= 3
    reference = float(np.exp(np.log(n).mean()))
    grid = np.broadcast_to(EXPONENTS, (len(y), len(EXPONENTS)))
    for _ in range(4):
        best = _error_of(n / reference, y, grid).argmin(axis=1)
        rows = np.arange(len(y))
        low = grid[rows, np.maximum(best - 1, 0)]
        high = grid[rows, np.minimum(best + 1, grid.shape[1] - 1)]
        chosen = grid[rows, best]
        grid = np.linspace(low, high, FINER, axis=1)
    floor, scale, _ = _linear(n / reference, y, chosen[:, None])
    return Laws(floor[:, 0], scale[:, 0], chosen, reference)


def _error_of(n: Array, y: Array, exponents: Array) -> Array:
    return _linear(n, y, exponents)[2]


def _linear(n: Array, y: Array, exponents: Array) -> tuple[Array, Array, Array]:
    """Best floor and scale, both at least 0, and the squared error, `(curves, exponents)`."""
    u = n ** -exponents[..., None]  # (curves, exponents, rungs)
    y = y[:, None, :]
    mean_u, mean_y = u.mean(axis=-1), y.mean(axis=-1)
    spread = ((u - mean_u[..., None]) ** 2).sum(axis=-1)
    scale = ((u - mean_u[..., None]) * (y - mean_y[..., None])).sum(axis=-1) / spread
    floor = mean_y - scale * mean_u
    through_zero = (u * y).sum(axis=-1) / (u * u).sum(axis=-1)
    scale = np.where(floor < 0, through_zero, scale)
    floor = np.where(floor < 0, 0.0, floor)
    flat = scale < 0
    floor, scale = np.where(flat, mean_y, floor), np.where(flat, 0.0, scale)
    error = ((y - floor[..., None] - scale[..., None] * u) ** 2).sum(axis=-1)
    return floor, scale, error


def resampled_means(losses: ArrayLike, *, resamples: int, seed: int = 0) -> Array:
    """Means over the seeds of `(seeds, …)`, of samples of the seeds with replacement: `(resamples,
    …)`.

    The same `seed` draws the same samples, so that arms stay paired.
    """
    y = np.asarray(losses, dtype=np.float64)
    picks = np.random.default_rng(seed).integers(len(y), size=(resamples, len(y)))
    return np.asarray(y[picks].mean(axis=1))


def bootstrap_interval(found: float, resampled: Array, seeds: int, alpha: float = 0.05) -> Interval:
    """Percentiles of the bootstrap, widened about the estimate for few seeds.

    A percentile interval of the mean of n values is too narrow by sqrt((n-1)/n) and takes the
    normal for Student's t; both are put right. Source: T. Hesterberg, The American Statistician 69
    (2015), §5.
    """
    from scipy import stats

    low, high = (float(q) for q in np.quantile(resampled, [alpha / 2, 1 - alpha / 2]))
    wider = float(stats.t.ppf(1 - alpha / 2, seeds - 1) / stats.norm.ppf(1 - alpha / 2))
    wider *= float(np.sqrt(seeds / (seeds - 1)))
    return Interval(found + wider * (low - found), found + wider * (high - found))
