"""Ablation: two configurations, and what each of their differences contributes.

Arms: A, B, A with each change alone, B without each change. With changes x, y, …, all of it paired
by seed and corrected together:

    total          B - A
    alone          (A with x) - A
    as a removal   B - (B without x)
    depends        as a removal - alone: x does more, or less, in the company of the others
    together       total - the sum of all alone

Sums of steps along one path are never made: they depend on the path.
"""

from collections.abc import Sequence

from altgrad.compare.designs.design import Design
from altgrad.compare.designs.named import named_contrasts
from altgrad.compare.designs.planned import Asked, Planned
from altgrad.settings import ConfigError, require


def only(change: str) -> str:
    return f"only {change}"


def without(change: str) -> str:
    return f"without {change}"


def second_of(asked: Asked) -> str:
    """The name of B: the second arm."""
    return list(asked.arms)[1]


def lacking(change: str, changes: Sequence[str]) -> str:
    """The arm that is B without a change; of two changes it is the one with only the other."""
    others = [c for c in changes if c != change]
    return only(others[0]) if len(others) == 1 else without(change)


def arms_of(first: str, second: str, changes: dict[str, list[str]]) -> dict[str, list[str]]:
    """Name -> words beside A's, the control first; no arm twice."""
    everything = [w for words in changes.values() for w in words]
    arms: dict[str, list[str]] = {first: [], second: everything}
    if len(changes) > 1:
        arms |= {only(name): words for name, words in changes.items()}
    if len(changes) > 2:
        arms |= {
            without(name): [w for other, words in changes.items() if other != name for w in words]
            for name in changes
        }
    return arms


def _check(asked: Asked) -> None:
    first, second = list(asked.arms)[:2]
    made = arms_of(first, second, asked.changes)
    require(
        bool(asked.changes) and set(made) == set(asked.arms),
        "design=ablation takes two files of settings, or two run folders, and makes the arms "
        "itself: altgrad compare A.yaml B.yaml design=ablation.",
    )
    named_contrasts(asked)


def _no_axes(asked: Asked) -> dict[str, list[str]]:
    raise ConfigError(
        f"design=ablation takes no axes ({', '.join(asked.axes)}); what differs between the two "
        "files is what is asked about: give each setting one value."
    )


def _sentence(asked: Asked) -> str:
    return (
        f"Which of the changes from {asked.control} to {second_of(asked)} change {asked.primary}: "
        f"{', '.join(asked.changes)}?"
    )


def _judged(asked: Asked) -> list[str]:
    """B, and every change alone."""
    alone = [only(c) for c in asked.changes] if len(asked.changes) > 1 else []
    return [second_of(asked), *alone]


def _contrasts(asked: Asked) -> list[Planned]:
    changes, b = list(asked.changes), second_of(asked)
    if len(changes) < 2:
        return named_contrasts(asked)
    made = [_removal(c, b, lacking(c, changes)) for c in changes]
    if len(changes) > 2:
        made += [_depends(c, b, lacking(c, changes), asked.control) for c in changes]
    return [*made, _together(changes, b, asked.control), *named_contrasts(asked)]


def _removal(change: str, b: str, reduced: str) -> Planned:
    return Planned(
        kind="removal",
        name=change,
        weights={b: 1.0, reduced: -1.0},
        good=f"{change} matters: {b} is worse without it",
        bad=f"{change} hurts: {b} is better without it",
        same=f"{b} does as well without {change}",
        unknown=f"inconclusive whether {b} needs {change}",
        first=b,
        second=reduced,
    )


def _depends(change: str, b: str, reduced: str, a: str) -> Planned:
    return Planned(
        kind="interaction",
        name=change,
        weights={b: 1.0, reduced: -1.0, only(change): -1.0, a: 1.0},
        good=f"{change} does more beside the other changes than alone",
        bad=f"{change} does less beside the other changes than alone",
        same=f"{change} does the same beside the other changes as alone",
        unknown=f"inconclusive whether {change} does more beside the other changes than alone",
        first=change,
        second="the other changes",
    )


def _together(changes: list[str], b: str, a: str) -> Planned:
    weights = {b: 1.0, a: len(changes) - 1.0, **{only(c): -1.0 for c in changes}}
    return Planned(
        kind="together",
        name="together",
        weights=weights,
        good="the changes together do more than they add up to alone",
        bad="the changes together do less than they add up to alone",
        same="the changes together do what they add up to alone",
        unknown="inconclusive whether the changes together do more than they add up to alone",
        first=b,
        second="the sum of all alone",
    )


DESIGN = Design(_check, _no_axes, _sentence, _contrasts, _judged, one_family=True)
