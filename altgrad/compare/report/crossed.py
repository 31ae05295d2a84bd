"""A crossed design's outcomes by combination: for its tables and its plots."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from altgrad.compare.conclusion import Conclusion, factors_of
from altgrad.compare.designs.design import label
from altgrad.compare.report.tables import Table, number


def arms_with(conclusion: Conclusion, wanted: Mapping[str, str]) -> list[str]:
    """The arms that have all these values."""
    cells = factors_of(conclusion.question)
    return [arm for arm, own in cells.items() if wanted.items() <= own.items()]


def outcome_by_seed(conclusion: Conclusion, arms: Sequence[str]) -> dict[int, float]:
    """Seed -> mean over the arms; only seeds that every one of them ended well, so that no mean
    is one of other arms than its neighbour's."""
    rows = [{o.seed: o.outcome for o in conclusion.outcomes[arm]} for arm in arms]
    shared = set.intersection(*map(set, rows)) if rows else set()
    means = {seed: float(np.mean([row[seed] for row in rows])) for seed in sorted(shared)}
    return {seed: mean for seed, mean in means.items() if math.isfinite(mean)}


def mean_outcome(conclusion: Conclusion, arms: Sequence[str]) -> float:
    """nan where no seed has all of them."""
    by_seed = outcome_by_seed(conclusion, arms)
    return float(np.mean(list(by_seed.values()))) if by_seed else math.nan


def best_arm(conclusion: Conclusion) -> str | None:
    """The arm with the best mean outcome."""
    means = {arm: mean_outcome(conclusion, [arm]) for arm in conclusion.arms}
    known = {arm: mean for arm, mean in means.items() if math.isfinite(mean)}
    pick = max if conclusion.question.higher_is_better else min
    return pick(known, key=lambda arm: known[arm]) if known else None


def combinations_table(conclusion: Conclusion) -> Table:
    """One row a combination of all axes but the last, whose values are the columns."""
    question = conclusion.question
    cells = factors_of(question)
    if not cells:
        return []
    *before, last = question.axes
    best = best_arm(conclusion)
    table: dict[tuple[str, ...], dict[str, str]] = {}
    for arm, own in cells.items():
        key = tuple(own[axis] for axis in before)
        row = table.setdefault(key, {axis: own[axis] for axis in before})
        star = " *" if arm == best else ""
        row[label(last, own[last])] = number(mean_outcome(conclusion, [arm])) + star
    columns = [*before, *(label(last, value) for value in question.axes[last])]
    return [{column: row.get(column, "") for column in columns} for row in table.values()]


def means_table(conclusion: Conclusion) -> Table:
    """One row a value of an axis: the mean over all arms that have it."""
    if conclusion.question.design != "crossed":
        return []
    rows = []
    for axis, values in conclusion.question.axes.items():
        for value in values:
            arms = arms_with(conclusion, {axis: value})
            mean = number(mean_outcome(conclusion, arms))
            rows.append({"axis": axis, "value": value, "arms": str(len(arms)), "mean": mean})
    return rows
