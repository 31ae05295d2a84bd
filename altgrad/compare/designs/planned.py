"""What a design plans: which contrasts are judged, and how each finding is worded."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from altgrad.compare.designs.ladder import Ladder

INTERACTIONS = ("interaction", "together")
"""Kinds that ask whether effects add up; the others ask how large an effect is."""


class Asked(Protocol):
    """What a design needs to know of a question (`question.Question` has it)."""

    arms: dict[str, list[str]]
    axes: dict[str, list[str]]
    changes: dict[str, list[str]]
    control: str
    primary: str
    contrasts: dict[str, dict[str, float]]
    base: list[str]
    ladder: Ladder
    until_decided: bool
    fraction: str
    interactions: int


@dataclass(frozen=True)
class Planned:
    """A contrast before any run: a weight for each arm, and the sentence for each finding.

    good, bad: said where the outcome is shown to gain or to suffer, followed by how much.
    same: followed by "within delta". unknown: said as it is.
    """

    kind: str
    name: str
    weights: Mapping[str, float]
    good: str
    bad: str
    same: str
    unknown: str
    first: str = ""
    second: str = ""

    @property
    def scale(self) -> float:
        """Its standard deviation in those of a difference of two arms, all arms equally noisy."""
        return scale_of(self.weights)

    def values(self, outcomes: Mapping[str, np.ndarray]) -> np.ndarray:
        """As `weighted_sum` has it."""
        return weighted_sum(self.weights, outcomes)


def scale_of(weights: Mapping[str, float]) -> float:
    """Standard deviation of a weighted sum of arms in those of a difference of two, where all arms
    are equally noisy."""
    return math.sqrt(sum(w * w for w in weights.values()) / 2)


def weighted_sum(weights: Mapping[str, float], outcomes: Mapping[str, np.ndarray]) -> np.ndarray:
    """One number a seed, over the seeds that all its arms have run; nan where one was lost."""
    used = {arm: w for arm, w in weights.items() if w}
    seeds = min(len(outcomes[arm]) for arm in used)
    return np.sum([w * outcomes[arm][:seeds] for arm, w in used.items()], axis=0)
