"""What every design says about itself."""

from collections.abc import Callable
from dataclasses import dataclass

from altgrad.compare.designs.planned import Asked, Planned


@dataclass(frozen=True)
class Design:
    """check: refuses what cannot be asked. cross: the arms that axes make, name -> words.
    sentence: the question in words. contrasts: what is judged beside single arms. judged: arms
    that get a verdict against the control. one_family: whether verdicts on arms and contrasts are
    corrected together; else each kind pays for itself.
    """

    check: Callable[[Asked], None]
    cross: Callable[[Asked], dict[str, list[str]]]
    sentence: Callable[[Asked], str]
    contrasts: Callable[[Asked], list[Planned]]
    judged: Callable[[Asked], list[str]]
    one_family: bool = False


def all_but_the_control(asked: Asked) -> list[str]:
    return [arm for arm in asked.arms if arm != asked.control]


def label(axis: str, value: str) -> str:
    """`bf16` for a group, `n_layer=3` for a setting: what a reader needs to tell arms apart."""
    named = "." in axis or axis.startswith("-")
    return f"{axis.rsplit('.', 1)[-1]}={value}" if named else value
