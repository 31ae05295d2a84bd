"""Crossed designs: does the second change do more, or less, where the first was made?"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from altgrad.compare.question import Question
from altgrad.compare.statistics import paired
from altgrad.compare.verdict import NOT_SHOWN, Rules, correct, weigh

INTERACTION, NO_INTERACTION = "interaction", "no interaction"


@dataclass(frozen=True)
class Contrast:
    """(both - only first) - (only second - neither), per seed; its mean, interval and p-values."""

    first: str
    second: str
    pairs: int
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


def contrasts(question: Question, outcomes: dict[str, np.ndarray], rules: Rules) -> list[Contrast]:
    """Every contrast of a crossed design against its first levels; empty for other designs.

    outcomes: arm -> `(seeds,)`, nan for a lost run; the arms in the order of the product of axes.
    """
    if question.design != "crossed":
        return []
    (a, first), (b, second) = question.axes.items()
    grid = np.array(list(outcomes)).reshape(len(first), len(second))
    cells = {(i, j): outcomes[grid[i, j]] for i in range(len(first)) for j in range(len(second))}
    wanted = [(i, j) for i in range(1, len(first)) for j in range(1, len(second))]
    d = [
        _finite(paired.interaction(cells[i, j], cells[i, 0], cells[0, j], cells[0, 0]))
        for i, j in wanted
    ]
    tests = [weigh(x, rules, len(d)) for x in d]
    corrected = correct([p for _, p, _ in tests], rules)
    corrected_small = correct([p_small for *_, p_small in tests], rules)
    made = []
    for k, (i, j) in enumerate(wanted):
        names = (f"{a}={first[0]}", f"{a}={first[i]}", f"{b}={second[0]}", f"{b}={second[j]}")
        verdict = _verdict(corrected[k], corrected_small[k], rules)
        interval, p, _ = tests[k]
        mean = float(d[k].mean()) if len(d[k]) else math.nan
        made.append(
            Contrast(
                first=names[1],
                second=names[3],
                pairs=len(d[k]),
                mean=mean,
                low=interval.low,
                high=interval.high,
                p=p,
                p_corrected=corrected[k],
                verdict=verdict,
                words=_words(verdict, mean, names, rules),
            )
        )
    return made


def _finite(d: np.ndarray) -> np.ndarray:
    return d[np.isfinite(d)]


def _verdict(p: float, p_small: float, rules: Rules) -> str:
    if p_small < rules.alpha:
        return NO_INTERACTION
    return INTERACTION if p < rules.alpha else NOT_SHOWN


def _words(verdict: str, mean: float, names: tuple[str, str, str, str], rules: Rules) -> str:
    plain, changed, base, other = names
    if verdict == NOT_SHOWN:
        return f"not shown whether {other} does more with {changed} than with {plain}"
    if verdict == NO_INTERACTION:
        return f"{other} does the same with {changed} as with {plain}, within {rules.delta:g}"
    gains = (mean > 0) == rules.higher_is_better
    more = "gains more (or loses less)" if gains else "gains less (or loses more)"
    return f"{changed} {more} from {other} instead of {base} than {plain} does, by {abs(mean):.4f}"
