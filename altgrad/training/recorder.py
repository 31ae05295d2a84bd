"""Everything a run leaves behind or shows: the run folder, the trackers, the listeners.

The trainer tells the recorder what happened, in values; the recorder writes it down once and
passes it on. On processes other than the first it is disabled and silent.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import yaml

from altgrad.training.config import TrainConfig
from altgrad.training.environment import describe_environment
from altgrad.training.guards import Finding
from altgrad.training.run_folder import LAYOUT_VERSION, RunFolder, new_run_path, write_atomically
from altgrad.training.sources import code_versions
from altgrad.training.trackers import Tracker, open_trackers

Metrics = dict[str, float]


class Listener(Protocol):
    """Somebody who watches a run: the console, a test, a notebook."""

    def opened(self, folder: Path, step: int, facts: dict[str, Any]) -> None: ...

    def progress(self, step: int, end: int, metrics: Metrics) -> None: ...

    def evaluated(self, step: int, metrics: Metrics, sample: str) -> None: ...

    def alert(self, step: int, finding: Finding) -> None: ...

    def closed(self, status: str) -> None: ...


class Recorder:
    """Writes one run folder.

    Args:
        config: the run's settings; `run_dir` and `checkpoint_dir` say where.
        enabled: false on all processes but the first.
        listeners: told of progress, evaluations and alerts.
    """

    def __init__(
        self, config: TrainConfig, *, enabled: bool = True, listeners: Sequence[Listener] = ()
    ) -> None:
        self.config = config
        self.enabled = enabled
        self.listeners = list(listeners) if enabled else []
        self.folder = RunFolder(config.run_dir or new_run_path(config.to_dict()))
        self.checkpoint_dir = Path(config.checkpoint_dir or self.folder.checkpoints)
        self.resumed_at: int | None = None
        self.trackers: list[Tracker] = []

    def open(self, data: dict[str, Any], facts: dict[str, Any]) -> None:
        """Make the folder, or take up one that is being resumed.

        `data` goes into `data.json`; `facts` are what a person wants to see at the start.

        Raises:
            ValueError: the folder holds another run, or another process is writing it.
        """
        if not self.enabled:
            return
        if self.resumed_at is None and self.folder.config.exists():
            root = self.folder.root
            raise ValueError(
                f"{root} already holds a run; `altgrad resume {root}`, or choose another run_dir."
            )
        self.folder.create()
        if self.resumed_at is None:
            self._describe(data)
        else:
            self.folder.forget_metrics_after(self.resumed_at)
        kind = "started" if self.resumed_at is None else "resumed"
        self.folder.event(kind, step=self.resumed_at or 0, layout=LAYOUT_VERSION)
        self.trackers = open_trackers(self.config.tracker, self.folder)
        for listener in self.listeners:
            listener.opened(self.folder.root, self.resumed_at or 0, facts)

    def _describe(self, data: dict[str, Any]) -> None:
        settings = self.config.to_dict()
        write_atomically(self.folder.config, yaml.safe_dump(settings, sort_keys=False))
        environment = {**describe_environment(), "code": code_versions(settings)}
        self.folder.write_json(self.folder.environment, environment)
        self.folder.write_json(self.folder.data, data)

    def log(self, step: int, metrics: Metrics) -> None:
        for tracker in self.trackers:
            tracker.log(step, metrics)

    def progress(self, step: int, end: int, metrics: Metrics) -> None:
        for listener in self.listeners:
            listener.progress(step, end, metrics)

    def evaluated(self, step: int, metrics: Metrics, sample: str) -> None:
        """Keep the sample, tell the listeners. The numbers go out with the step's `log`."""
        if not self.enabled:
            return
        if sample:
            self.folder.samples.mkdir(exist_ok=True)
            write_atomically(self.folder.samples / f"step_{step:08d}.txt", sample + "\n")
        for listener in self.listeners:
            listener.evaluated(step, metrics, sample)

    def alert(self, step: int, finding: Finding) -> None:
        if self.enabled:
            self.folder.event("alert", step=step, reason=finding.reason, action=finding.action)
        for listener in self.listeners:
            listener.alert(step, finding)

    def saved(self, step: int, path: Path, *, kind: str = "saved") -> None:
        self.folder.event(kind, step=step, path=str(path.relative_to(self._base(path))))

    def _base(self, path: Path) -> Path:
        return self.folder.root if path.is_relative_to(self.folder.root) else Path(path.anchor)

    def close(self, status: str, **facts: float) -> None:
        """Write how it ended. A later `open` of the same recorder continues the run."""
        if not self.enabled:
            return
        for tracker in self.trackers:
            tracker.close(status)
        self.folder.event(status, **facts)
        self.folder.unlock()
        self.resumed_at = int(facts["step"])
        for listener in self.listeners:
            listener.closed(status)
