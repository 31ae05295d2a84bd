"""Settings of what is measured beside a run: the shadow and the diagnostics."""

from dataclasses import dataclass, field
from typing import Optional

from altgrad.trust import NAME


@dataclass
class ShadowConfig:
    """Settings `shadow.*`."""

    enabled: bool = False
    """Run an FP32 twin beside the model and compare gradients."""
    every_steps: int = 1
    """Compare gradients every so many steps."""

    def __post_init__(self) -> None:
        if self.every_steps < 1:
            raise ValueError(f"shadow.every_steps={self.every_steps} must be at least 1.")


@dataclass
class DiagnosticsConfig:
    """Settings `diagnostics.*`."""

    every_steps: Optional[int] = None  # noqa: UP045
    """Counts, lost updates and gradient statistics per layer, every so many steps; null is every
    step of a rounded run and never (-1) in a plain one."""
    rank_every_steps: Optional[int] = None  # noqa: UP045
    """Ranks of the weight matrices and code use; null is every 100 steps of a rounded run and never
    in a plain one."""
    dead_neuron_threshold: float = 1e-8
    """A gradient whose magnitude is below this counts as zero."""
    dead_neuron_window: int = 100
    """Steps in a row with zero gradients after which a neuron counts as dead."""
    own: list[str] = field(default_factory=list)
    """Measures of your own, each package.module:Class; their numbers are logged, plotted, warned of
    (`guards.limits`) and compared like the others."""
    own_every_steps: int = 1
    """Call the measures of your own every so many steps."""

    def __post_init__(self) -> None:
        for name in ("every_steps", "rank_every_steps"):
            value = getattr(self, name)
            if value is not None and value != -1 and value < 1:
                raise ValueError(f"diagnostics.{name}={value} must be at least 1, -1 or null.")
        if self.own_every_steps < 1:
            raise ValueError(
                f"diagnostics.own_every_steps={self.own_every_steps} must be 1 or more."
            )
        for name in self.own:
            if not NAME.fullmatch(name) or self.own.count(name) > 1:
                raise ValueError(
                    f"diagnostics.own={name}: write each measure once, as package.module:Class"
                )
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
