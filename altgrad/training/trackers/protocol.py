"""Where metrics go beside the run folder: several trackers at once, with the same names and steps.

A tracker only writes. Each runs in a thread of its own behind a queue (`in_thread.py`), so that a
slow, broken or unreachable one neither holds up nor ends a run. `TRACKERS` lists them by name; a
name with a colon, `package.module:make`, brings in another.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from altgrad.outside import load_outside, load_own
from altgrad.runs import Metrics
from altgrad.settings import require_choice


@dataclass
class TrackerConfig:
    """Settings `tracker.*`."""

    names: list[str] = field(default_factory=list)
    """Trackers beside the run folder's JSONL, from `TRACKERS`; several at once."""
    project: str = "altgrad"
    """The project's name at the trackers; empty turns all of them off."""
    mode: str = "auto"
    """Mode of wandb: online, offline or disabled; auto is online if this machine has an account's
    key, else offline."""
    if_gone: str = "new"
    """When a resumed run's tracked run was deleted: new starts another there, off goes on without,
    refuse does not resume."""
    artifacts: list[str] = field(default_factory=list)
    """Checkpoints to upload at the end, of best and latest (wandb, trackio)."""
    close_s: float = 30.0
    """Seconds to wait for the last uploads when a run ends; then they are left behind."""

    def __post_init__(self) -> None:
        for name in self.names:
            if ":" not in name:
                require_choice(name, TRACKERS, "tracker.names")
        for name in self.artifacts:
            require_choice(name, ("best", "latest"), "tracker.artifacts")
        require_choice(self.mode, ("auto", "online", "offline", "disabled"), "tracker.mode")
        require_choice(self.if_gone, ("new", "off", "refuse"), "tracker.if_gone")


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker learns of a run.

    known_id: the id under which this tracker has had the run before, or None.
    resumed_at: the step that a resumed run goes on from; later steps will be logged again.
    """

    folder: Path
    run_id: str
    settings: TrackerConfig
    config: dict[str, Any]
    known_id: str | None = None
    resumed_at: int | None = None

    @property
    def name(self) -> str:
        return self.folder.name


class Tracker(Protocol):
    """What a run asks of a tracker. Made, called and closed in one thread; may raise.

    Attributes:
        id: the run's id there.
    """

    id: str

    def log(self, step: int, metrics: Metrics) -> None: ...

    def alert(self, step: int, title: str, text: str, level: str) -> None: ...

    def artifact(self, alias: str, path: Path) -> None: ...

    def close(self, status: str) -> None: ...


class GoneError(Exception):
    """The tracked run that was to be continued does not exist any more."""


Maker = Callable[[TrackedRun], Tracker]

TRACKERS = {
    "wandb": "altgrad.training.trackers.wandb:WandbTracker",
    "tensorboard": "altgrad.training.trackers.tensorboard:TensorboardTracker",
    "trackio": "altgrad.training.trackers.trackio:TrackioTracker",
    "csv": "altgrad.training.trackers.csv:CsvTracker",
}


def tracker_maker(name: str) -> Maker:
    """The class behind a name; its module is imported now, the tracker's library only when made."""
    own = TRACKERS.get(name)
    return load_own(own) if own else load_outside(name, setting="tracker.names")


def require_installed(package: str) -> None:
    """Raises ValueError with the cure if a tracker's library is missing."""
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise ValueError(f"tracker {package}: not installed; pip install 'altgrad[track]'.")
