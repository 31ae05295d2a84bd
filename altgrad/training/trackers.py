"""Where metrics go. A tracker only writes: one `log(step, metrics)` per step, one `close(status)`.

The run folder's JSONL is always on. `TRACKERS` lists the further ones by name.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from altgrad.training.line_log import LineLog
from altgrad.training.run_folder import RunFolder
from altgrad.training.settings import require_choice


@dataclass
class TrackerConfig:
    """Settings `tracker.*`.

    names: trackers beside the run folder's JSONL, from `TRACKERS`.
    project: the project's name there; empty turns all of them off.
    """

    names: list[str] = field(default_factory=list)
    project: str = "altgrad"

    def __post_init__(self) -> None:
        for name in self.names:
            require_choice(name, TRACKERS, "tracker.names")


class Tracker(Protocol):
    """What the trainer asks of a tracker."""

    def log(self, step: int, metrics: dict[str, float]) -> None: ...

    def close(self, status: str) -> None: ...


class JsonlTracker:
    """One line a step in `metrics.jsonl`, written at once, so that nothing logged is lost."""

    def __init__(self, folder: RunFolder) -> None:
        self.lines = LineLog(folder.metrics)

    def log(self, step: int, metrics: dict[str, float]) -> None:
        self.lines.append({"step": step, **metrics})

    def sync(self) -> None:
        self.lines.sync()

    def close(self, status: str) -> None:
        self.lines.close()


TRACKERS: dict[str, Callable[[RunFolder, str], Tracker]] = {}
"""Name -> maker(folder, project)."""


def open_trackers(config: TrackerConfig, folder: RunFolder) -> list[Tracker]:
    """What `tracker.names` asks for, unless the project is empty."""
    names = config.names if config.project else []
    return [TRACKERS[name](folder, config.project) for name in names]
