"""As you go: which arms another seed is still worth.

An arm stops when every question about it is decided, or hopeless: less than a chance in twenty that
the last seed will have decided it. Its verdict stays that of its own seeds, which the sequence
covers at every number of them (`anytime.py`): an arm may stop at any time, for any reason, and the
chance of a false verdict stays what it was. Giving up can only turn a verdict into "inconclusive".
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from altgrad.compare.designs import scale_of, weighted_sum
from altgrad.compare.statistics.anytime import chance_to_decide
from altgrad.compare.verdict import INCONCLUSIVE, Rules, share_of_alpha

HOPELESS = 0.05
"""Chance to be decided by the last seed below which an arm is given up."""

FEWEST_PAIRS = 4
"""Before so many pairs their spread is too uncertain to give anything up."""


@dataclass(frozen=True)
class Open:
    """One question of a comparison: its arms with their weights, and its verdict so far.

    several: questions of its family.
    """

    name: str
    weights: Mapping[str, float]
    verdict: str
    several: int

    @property
    def scale(self) -> float:
        return scale_of(self.weights)

    def values(self, outcomes: Mapping[str, np.ndarray]) -> np.ndarray:
        return weighted_sum(self.weights, outcomes)

    def hopeless(self, outcomes: Mapping[str, np.ndarray], rules: Rules, most: int) -> bool:
        """Whether it will hardly be decided by `most` seeds. Never while runs are lost: how often
        they are is a question of its own."""
        d = self.values(outcomes)
        if len(d) < FEWEST_PAIRS or len(d) >= most or not np.isfinite(d).all():
            return False
        known, alpha = rules.spread.times(self.scale), share_of_alpha(rules, self.several)
        return chance_to_decide(d, most, alpha, rules.delta, known) < HOPELESS


def needed(
    questions: list[Open], outcomes: Mapping[str, np.ndarray], rules: Rules, most: int
) -> dict[str, list[str]]:
    """Arm -> the open questions for which it needs another seed; arms that may stop are absent."""
    found: dict[str, list[str]] = {}
    for asked in questions:
        if asked.verdict == INCONCLUSIVE and not asked.hopeless(outcomes, rules, most):
            for arm in (arm for arm, w in asked.weights.items() if w):
                found.setdefault(arm, []).append(asked.name)
    return found


def given_up(
    questions: list[Open], outcomes: Mapping[str, np.ndarray], rules: Rules, most: int
) -> list[tuple[str, int]]:
    """Questions that were given up, and after how many seeds."""
    return [
        (a.name, len(a.values(outcomes)))
        for a in questions
        if a.verdict == INCONCLUSIVE and a.hopeless(outcomes, rules, most)
    ]


def too_noisy(questions: list[Open], outcomes: Mapping[str, np.ndarray], rules: Rules) -> list[str]:
    """Questions whose pairs are visibly noisier than the spread known beforehand."""
    if not rules.spread.freedom:
        return []
    rows = {a.name: (a.values(outcomes), rules.spread.times(a.scale)) for a in questions}
    whole = {name: (d[np.isfinite(d)], known) for name, (d, known) in rows.items()}
    return [name for name, (d, known) in whole.items() if len(d) > 1 and not known.holds(d)]
