"""Limits on logged numbers, and a rising validation loss: of what a person is warned, how often.

`Health.look(metrics)` reads the numbers of a step and gives back what is new. It only reports; a
number that is absent is not judged.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from altgrad.quantization.recipe import ROLES, PrecisionConfig, Recipe
from altgrad.settings import nearest
from altgrad.training.health.guards import CRITICAL, WARNING, Finding, GuardConfig

STALLED = "most updates leave the rounded weights as they were"


def warning(level: str, name: str, text: str) -> Finding:
    """Something a person should know; the run goes on."""
    return Finding("continue", text, level=level, name=name)


@dataclass(frozen=True)
class Watch:
    """A limit on one logged number: `bit_stall/max > 0.5`, say."""

    name: str
    metric: str
    limit: float
    text: str
    level: str = WARNING

    def check(self, metrics: dict[str, float]) -> Finding | None:
        value = metrics.get(self.metric)
        if value is None or not value > self.limit:
            return None
        text = f"{self.text}: {self.metric} is {value:.3g}, above {self.limit:g}"
        return warning(self.level, self.name, text)


@dataclass
class AlertDesk:
    """Lets alerts through, each at most once per cool-down of its level.

    Args:
        watches: limits on logged numbers.
        cooldown_s: level -> seconds of silence after an alert of that name.
        clock: monotonic seconds; setting the wall clock does not matter.
    """

    watches: Iterable[Watch]
    cooldown_s: dict[str, float]
    clock: Callable[[], float] = time.monotonic
    _last: dict[str, float] = field(default_factory=dict)

    def consider(self, metrics: dict[str, float]) -> list[Finding]:
        """The new alerts of one step's numbers."""
        found = (watch.check(metrics) for watch in self.watches)
        return [alert for alert in found if alert is not None and self.let_through(alert)]

    def let_through(self, alert: Finding) -> bool:
        """Whether the cool-down of this alert's name is over; starts it anew if so."""
        now = self.clock()
        if now - self._last.get(alert.name, -math.inf) < self.cooldown_s[alert.level]:
            return False
        self._last[alert.name] = now
        return True


class DivergenceWatch:
    """Flags a validation loss that has risen `patience` evaluations in a row."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.last = math.inf
        self.rises = 0

    def observe(self, val_loss: float) -> Finding | None:
        self.rises = self.rises + 1 if val_loss > self.last else 0
        self.last = val_loss
        if self.rises < self.patience:
            return None
        text = f"validation loss has risen {self.rises} evaluations in a row, to {val_loss:.4f}"
        return warning(CRITICAL, "divergence", text)

    def state_dict(self) -> dict[str, float]:
        return {"last": self.last, "rises": self.rises}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.last, self.rises = state["last"], int(state["rises"])


def watches_of(config: GuardConfig, precision: PrecisionConfig) -> list[Watch]:
    """The limits on logged numbers that the settings mean where numbers are rounded so.

    What is harmless by design is not watched: lost updates of copies whose masters move on, and
    numbers beyond the range under a scale that follows the tensor.
    """
    recipe = Recipe.of(precision)
    stalls = Watch("bit-stall", "bit_stall/total", config.bit_stall_threshold, STALLED)
    over, under = 100 * config.overflow_threshold, 100 * config.underflow_threshold
    return [
        *([stalls] if precision.loses_updates else []),
        *(
            Watch(f"overflow of {role}", f"overflows%/{role}/max", over, "overflow")
            for role in ROLES
            if recipe.can_leave_range(role)
        ),
        *(
            Watch(f"underflow of {role}", f"underflows%/{role}/max", under, "underflow")
            for role in ROLES
        ),
        Watch("dead neurons", "dead_neurons/max", config.dead_neuron_share, "neurons are dead"),
        Watch("rank collapse", "rank_loss/max", config.rank_loss, "a matrix lost its rank"),
        *(Watch(f"limit of {m}", m, limit, "over its limit") for m, limit in config.limits.items()),
    ]


class Health:
    """Limits on logged numbers and a rising validation loss; only reports, never stops a run."""

    def __init__(self, config: GuardConfig, precision: PrecisionConfig) -> None:
        cooldown = {CRITICAL: config.critical_cooldown_s, WARNING: config.warning_cooldown_s}
        self.desk = AlertDesk(watches_of(config, precision), cooldown)
        self.divergence = DivergenceWatch(config.divergence_patience)
        self._unseen, self._names = set(config.limits), set[str]()

    def unseen_limits(self) -> list[str]:
        """A line for each of `guards.limits` whose metric has not been there so far."""
        hints = {name: nearest(name, self._names) for name in sorted(self._unseen)}
        return [
            f"guards.limits: this run has logged no metric {name!r}.{hint}"
            for name, hint in hints.items()
        ]

    def look(self, metrics: dict[str, float]) -> list[Finding]:
        """New findings in one step's numbers."""
        if self._unseen:
            self._unseen -= metrics.keys()
            self._names |= metrics.keys()
        found = self.desk.consider(metrics)
        if "val_loss" in metrics:
            rising = self.divergence.observe(metrics["val_loss"])
            if rising is not None and self.desk.let_through(rising):
                found.append(rising)
        return found

    def is_news(self, finding: Finding) -> bool:
        """Whether a finding of another guard should reach a phone: its name has been silent."""
        return self.desk.let_through(finding)

    def state_dict(self) -> dict[str, Any]:
        return self.divergence.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.divergence.load_state_dict(state)
