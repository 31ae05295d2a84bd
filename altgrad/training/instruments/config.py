"""Settings of what is measured beside a run: the shadow and the diagnostics."""

from dataclasses import dataclass
from typing import Optional


@dataclass
class ShadowConfig:
    """Settings `shadow.*`.

    enabled: run an FP32 twin beside the model and compare gradients.
    every_steps: how often.
    """

    enabled: bool = False
    every_steps: int = 1

    def __post_init__(self) -> None:
        if self.every_steps < 1:
            raise ValueError(f"shadow.every_steps={self.every_steps} must be at least 1.")


@dataclass
class DiagnosticsConfig:
    """Settings `diagnostics.*`; null: as the precision suggests.

    every_steps: counts, stalls, gradient statistics per layer; null: every step of a rounded run,
        never (-1) in a plain one.
    rank_every_steps: ranks of the weight matrices, code use; null: every 100 steps of a rounded
        run, never in a plain one.
    dead_neuron_threshold: a gradient entry of smaller magnitude counts as zero.
    dead_neuron_window: a neuron is dead after so many steps in a row in which its whole
        gradient row counted as zero.
    """

    every_steps: Optional[int] = None  # noqa: UP045
    rank_every_steps: Optional[int] = None  # noqa: UP045
    dead_neuron_threshold: float = 1e-8
    dead_neuron_window: int = 100

    def __post_init__(self) -> None:
        for name in ("every_steps", "rank_every_steps"):
            value = getattr(self, name)
            if value is not None and value != -1 and value < 1:
                raise ValueError(f"diagnostics.{name}={value} must be at least 1, -1 or null.")
        if self.dead_neuron_threshold < 0 or self.dead_neuron_window < 1:
            raise ValueError(
                f"diagnostics.dead_neuron_threshold={self.dead_neuron_threshold} must not be "
                f"negative, dead_neuron_window={self.dead_neuron_window} at least 1."
            )


def interval(value: int | None, *, rounded: bool, usual: int) -> int:
    """A frequency in steps: null is `usual` in a rounded run and never (-1) in a plain one."""
    if value is None:
        return usual if rounded else -1
    return value
