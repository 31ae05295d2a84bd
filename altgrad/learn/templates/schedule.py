"""A learning-rate schedule of your own. As it stands it falls linearly: change what is marked.

    altgrad verify schedule.name=mine:schedule
    altgrad train schedule.name=mine:schedule
    altgrad compare schedule.name=constant,mine:schedule seeds=5

Contract
    schedule(config, max_steps)   config: the settings `schedule.*` (warmup_steps, …)
        returns factor(step)      step from 0 -> a number in [0, 1], times each group's own rate;
                                  above 0 before max_steps; of its step alone, so that a resumed
                                  run needs no state. Warm-up comes on top of it.
"""

from collections.abc import Callable

from altgrad.optim import ScheduleConfig


def schedule(config: ScheduleConfig, max_steps: int) -> Callable[[int], float]:
    def factor(step: int) -> float:
        # Yours begins here.
        return max(0.0, 1.0 - step / max_steps)
        # Yours ends here.

    return factor
