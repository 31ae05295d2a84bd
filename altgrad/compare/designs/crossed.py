"""All combinations of two axes: does the second change do more where the first was made?"""

import itertools

from altgrad.compare.designs.design import Design, all_but_the_control, label
from altgrad.compare.designs.named import named_contrasts
from altgrad.compare.designs.planned import Asked, Planned
from altgrad.settings import require


def _check(asked: Asked) -> None:
    require(
        len(asked.axes) == 2,
        f"design=crossed takes two axes, this has {len(asked.axes)}; "
        "write optim=adamw,muon precision=bf16,e5m2 design=crossed.",
    )
    for axis, values in asked.axes.items():
        require(len(values) >= 2, f"the axis {axis} needs at least two values, it has {values}.")
    named_contrasts(asked)


def _cross(asked: Asked) -> dict[str, list[str]]:
    """Every combination, named by its values, the first of each first."""
    arms = {}
    for values in itertools.product(*asked.axes.values()):
        pairs = list(zip(asked.axes, values, strict=True))
        arms[" + ".join(label(a, v) for a, v in pairs)] = [f"{a}={v}" for a, v in pairs]
    return arms


def _sentence(asked: Asked) -> str:
    (a, first), (b, second) = asked.axes.items()
    return (
        f"Does {b} ({', '.join(second)}) act differently on {asked.primary} under different "
        f"{a} ({', '.join(first)})?"
    )


def _contrasts(asked: Asked) -> list[Planned]:
    (a, first), (b, second) = asked.axes.items()
    names = iter(_cross(asked))
    cells = {(x, y): next(names) for x in first for y in second}
    made = []
    for x, y in itertools.product(first[1:], second[1:]):
        weights = {
            cells[x, y]: 1.0,
            cells[x, second[0]]: -1.0,
            cells[first[0], y]: -1.0,
            cells[first[0], second[0]]: 1.0,
        }
        names_of = (f"{a}={first[0]}", f"{a}={x}", f"{b}={second[0]}", f"{b}={y}")
        made.append(_interaction(names_of, weights))
    return [*made, *named_contrasts(asked)]


def _interaction(names: tuple[str, str, str, str], weights: dict[str, float]) -> Planned:
    plain, changed, base, other = names
    said = f"{changed} gains {{}} from {other} instead of {base} than {plain} does"
    return Planned(
        kind="interaction",
        name=f"{changed} with {other}",
        weights=weights,
        good=said.format("more (or loses less)"),
        bad=said.format("less (or loses more)"),
        same=f"{other} does the same with {changed} as with {plain}",
        unknown=f"not shown whether {other} does more with {changed} than with {plain}",
        first=changed,
        second=other,
    )


DESIGN = Design(_check, _cross, _sentence, _contrasts, all_but_the_control)
