"""When a run is in trouble: change to the next format of `precision.fallback`. Off by default."""

import math
from typing import Any

from altgrad.quantization.recipe import PrecisionConfig


class Emergency:
    """Counts bad steps in a row and says when to change the format.

    A step is bad if the guard refused it, or if more of its updates were lost than `stall_limit`,
    where they are lost indeed.
    """

    def __init__(self, config: PrecisionConfig, stall_limit: float) -> None:
        self.formats, self.patience = config.fallback, config.fallback_after
        self.stall_limit = stall_limit if config.loses_updates else math.inf
        self.in_a_row = self.used = 0

    def observe(self, *, refused: bool, bit_stall: float) -> str | None:
        """The format to change to now, or None."""
        if self.used >= len(self.formats):
            return None
        bad = refused or bit_stall > self.stall_limit
        self.in_a_row = self.in_a_row + 1 if bad else 0
        if self.in_a_row < self.patience:
            return None
        self.in_a_row = 0
        self.used += 1
        return self.formats[self.used - 1]

    def state_dict(self) -> dict[str, Any]:
        return {"in_a_row": self.in_a_row, "used": self.used}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.in_a_row, self.used = state["in_a_row"], state["used"]
