"""Warnings about a run's health: which number left its range, and not again before a while.

`AlertDesk.consider(metrics)` looks at the logged numbers of a step and gives back what is new.
A number that is absent is not judged.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

CRITICAL, WARNING = "critical", "warning"


@dataclass(frozen=True)
class Alert:
    """Something a person should know. `level` is `critical` or `warning`."""

    level: str
    name: str
    text: str


@dataclass(frozen=True)
class Watch:
    """A limit on one logged number: `bit_stall/max > 0.5`, say."""

    name: str
    metric: str
    limit: float
    text: str
    level: str = WARNING

    def check(self, metrics: dict[str, float]) -> Alert | None:
        value = metrics.get(self.metric)
        if value is None or not value > self.limit:
            return None
        text = f"{self.text}: {self.metric} is {value:.3g}, above {self.limit:g}"
        return Alert(self.level, self.name, text)


@dataclass
class AlertDesk:
    """Passes alerts on, each at most once per cool-down of its level.

    Args:
        watches: limits on logged numbers.
        cooldown_s: level -> seconds of silence after an alert of that name.
        clock: monotonic seconds; setting the wall clock does not matter.
    """

    watches: Iterable[Watch]
    cooldown_s: dict[str, float]
    clock: Callable[[], float] = time.monotonic
    _last: dict[str, float] = field(default_factory=dict)

    def consider(self, metrics: dict[str, float]) -> list[Alert]:
        """The new alerts of one step's numbers."""
        found = (watch.check(metrics) for watch in self.watches)
        return [alert for alert in found if alert is not None and self.let_through(alert)]

    def let_through(self, alert: Alert) -> bool:
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

    def observe(self, val_loss: float) -> Alert | None:
        self.rises = self.rises + 1 if val_loss > self.last else 0
        self.last = val_loss
        if self.rises < self.patience:
            return None
        text = f"validation loss has risen {self.rises} evaluations in a row, to {val_loss:.4f}"
        return Alert(CRITICAL, "divergence", text)

    def state_dict(self) -> dict[str, float]:
        return {"last": self.last, "rises": self.rises}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.last, self.rises = state["last"], int(state["rises"])
