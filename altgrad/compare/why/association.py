"""What else differed between the arms and moved with the outcome, the strongest first.

Three numbers a metric, over the runs that were not lost:

- the difference to the control, paired by seed, with Student's interval. A run's value is the mean
  over the spans in which every run that has the metric measured it;
- Spearman's rank correlation of the value with the outcome, over arms and seeds together. It has no
  p: the runs of an arm are alike, so they are fewer than they look;
- where: the layer whose own difference is largest, if its interval leaves out 0, and the first step
  at which the interval leaves out 0 and after which the difference keeps its sign.

None of it is a cause: an arm changes many numbers at once, and what moves with the outcome may be
its consequence. Intervals are each for themselves, not corrected for how many metrics were tried.
Source: C. Spearman, The proof and measurement of association between two things, Am. J. Psychol.
15 (1904); ties share their mean rank.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from altgrad.compare.outcomes import Outcome
from altgrad.compare.why.difference import Difference, difference, pairs_of
from altgrad.compare.why.measured import Measured, read_measured
from altgrad.compare.why.names import AGGREGATES, split_name
from altgrad.compare.why.spans import Array, common, mean_of_spans, mean_over

MOST_ROWS = 10
FEWEST_RUNS = 4
"""Two arms of two seeds: below that no difference has an interval."""

WHOLE = ("total", "mean", "all", "max", "min")
"""Which of a group's items stands for the whole, the first that is there."""


@dataclass(frozen=True)
class Association:
    """One group of metrics. item: which of them stands for it (`total`, `mean`), or "" for the mean
    over the layers. correlation: over so many runs of so many arms."""

    metric: str
    item: str
    correlation: float
    runs: int
    arms: int
    differences: tuple[Difference, ...]

    @property
    def clearest(self) -> Difference:
        return max(self.differences, key=lambda d: d.clearness)


@dataclass(frozen=True)
class Why:
    """rows: the strongest first, at most MOST_ROWS; tried: how many groups could be judged."""

    rows: tuple[Association, ...] = ()
    tried: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For programs; without infinities."""
        return {
            "kind": "association, not cause",
            "tried": self.tried,
            "rows": [asdict(row) for row in self.rows],
        }


def why(
    runs: Mapping[str, Mapping[int, Path]],
    outcomes: Mapping[str, Sequence[Outcome]],
    *,
    control: str,
    primary: str,
) -> Why:
    """Reads the runs that were not lost; the control's name their steps. Nothing for fewer
    than FEWEST_RUNS of them."""
    kept = [
        o
        for arm in sorted(outcomes, key=lambda a: a != control)
        for o in outcomes[arm]
        if not o.lost and o.seed in runs.get(arm, {})
    ]
    if len(kept) < FEWEST_RUNS or len({o.arm for o in kept}) < 2:
        return Why()
    measured = read_measured([(runs[o.arm][o.seed], o.step) for o in kept], primary)
    found = list(associations(measured, kept, control))
    found.sort(key=lambda a: (-round(abs(a.correlation), 6), -a.clearest.clearness, a.metric))
    return Why(tuple(found[:MOST_ROWS]), len(found))


def associations(
    measured: Measured, kept: Sequence[Outcome], control: str
) -> Iterable[Association]:
    """Of every group that varies, that two arms have, and that has a difference with an interval.

    kept: the runs, in the order of the table's rows.
    """
    groups: dict[str, dict[str, str]] = defaultdict(dict)
    for name in measured.values:
        group, item = split_name(name)
        groups[group][item] = name
    for group, items in groups.items():
        if found := _association(group, items, measured, kept, control):
            yield found


def _association(
    group: str,
    items: dict[str, str],
    measured: Measured,
    kept: Sequence[Outcome],
    control: str,
) -> Association | None:
    item, names, layers = _parts(items)
    if not names:
        return None
    whole = common(mean_over([measured.values[n] for n in names]))
    values = mean_of_spans(whole)
    having = [i for i in range(len(kept)) if np.isfinite(values[i])]
    arms = {kept[i].arm for i in having}
    rho = rank_correlation(values[having], np.array([kept[i].outcome for i in having]))
    if rho is None or len(having) < FEWEST_RUNS or len(arms) < 2:
        return None
    steps = measured.steps[names[0]]
    by_layer = {i: mean_of_spans(common(measured.values[n])) for i, n in layers.items()}
    made = [
        difference(arm, pairs, whole, values, by_layer, steps)
        for arm, pairs in pairs_of(kept, control).items()
    ]
    found = tuple(d for d in made if d)
    return Association(group, item, rho, len(having), len(arms), found) if found else None


def _parts(items: dict[str, str]) -> tuple[str, list[str], dict[str, str]]:
    """Of a group's items (item -> metric): the one that stands for it, if one does; the metrics
    whose mean is the whole; and those that are layers."""
    item = next((i for i in WHOLE if i in items), "")
    layers = {i: n for i, n in items.items() if i not in AGGREGATES}
    return item, [items[item]] if item else list(layers.values()), layers


def rank_correlation(a: Array, b: Array) -> float | None:
    """Spearman's; None where one of the two does not vary."""
    from scipy.stats import rankdata

    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
