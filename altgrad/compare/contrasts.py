"""Weighted sums of arms, judged: effects that are no single arm's difference from the control.

A contrast gives every arm a weight; its value at a seed is the weighted sum of that seed's
outcomes. A main effect, an interaction, what a change contributes in the presence of others: all
are contrasts, all are judged by the rules of `verdict.py`, and all of a comparison are corrected
together.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from altgrad.compare.designs.planned import INTERACTIONS, Planned
from altgrad.compare.statistics.paired import Interval
from altgrad.compare.verdict import BETTER, EQUIVALENT, INCONCLUSIVE, WORSE, Rules, correct, weigh

INTERACTION, NO_INTERACTION = "interaction", "no interaction"


@dataclass(frozen=True)
class Contrast:
    """One contrast: mean over the seeds, its interval and p-values.

    kind: such as `interaction`. weights: arm -> weight. pairs: seeds in which every arm of it
    ended well; lost: seeds that one of them lost, which are left out.
    """

    kind: str
    name: str
    first: str
    second: str
    weights: dict[str, float]
    pairs: int
    lost: int
    mean: float
    low: float
    high: float
    p: float
    p_corrected: float
    verdict: str
    words: str

    def to_dict(self) -> dict[str, Any]:
        content = asdict(self)
        return {
            k: None if isinstance(v, float) and not math.isfinite(v) else v
            for k, v in content.items()
        }


@dataclass(frozen=True)
class Weighed:
    """A planned contrast with its numbers, before any correction. p_small: of "delta or more"."""

    planned: Planned
    d: np.ndarray
    lost: int
    interval: Interval
    p: float
    p_small: float


def weigh_contrasts(
    planned: Sequence[Planned], outcomes: Mapping[str, np.ndarray], rules: Rules, several: int
) -> list[Weighed]:
    """outcomes: arm -> `(seeds,)`, nan for a lost run; an arm may have fewer seeds than another.

    several: how many questions are asked at once.
    """
    found = []
    for each in planned:
        values = each.values(outcomes)
        d = values[np.isfinite(values)]
        tests = weigh(d, rules, several, each.scale)
        found.append(Weighed(each, d, len(values) - len(d), *tests))
    return found


def judge_contrasts(
    weighed: Sequence[Weighed], rules: Rules, beside: Sequence[tuple[float, float]] = ()
) -> list[Contrast]:
    """The contrasts with their verdicts.

    beside: (p, p of "delta or more") of further questions of the same family.
    """
    own = len(weighed)
    p = correct([w.p for w in weighed] + [p for p, _ in beside], rules)[:own]
    small = correct([w.p_small for w in weighed] + [s for _, s in beside], rules)[:own]
    return [_conclude(w, own_p, s, rules) for w, own_p, s in zip(weighed, p, small, strict=True)]


def _conclude(weighed: Weighed, p: float, p_small: float, rules: Rules) -> Contrast:
    planned, d = weighed.planned, weighed.d
    mean = float(d.mean()) if len(d) else math.nan
    good = (mean > 0) == rules.higher_is_better
    said = _said(p, p_small, good, rules)
    return Contrast(
        kind=planned.kind,
        name=planned.name,
        first=planned.first,
        second=planned.second,
        weights=dict(planned.weights),
        pairs=len(d),
        lost=weighed.lost,
        mean=mean,
        low=weighed.interval.low,
        high=weighed.interval.high,
        p=weighed.p,
        p_corrected=p,
        verdict=_named(said, planned.kind),
        words=_words(planned, said, mean, rules) + _without_lost(weighed.lost),
    )


def _said(p: float, p_small: float, good: bool, rules: Rules) -> str:
    if p_small < rules.alpha:
        return EQUIVALENT
    if p < rules.alpha:
        return BETTER if good else WORSE
    return INCONCLUSIVE


def _named(said: str, kind: str) -> str:
    """An interaction is there or is not: neither is better."""
    if kind not in INTERACTIONS:
        return said
    return {EQUIVALENT: NO_INTERACTION, INCONCLUSIVE: INCONCLUSIVE}.get(said, INTERACTION)


def _words(planned: Planned, said: str, mean: float, rules: Rules) -> str:
    if said == EQUIVALENT:
        return f"{planned.same}, within {rules.delta:g}"
    if said == INCONCLUSIVE:
        return planned.unknown
    return f"{planned.good if said == BETTER else planned.bad}, by {abs(mean):.4f}"


def _without_lost(lost: int) -> str:
    return f" ({lost} seed{'s' if lost > 1 else ''} left out: a run was lost)" if lost else ""
