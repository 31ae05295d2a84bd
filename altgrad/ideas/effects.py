"""The second gear's statistics: what each change of a champion contributes, on fresh seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    no harm". found: a discovery of this ledger. lost: seeds on which only the arm without it ended.
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


def weigh_changes(harms: Mapping[str, Sequence[float]], discoveries: Discoveries) -> list[Effect]:
    """One batch of the ledger's discoveries: every change of the champion, tested together.

    harms: change -> outcome without it minus the champion's, one a seed, sign turned so that more
    is worse.
    """
    finite = {name: [h for h in row if math.isfinite(h)] for name, row in harms.items()}
    p = {name: harm_p(row) for name, row in finite.items()}
    found = dict(zip(p, discoveries.test(list(p.values())), strict=True))
    return [_effect(name, row, p[name], found[name]) for name, row in finite.items()]


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
