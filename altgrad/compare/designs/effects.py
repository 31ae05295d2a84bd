"""Main effects and interactions of a crossed design, as weights of its arms.

An effect changes some axes, each from its first value to another, and averages over the rest:

    main effect       mean of the arms with b=y - mean of those with b=first
    of two axes       (both - one) - (other - neither), averaged over the other axes
    of three          what the third changes in the effect of two; and so on

One number a seed, as of every contrast.
Source: R. A. Fisher, The Design of Experiments (1935), §37.
"""

import itertools
import math
from collections.abc import Mapping, Sequence

from altgrad.compare.designs.design import label
from altgrad.compare.designs.planned import Asked, Planned

Levels = Mapping[str, str]
"""Axis -> value: the cell of an arm, or what an effect changes."""

MAIN, INTERACTION = "main effect", "interaction"


def name_of_cell(levels: Levels) -> str:
    """`muon + e5m2 + storage=rounded`: an arm's name."""
    return " + ".join(label(axis, value) for axis, value in levels.items())


def all_cells(axes: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Every combination, the first value of each axis first."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def all_effects(axes: Mapping[str, Sequence[str]], most: int) -> list[dict[str, str]]:
    """Main effects, then interactions of two axes, up to those of `most`."""
    return [
        dict(zip(chosen, values, strict=True))
        for order in range(1, min(most, len(axes)) + 1)
        for chosen in itertools.combinations(axes, order)
        for values in itertools.product(*(axes[a][1:] for a in chosen))
    ]


def weights_of(
    effect: Levels, cells: Mapping[str, Levels], axes: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """Arm -> weight. cells: arm -> its values.

    Each of the 2^m groups of arms (m axes, changed or not) has the weight 1 or -1, shared out
    equally among its arms.
    """
    signs = {arm: _sign(effect, own, axes) for arm, own in cells.items()}
    used = {arm: sign for arm, sign in signs.items() if sign}
    share = 2 ** len(effect) / len(used)
    return {arm: sign * share for arm, sign in used.items()}


def _sign(effect: Levels, own: Levels, axes: Mapping[str, Sequence[str]]) -> int:
    """1 where changed, -1 where first, multiplied over the axes; 0 for a third value."""
    return math.prod(
        (own[axis] == value) - (own[axis] == axes[axis][0]) for axis, value in effect.items()
    )


def planned_effect(
    effect: Levels, cells: Mapping[str, Levels], asked: Asked, alias: str = ""
) -> Planned:
    """The effect with its sentences. alias: what a fraction cannot tell from it."""
    rest = [axis for axis in asked.axes if axis not in effect]
    after = f", averaged over {_listed(rest)}" if rest else ""
    after += f" (or it is {alias}: this fraction cannot tell)" if alias else ""
    weights = weights_of(effect, cells, asked.axes)
    make = {1: _main, 2: _of_two}.get(len(effect), _of_more)
    return make(effect, weights, asked.axes, after)


def name_of(effect: Levels) -> str:
    """`optim=muon with precision=e5m2`."""
    return " with ".join(f"{axis}={value}" for axis, value in effect.items())


def _main(
    effect: Levels, weights: dict[str, float], axes: Mapping[str, Sequence[str]], after: str
) -> Planned:
    ((axis, value),) = effect.items()
    changed, plain = f"{axis}={value}", f"{axis}={axes[axis][0]}"
    return Planned(
        kind=MAIN,
        name=changed,
        weights=weights,
        good=f"{changed} is better than {plain}{after}",
        bad=f"{changed} is worse than {plain}{after}",
        same=f"{changed} does as well as {plain}{after}",
        unknown=f"inconclusive whether {changed} differs from {plain}{after}",
        first=changed,
        second=plain,
    )


def _of_two(
    effect: Levels, weights: dict[str, float], axes: Mapping[str, Sequence[str]], after: str
) -> Planned:
    (a, x), (b, y) = effect.items()
    plain, changed, base, other = f"{a}={axes[a][0]}", f"{a}={x}", f"{b}={axes[b][0]}", f"{b}={y}"
    said = f"{changed} gains {{}} from {other} instead of {base} than {plain} does{after}"
    return Planned(
        kind=INTERACTION,
        name=name_of(effect),
        weights=weights,
        good=said.format("more (or loses less)"),
        bad=said.format("less (or loses more)"),
        same=f"{other} does the same with {changed} as with {plain}{after}",
        unknown=f"inconclusive whether {other} does more with {changed} than with {plain}{after}",
        first=changed,
        second=other,
    )


def _of_more(
    effect: Levels, weights: dict[str, float], axes: Mapping[str, Sequence[str]], after: str
) -> Planned:
    *before, (axis, value) = effect.items()
    inner, last, plain = name_of(dict(before)), f"{axis}={value}", f"{axis}={axes[axis][0]}"
    return Planned(
        kind=INTERACTION,
        name=name_of(effect),
        weights=weights,
        good=f"{inner} gain more together (or lose less) with {last} than with {plain}{after}",
        bad=f"{inner} gain less together (or lose more) with {last} than with {plain}{after}",
        same=f"{inner} do together with {last} what they do with {plain}{after}",
        unknown=f"inconclusive whether {inner} do more with {last} than with {plain}{after}",
        first=inner,
        second=last,
    )


def _listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
