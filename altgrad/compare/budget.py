"""Equal budgets: tokens, FLOPs or wall time, each counted over a whole run.

The control's `max_steps` sets the budget; every other arm gets the number of steps that spends the
same. Everything that follows from `max_steps` (decay, a warm-up left at null) follows along.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from altgrad.compare.arm import Arm
from altgrad.runs import tokens_per_step as tokens_of_settings
from altgrad.training.config import TrainConfig

UNITS = {"tokens": "tokens", "flops": "FLOPs", "time": "seconds"}


@dataclass(frozen=True)
class Spending:
    """What one arm's runs spend. `per_step` and `total` are in `unit`; s per step are measured."""

    arm: str
    steps: int
    per_step: float
    unit: str

    @property
    def total(self) -> float:
        return self.steps * self.per_step


def tokens_per_step(config: TrainConfig) -> int:
    """Tokens an optimiser step learns from, over all processes."""
    return tokens_of_settings(config.to_dict())


def flops_per_step(config: TrainConfig) -> float:
    """The model's own count of FLOPs a token times the tokens; counted without making weights.

    Of a run whose first part has a shorter context: the mean over its steps.

    Raises:
        ValueError: vocab_size is still null.
    """
    c = config.schedule
    contexts = [
        c.context(step, config.max_steps, config.model.block_size)
        for step in range(config.max_steps)
    ]
    counts = Counter(contexts)
    flops = {context: _flops_per_token(config, context) for context in counts}
    mean = sum(n * flops[context] for context, n in counts.items()) / config.max_steps
    return mean * tokens_per_step(config)


def _flops_per_token(config: TrainConfig, context: int) -> int:
    import torch

    from altgrad.model import GPT

    with torch.device("meta"):
        return GPT(replace(config.model, block_size=context)).estimate_flops()


def spend_equally(
    arms: list[Arm], budget: str, measure_s: Callable[[Arm], float]
) -> tuple[list[Arm], list[Spending]]:
    """The arms with the `max_steps` at which each spends the control's budget.

    arms: settled (no null that the machine or the data decides), the control first.
    measure_s: seconds of a step of an arm, asked for only with budget=time.
    """
    per_step = _cost_of_a_step(arms, budget, measure_s)
    total = arms[0].config.max_steps * per_step[0]
    steps = [max(1, round(total / each)) for each in per_step]
    fitted = [a.with_settings({"max_steps": n}) for a, n in zip(arms, steps, strict=True)]
    return fitted, _spendings(fitted, per_step, budget)


def spend_as_declared(
    arms: list[Arm], budget: str, measure_s: Callable[[Arm], float]
) -> tuple[list[Arm], list[Spending]]:
    """The arms as they are: their `max_steps` is what the question declares to differ."""
    return arms, _spendings(arms, _cost_of_a_step(arms, budget, measure_s), budget)


def _cost_of_a_step(arms: list[Arm], budget: str, measure_s: Callable[[Arm], float]) -> list[float]:
    cost: dict[str, Callable[[Arm], float]] = {
        "tokens": lambda arm: float(tokens_per_step(arm.config)),
        "flops": lambda arm: flops_per_step(arm.config),
        "time": measure_s,
    }
    return [cost[budget](arm) for arm in arms]


def _spendings(arms: list[Arm], per_step: list[float], budget: str) -> list[Spending]:
    return [
        Spending(arm.name, arm.config.max_steps, each, UNITS[budget])
        for arm, each in zip(arms, per_step, strict=True)
    ]
