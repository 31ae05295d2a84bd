"""The second gear's statistics: what each change of a champion contributes, on fresh seeds.

A reckoning looks several times, after 3, 6, 12, … of the seeds it has planned, and a change that is
decided gets no more of them. Each look may spend an equal share of the error: with k looks the
p-value of a change is k times the smallest of those it was looked at with (Bonferroni), whenever
looking ended. So stopping a change early, for whatever reason, breaks no promise.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from altgrad.compare.statistics import t_power
from altgrad.compare.statistics.paired import paired_t
from altgrad.ideas.discovery import Discoveries

MOST_SEEDS = 30
FEWEST_SEEDS = 3


@dataclass(frozen=True)
class Effect:
    """What the champion loses without a change: mean over the seeds with its 95 % interval.

    harm > 0: the change helps, whatever the outcome's direction. p: one-sided, of "its removal does
    no harm", corrected for the looks. found: a discovery of this ledger.
    """

    change: str
    pairs: int
    harm: float
    low: float
    high: float
    p: float
    found: bool


def harm_p(harms: Sequence[float]) -> float:
    """One-sided p of "the mean harm is 0 or less": Student's paired t. 1 with fewer than 2 pairs.

    harms: one a seed; seeds with a lost run are left out by the caller.
    """
    if len(harms) < 2:
        return 1.0
    if np.ptp(harms) == 0:
        return 0.0 if harms[0] > 0 else 1.0
    return float(stats.ttest_1samp(harms, 0.0, alternative="greater").pvalue)


def looks_of(seeds: int) -> list[int]:
    """Numbers of seeds after which a reckoning of so many looks: 3, 6, 12, …, all."""
    looks, at = list[int](), FEWEST_SEEDS
    while 3 * at < 2 * seeds:  # a last look at barely more seeds would only cost its share
        looks.append(at)
        at *= 2
    return [*looks, seeds]


@dataclass
class Weighing:
    """The changes of a champion, weighed look by look, together.

    rows: change -> what is lost without it, one a seed, nan for a lost run. p: of each, so far.
    """

    changes: Sequence[str]
    looks: int
    delta: float
    discoveries: Discoveries
    rows: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.p = dict.fromkeys(self.changes, 1.0)
        self.open = list(self.changes)

    def look(self, rows: Mapping[str, Sequence[float]]) -> None:
        """Take in what is known of the open changes, and close those that are decided: found
        whatever becomes of the others, or shown to gain less than delta."""
        for change, row in rows.items():
            self.rows[change] = list(row)
            self.p[change] = min(self.p[change], self.looks * harm_p(_finite(row)), 1.0)
        found = self.discoveries.would_find(list(self.p.values()))
        sure = {c for c, yes in zip(self.p, found, strict=True) if yes}
        self.open = [
            c for c in self.open if c not in sure and not _useless(self.rows[c], self.delta)
        ]

    def end(self) -> list[Effect]:
        """One batch of the ledger's discoveries."""
        found = self.discoveries.test(list(self.p.values()))
        return [
            _effect(c, _finite(self.rows[c]), self.p[c], yes)
            for c, yes in zip(self.p, found, strict=True)
        ]


def _useless(row: Sequence[float], delta: float) -> bool:
    """Whether the upper 95 % bound (one-sided) of the harm lies below delta."""
    whole = _finite(row)
    return len(whole) > 1 and paired_t(whole, confidence=0.9).interval.high < delta


def _finite(row: Sequence[float]) -> list[float]:
    return [h for h in row if math.isfinite(h)]


def _effect(name: str, harms: list[float], p: float, found: bool) -> Effect:
    if not harms:
        return Effect(name, 0, math.nan, -math.inf, math.inf, p, found)
    t = paired_t(harms)
    return Effect(name, t.n, t.mean, t.interval.low, t.interval.high, p, found)


def seeds_for(delta: float, spread: float, alpha: float, power: float = 0.8) -> int:
    """Seeds with which a change worth `delta` is found with chance `power` at one-sided `alpha`.

    Between 3 and 30: fewer have no spread of their own, more are another budget's question.
    """
    if not spread:
        return FEWEST_SEEDS
    n = np.arange(FEWEST_SEEDS, MOST_SEEDS + 1)
    enough = t_power(n, delta / spread, min(0.5, 2 * alpha)) >= power
    return int(n[enough][0]) if enough.any() else MOST_SEEDS


def planned_seeds(delta: float, spread: float, level: float) -> int:
    """The same at a level that is shared out among the looks."""
    level = max(level, 1e-6)
    return seeds_for(delta, spread, level / len(looks_of(seeds_for(delta, spread, level))))
