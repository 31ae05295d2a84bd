"""Arms that turn out to be one: their last weights are equal bit for bit.

A setting that changes no weight and no outcome has no effect to be measured. Its difference of 0 is
no finding, and an interaction in which one arm stands twice is that arm's main effect again.
"""

import math
from collections import defaultdict
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from altgrad.compare.contrasts import Contrast
from altgrad.compare.designs import INTERACTIONS
from altgrad.compare.verdict import Evidence
from altgrad.runs import last_weights

SAME = "the same arm"
ARE_THE_SAME = f"are {SAME}: their weights are equal bit for bit"

Pair = tuple[str, str]


def same_arms(runs: dict[str, dict[int, Path]], outcomes: dict[str, np.ndarray]) -> list[Pair]:
    """Pairs of arms with equal last weights and equal outcomes for every seed.

    runs: arm -> seed -> folder. outcomes: arm -> `(seeds,)`, nan for a lost run: of those the
    weights say nothing.
    """
    alike: dict[Any, list[str]] = defaultdict(list)
    for arm, row in runs.items():
        kept = {seed: last_weights(run) for seed, run in row.items()}
        if all(kept.values()):
            alike[frozenset(kept.items())].append(arm)
    # Only arms with the same weights are held against each other: pairs of all arms are many.
    return [
        (a, b)
        for arms in alike.values()
        for a, b in combinations(arms, 2)
        if np.array_equal(outcomes[a], outcomes[b])
    ]


def say_the_same(found: Evidence, same: list[Pair]) -> Evidence:
    """The evidence about an arm that is the control itself says so, and gives no advice."""
    if (found.control, found.arm) not in same and (found.arm, found.control) not in same:
        return found
    words = f"{SAME} as {found.control}: their weights are equal bit for bit"
    return replace(found, verdict=SAME, words=words, seeds_more=None)


MOST_CELLS = 4
"""Of a contrast over more arms two that are one are a part, not the whole."""


def void(found: list[Contrast], same: list[Pair]) -> list[Contrast]:
    """Interactions out of which one arm stands twice are not announced, nor are differences of an
    arm from itself."""
    return [
        _voided(c, same if _vanishes(c, same) else [p for p in same if set(p) <= _cells(c)])
        for c in found
    ]


def _vanishes(found: Contrast, same: list[Pair]) -> bool:
    """Whether nothing is left of it once arms that are one are taken as one: an axis that does
    nothing has no main effect."""
    left = dict(found.weights)
    for a, b in same:
        if a in left and b in left:
            left[b] += left.pop(a)
    return len(left) < len(found.weights) and all(abs(w) < 1e-9 for w in left.values())


def _cells(found: Contrast) -> set[str]:
    """The arms of a contrast that is void if two of them are one."""
    cells = {arm for arm, weight in found.weights.items() if weight}
    small = len(cells) <= (MOST_CELLS if found.kind in INTERACTIONS else 2)
    return cells if small else set()


def _voided(found: Contrast, twice: list[Pair]) -> Contrast:
    if not twice:
        return found
    a, b = next((p for p in twice if set(p) <= set(found.weights)), twice[0])
    words = f"{found.name}: nothing to contrast, {a} and {b} {ARE_THE_SAME}"
    unknown = math.nan
    return replace(found, verdict=SAME, words=words, mean=unknown, low=unknown, high=unknown)
