"""One axis: every arm against the control."""

from altgrad.compare.designs.design import Design, all_but_the_control, label
from altgrad.compare.designs.named import named_contrasts
from altgrad.compare.designs.planned import Asked
from altgrad.settings import require


def _check(asked: Asked) -> None:
    named_contrasts(asked)


def cross(asked: Asked) -> dict[str, list[str]]:
    names = list(asked.axes)
    require(
        len(names) == 1,
        f"{len(names)} axes ({', '.join(names)}) change more than one thing; write "
        "design=crossed for all combinations, or give one of them a single value.",
    )
    (axis,) = names
    return {label(axis, value): [f"{axis}={value}"] for value in asked.axes[axis]}


def _sentence(asked: Asked) -> str:
    others = " or ".join(all_but_the_control(asked))
    return f"Does {others} change {asked.primary} against {asked.control}?"


DESIGN = Design(_check, cross, _sentence, named_contrasts, all_but_the_control)
