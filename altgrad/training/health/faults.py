"""Faults put into a run on purpose, to see that it survives them: `faults.loss_nan_at_step=50`.

The documented way to try out the guards; off by default, and announced where it acts.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor


@dataclass
class FaultConfig:
    """Settings `faults.*`."""

    loss_nan_at_step: int = -1
    """First step whose loss becomes NaN; steps count from 1, -1 = never."""
    gradient_inf_at_step: int = -1
    """First step whose gradients become infinite while the loss stays finite; -1 = never."""
    steps: int = 1
    """How many steps in a row the fault lasts."""

    def __post_init__(self) -> None:
        for name in ("loss_nan_at_step", "gradient_inf_at_step"):
            value = getattr(self, name)
            if value != -1 and value < 1:
                raise ValueError(f"faults.{name}={value} must be at least 1, or -1 for never.")
        if self.steps < 1:
            raise ValueError(f"faults.steps={self.steps} must be at least 1.")

    def announcement(self) -> str:
        """What this run will do to itself, for a person; empty if nothing."""
        planned = [
            f"the {what} will not be finite from step {first} on"
            for what, first in (
                ("loss", self.loss_nan_at_step),
                ("gradient", self.gradient_inf_at_step),
            )
            if first != -1
        ]
        return f"on purpose, for {self.steps} step(s): {', '.join(planned)}" if planned else ""

    def spoil_loss(self, loss: Tensor, step: int) -> Tensor:
        """The loss, or NaN in its place."""
        return loss * float("nan") if self._hits(self.loss_nan_at_step, step) else loss

    def spoil_gradients(self, parameters: Iterable[Tensor], step: int) -> None:
        """Infinity into one entry of every gradient."""
        if self._hits(self.gradient_inf_at_step, step):
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad.view(-1)[0] = float("inf")

    def _hits(self, first: int, step: int) -> bool:
        return first != -1 and first <= step < first + self.steps
