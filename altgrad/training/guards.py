"""Decisions about a run's health: go on, skip the step, stop. Guards decide, the trainer acts."""

import math
from dataclasses import dataclass


@dataclass
class GuardConfig:
    """Settings `guards.*`.

    nan_patience: consecutive steps with a non-finite loss or gradient before the run stops.
    """

    nan_patience: int = 10

    def __post_init__(self) -> None:
        if self.nan_patience < 1:
            raise ValueError(f"guards.nan_patience={self.nan_patience} must be at least 1.")


@dataclass(frozen=True)
class Finding:
    """What a guard saw. `action` is `continue`, `skip` (leave the weights alone) or `stop`."""

    action: str
    reason: str = ""
    first: bool = False


class NonFiniteGuard:
    """Refuses steps whose loss or gradient is not finite; gives up after `patience` in a row."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.in_a_row = 0

    def judge(self, loss: float, grad_norm: float) -> Finding:
        """Decide about one step before the optimiser moves."""
        culprit = _culprit(loss, grad_norm)
        if not culprit:
            self.in_a_row = 0
            return Finding("continue")
        self.in_a_row += 1
        first = self.in_a_row == 1
        if self.in_a_row >= self.patience:
            reason = f"{culprit} not finite for {self.in_a_row} steps in a row"
            return Finding("stop", reason, first)
        return Finding("skip", f"{culprit} not finite", first)

    def state_dict(self) -> dict[str, int]:
        return {"in_a_row": self.in_a_row}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.in_a_row = state["in_a_row"]


def _culprit(loss: float, grad_norm: float) -> str:
    if not math.isfinite(loss):
        return "loss"
    return "" if math.isfinite(grad_norm) else "gradient (the loss is finite)"
