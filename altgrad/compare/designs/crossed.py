"""All combinations of two axes or more, or a part of them: what does each change do on average, and
does it do more where another was made?

Main effects and interactions (of up to `interactions` axes, two unless said) are corrected
together, with the contrasts that the question names.
"""

from collections.abc import Iterator

from altgrad.compare.designs.design import Design, all_but_the_control
from altgrad.compare.designs.effects import (
    Levels,
    all_cells,
    all_effects,
    name_of,
    name_of_cell,
    planned_effect,
)
from altgrad.compare.designs.fraction import (
    Word,
    aliases,
    belongs,
    check_fraction,
    generators,
    halvings,
)
from altgrad.compare.designs.named import named_contrasts
from altgrad.compare.designs.planned import Asked, Planned
from altgrad.settings import require


def _check(asked: Asked) -> None:
    require(
        len(asked.axes) >= 2,
        f"design=crossed takes two axes or more, this has {len(asked.axes)}; "
        "write optim=adamw,muon precision=bf16,e5m2 design=crossed.",
    )
    for axis, values in asked.axes.items():
        require(len(values) >= 2, f"the axis {axis} needs at least two values, it has {values}.")
    require(
        asked.interactions >= 1,
        f"interactions={asked.interactions} must be at least 1 (main effects alone).",
    )
    check_fraction(asked.fraction, asked.axes)
    named_contrasts(asked, cells_of(asked))


def cells_of(asked: Asked) -> dict[str, dict[str, str]]:
    """Arm -> its value on every axis; of a fraction, the arms that belong to it."""
    words = _words(asked)
    cells = all_cells(asked.axes)
    kept = [own for own in cells if belongs(_changed(own, asked), words)]
    return {name_of_cell(own): own for own in kept}


def _words(asked: Asked) -> tuple[Word, ...]:
    check_fraction(asked.fraction, asked.axes)
    p = halvings(asked.fraction)
    return generators(len(asked.axes), p) if p else ()


def _changed(own: Levels, asked: Asked) -> Word:
    """Places of the axes that do not have their first value."""
    places = enumerate(asked.axes.items())
    return frozenset(i for i, (axis, values) in places if own.get(axis, values[0]) != values[0])


def _cross(asked: Asked) -> dict[str, list[str]]:
    """Name of an arm -> its words."""
    return {arm: [f"{a}={v}" for a, v in own.items()] for arm, own in cells_of(asked).items()}


def _sentence(asked: Asked) -> str:
    said = [f"{axis} ({', '.join(values)})" for axis, values in asked.axes.items()]
    if len(said) == 2:
        return f"Does {said[1]} act differently on {asked.primary} under different {said[0]}?"
    return (
        f"What do {', '.join(said[:-1])} and {said[-1]} change in {asked.primary}, each on average "
        "and beside the others?"
    )


def _contrasts(asked: Asked) -> list[Planned]:
    cells = cells_of(asked)
    made = [planned_effect(e, cells, asked, alias) for e, alias in _told_apart(asked)]
    return [*made, *named_contrasts(asked, cells)]


def _told_apart(asked: Asked) -> Iterator[tuple[Levels, str]]:
    """The effects that can be told apart, each with the shortest of those it is mixed with."""
    words, axes = _words(asked), list(asked.axes.items())
    done: set[Word] = set()
    for effect in all_effects(asked.axes, asked.interactions):
        own = _changed(effect, asked)
        others = aliases(own, words)
        if own in done:
            continue
        done |= {own, *others} if words else set()
        shortest = [o for o in others if len(o) == len(others[0])]
        named = [name_of({axes[i][0]: axes[i][1][1] for i in sorted(o)}) for o in shortest]
        yield effect, " or ".join(named)


DESIGN = Design(_check, _cross, _sentence, _contrasts, all_but_the_control)
