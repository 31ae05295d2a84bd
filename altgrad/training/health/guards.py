"""Decisions about a run's health: go on, skip the step, stop. Guards decide, the trainer acts."""

import math
from dataclasses import dataclass, field

CRITICAL, WARNING = "critical", "warning"


@dataclass
class GuardConfig:
    """Settings `guards.*`. Shares lie between 0 and 1."""

    nan_patience: int = 10
    """Steps in a row with a non-finite loss or gradient before the run stops."""
    divergence_patience: int = 3
    """Evaluations in a row with a rising loss that count as a divergence."""
    bit_stall_threshold: float = 0.5
    """A warning is given above this share of lost updates."""
    overflow_threshold: float = 0.01
    """A warning is given above this share of values beyond the format's range."""
    underflow_threshold: float = 0.5
    """A warning is given above this share of values that became zero."""
    dead_neuron_share: float = 0.5
    """A warning is given above this share of dead neurons in a layer."""
    rank_loss: float = 0.5
    """A warning is given when a matrix has lost more than this share of its effective rank."""
    limits: dict[str, float] = field(default_factory=dict)
    """A warning is given when a metric of this name, any that the run logs, is above its limit,
    such as `{flips_per_layer/max: 0.5}`."""
    critical_cooldown_s: float = 60.0
    """Silence after a critical alert of the same name, in seconds."""
    warning_cooldown_s: float = 300.0
    """Silence after a warning of the same name, in seconds."""

    def __post_init__(self) -> None:
        if self.divergence_patience < 1:
            value = self.divergence_patience
            raise ValueError(f"guards.divergence_patience={value} must be at least 1.")
        if self.nan_patience < 1:
            raise ValueError(f"guards.nan_patience={self.nan_patience} must be at least 1.")


@dataclass(frozen=True)
class Finding:
    """What a guard saw. `action` is `continue`, `skip` (leave the weights alone) or `stop`; `name`
    says of which kind it is: the silence after an alert is that of its name."""

    action: str
    reason: str = ""
    first: bool = False
    level: str = CRITICAL
    name: str = ""


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
            return Finding("stop", reason, first, name="diverged")
        return Finding("skip", f"{culprit} not finite", first, name="not finite")

    def state_dict(self) -> dict[str, int]:
        return {"in_a_row": self.in_a_row}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.in_a_row = state["in_a_row"]


def _culprit(loss: float, grad_norm: float) -> str:
    if not math.isfinite(loss):
        return "loss"
    return "" if math.isfinite(grad_norm) else "gradient (the loss is finite)"
