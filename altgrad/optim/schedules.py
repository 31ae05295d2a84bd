"""The learning rate over time, as a factor on each group's own rate.

| name      | factor at step k of max_steps N, W warm-up steps, floor f               |
|-----------|-------------------------------------------------------------------------|
| constant  | 1                                                                       |
| cosine    | f + (1 - f) (1 + cos(pi (k - W) / (N - W))) / 2                         |
| trapezoid | 1, then linear to f over the last D = round(decay_fraction N) steps     |

During warm-up the factor is also at most (k + 1) / W: the first step is taken at 1 / W, step W - 1
at the full rate. A factor reaches f at k = N, one past the last step, so that no step is idle.

Beside the rate, the context: the first steps may see shorter blocks (`short_context`), each of them
as many tokens as before, cut into more and shorter pieces.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Optional

from altgrad.outside import lookup

Schedule = Callable[[int], float]


@dataclass
class ScheduleConfig:
    """The learning rate over time (`schedule.…`)."""

    name: str = "constant"
    """The shape: constant, cosine, trapezoid, or package.module:function."""
    warmup_steps: Optional[int] = 0  # noqa: UP045
    """Steps of linear warm-up; null is a tenth of the run, at most 20."""
    min_lr_fraction: float = 0.1
    """Where cosine and trapezoid end, as a fraction of the peak rate."""
    decay_fraction: float = 0.4
    """Share of the run over which trapezoid falls."""
    short_context: Optional[int] = None  # noqa: UP045
    """Context of the first steps, in tokens: a batch of B blocks of T tokens is cut into B·T/S
    blocks of this S, which divides T; null = whole blocks from the first step on."""
    short_fraction: float = 0.5
    """Share of the run with the short context."""

    def warmup(self, max_steps: int) -> int:
        """Warm-up steps in a run of `max_steps`."""
        return min(20, max_steps // 10) if self.warmup_steps is None else self.warmup_steps

    def context(self, step: int, max_steps: int, block_size: int) -> int:
        """Tokens in a block at `step` (from 0) of `max_steps`, where blocks of data have
        `block_size`. It depends on the step alone, so that a resumed run needs no state."""
        if self.short_context is None or step >= round(self.short_fraction * max_steps):
            return block_size
        return self.short_context

    def check(self, max_steps: int) -> None:
        """Raise ValueError, in one line, for a value outside its range."""
        if not 0 <= self.warmup(max_steps) <= max_steps:
            raise ValueError(
                f"schedule.warmup_steps={self.warmup_steps} must be in [0, max_steps={max_steps}]; "
                "lower it or raise max_steps"
            )
        if not 0.0 <= self.min_lr_fraction <= 1.0:
            raise ValueError(
                f"schedule.min_lr_fraction={self.min_lr_fraction} must be in [0, 1], "
                "a fraction of the peak rate"
            )
        if not 0.0 <= self.decay_fraction <= 1.0:
            raise ValueError(
                f"schedule.decay_fraction={self.decay_fraction} must be in [0, 1], "
                "a fraction of max_steps"
            )
        if not 0.0 < self.short_fraction < 1.0:
            raise ValueError(
                f"schedule.short_fraction={self.short_fraction} must lie between 0 and 1, "
                "a fraction of max_steps; for no short blocks leave out schedule.short_context"
            )

    def check_context(self, block_size: int) -> None:
        """Raise ValueError, in one line, where blocks cannot be cut into such pieces."""
        short = self.short_context
        if short is not None and (short < 1 or block_size % short):
            raise ValueError(
                f"schedule.short_context={short} must divide model.block_size={block_size}, "
                f"as {max(1, block_size // 2)} does; null = whole blocks"
            )


def constant(config: ScheduleConfig, max_steps: int) -> Schedule:
    return lambda step: 1.0


def cosine(config: ScheduleConfig, max_steps: int) -> Schedule:
    floor, start = config.min_lr_fraction, config.warmup(max_steps)

    def factor(step: int) -> float:
        progress = (step - start) / max(1, max_steps - start)
        return floor + (1.0 - floor) * 0.5 * (
            1.0 + math.cos(math.pi * min(max(progress, 0.0), 1.0))
        )

    return factor


def trapezoid(config: ScheduleConfig, max_steps: int) -> Schedule:
    floor = config.min_lr_fraction
    decay_steps = round(config.decay_fraction * max_steps)

    def factor(step: int) -> float:
        left = min(max(max_steps - step, 0) / max(1, decay_steps), 1.0)
        return floor + (1.0 - floor) * left

    return factor


SCHEDULES: dict[str, Callable[[ScheduleConfig, int], Schedule]] = {
    "constant": constant,
    "cosine": cosine,
    "trapezoid": trapezoid,
}


READS = {
    "constant": ("warmup_steps",),
    "cosine": ("warmup_steps", "min_lr_fraction"),
    "trapezoid": ("warmup_steps", "min_lr_fraction", "decay_fraction"),
}
"""Settings `schedule.*` that a schedule reads."""


def build_schedule(config: ScheduleConfig, max_steps: int) -> Schedule:
    """Step (from 0) -> factor in [0, 1] on each group's `initial_lr`.

    Steps from `max_steps` on have the last factor. Raises ValueError for an unknown name, a value
    out of range, or a warm-up longer than the run.
    """
    config.check(max_steps)
    main = lookup(SCHEDULES, config.name, "schedule.name")(config, max_steps)
    warmup_steps = config.warmup(max_steps)

    def factor(step: int) -> float:
        warmup = (step + 1) / warmup_steps if step < warmup_steps else 1.0
        return min(warmup, main(step))

    return factor
