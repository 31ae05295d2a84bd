"""What a design plans: which contrasts are judged, and how each finding is worded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

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

    def values(self, outcomes: Mapping[str, np.ndarray]) -> Any:
        """The weighted sum, one a seed, over the seeds that all its arms have run."""
        used = {arm: w for arm, w in self.weights.items() if w}
        seeds = min(len(outcomes[arm]) for arm in used)
        return sum(w * outcomes[arm][:seeds] for arm, w in used.items())
