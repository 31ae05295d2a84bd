"""A door for those who know trackers as callbacks: `callbacks.WandbTracker` and its siblings."""

import math
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from altgrad.runs import Metrics
from altgrad.training.config import TrainConfig
from altgrad.training.health import CRITICAL, Health, NonFiniteGuard
from altgrad.training.trackers import TrackedRun, TrackerConfig
from altgrad.training.trackers.tensorboard import TensorboardTracker
from altgrad.training.trackers.trackio import TrackioTracker
from altgrad.training.trackers.wandb import WandbTracker as RunTracker


class WandbTracker(RunTracker):
    """One wandb run for a training loop of one's own.

    Args:
        config: a `TrainConfig`, a dict of settings (nested or flat), or the `TrackedRun` that a
            run hands its trackers.
        run_id: of a run that is to be continued; None starts one.

    Raises:
        GoneError: the run to be continued is gone, and `tracker.if_gone` is not `new`.
    """

    def __init__(self, config: Any, run_id: str | None = None) -> None:
        self._decider: Decider | None = None
        super().__init__(config if isinstance(config, TrackedRun) else _tracked(config, run_id))

    def log_step(self, step: int, metrics: Metrics) -> None:
        """The numbers of a step, under its number."""
        self.log(step, metrics)

    def check_alerts(self, step: int, metrics: Metrics, config: Any) -> str:
        """Judge a step's numbers by `guards.*`, send what is new as alerts.

        Returns:
            `stop` after `guards.nan_patience` steps in a row whose `loss` or `grad_norm` is not
            finite; `save_checkpoint` where something critical is found before that (the first such
            step, a validation loss that keeps rising); else `continue`.
        """
        self._decider = self._decider or Decider(_settings(config))
        action, findings = self._decider.judge(metrics)
        for finding in findings:
            self.alert(step, finding.name, finding.reason, finding.level)
        return action


class Decider:
    """The guards of a run, asked by the numbers alone."""

    def __init__(self, config: TrainConfig) -> None:
        self.guard = NonFiniteGuard(config.guards.nan_patience)
        self.health = Health(config.guards, config.precision)

    def judge(self, metrics: Metrics) -> tuple[str, list[Any]]:
        """What to do, and what a person should be told."""
        loss, norm = metrics.get("loss", 0.0), metrics.get("grad_norm", 0.0)
        finding = self.guard.judge(loss, norm)
        found = self.health.look({k: v for k, v in metrics.items() if not math.isnan(v)})
        if finding.reason and self.health.is_news(finding):
            found = [finding, *found]
        if finding.action == "stop":
            return "stop", found
        critical = finding.first or any(f.level == CRITICAL for f in found)
        return "save_checkpoint" if critical else "continue", found


def _tracked(config: Any, run_id: str | None) -> TrackedRun:
    settings = _settings(config)
    folder = Path(settings.run_dir or Path("runs") / (run_id or uuid.uuid4().hex[:12]))
    folder.mkdir(parents=True, exist_ok=True)
    return TrackedRun(
        folder, run_id or uuid.uuid4().hex[:12], settings.tracker, settings.to_dict(), run_id
    )


def _settings(config: Any) -> TrainConfig:
    """A `TrainConfig` of what another program calls its config.

    Raises:
        ConfigError: a key that is no setting.
        TypeError: it is neither a `TrainConfig` nor a mapping.
    """
    if isinstance(config, TrainConfig):
        return config
    if not isinstance(config, Mapping):
        raise TypeError(f"config is a {type(config).__name__}; give a TrainConfig, or a dict")
    return TrainConfig(**config)


__all__ = ["TensorboardTracker", "TrackedRun", "TrackerConfig", "TrackioTracker", "WandbTracker"]
