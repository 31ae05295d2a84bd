"""Tables of runs x spans: what is common to the runs, and their means. Pure functions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
DUST = 1e-6
"""Values that differ by less than this share of the metric's median size are the same value: what
sums in another order leave is no difference."""


def common(table: Array) -> Array:
    """`(runs, SPANS)` with only the spans that every run has which has any; dust taken away."""
    has = np.isfinite(table).any(axis=1)
    there = np.asarray(np.isfinite(table[has]).all(axis=0))
    kept = np.where(there, table, np.nan)
    finite = np.abs(kept[np.isfinite(kept)])
    size = float(np.median(finite)) * DUST if len(finite) else 0.0
    return np.round(kept / size) * size if size else kept


def mean_over(tables: Sequence[Array]) -> Array:
    """The mean of several metrics of a group: of those that each run has which has one; nan
    throughout where no metric is common to them."""
    stack = np.stack(tables)
    has = np.asarray(np.isfinite(stack).any(axis=2))
    shared = stack[has[:, has.any(axis=0)].all(axis=1)]
    return np.asarray(shared.mean(axis=0)) if len(shared) else np.full_like(stack[0], np.nan)


def mean_of_spans(table: Array) -> Array:
    """`(runs,)`; nan for a run that has none. Spans are equal for all, so this is fair."""
    there = np.isfinite(table).any(axis=0)
    if not there.any():
        return np.full(len(table), np.nan)
    return np.asarray(table[:, there].mean(axis=1))
