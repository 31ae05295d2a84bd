"""Trackio: a dashboard on this machine, without an account (`trackio show`)."""

import uuid
from pathlib import Path
from typing import Any

from altgrad.runs import Metrics
from altgrad.training.trackers.protocol import GoneError, TrackedRun, require_installed

LEVELS = {"critical": "ERROR", "warning": "WARN"}


class TrackioTracker:
    """One trackio run, named after our run's id, so that moving the folder does not lose it.

    Trackio keeps every entry it is given: of a resumed run only the steps that it does not have
    are logged.

    Raises:
        GoneError: the run to be continued is gone, and `tracker.if_gone` is not `new`.
    """

    def __init__(self, run: TrackedRun) -> None:
        require_installed("trackio")
        import trackio

        self.id = run.known_id or f"{run.name}-{run.run_id}"
        self.known = known_steps(run.settings.project, self.id) if run.known_id else set()
        try:
            self.run = self._open(trackio, run, "must" if run.known_id else "never")
        except ValueError as error:
            if run.known_id is None or "does not exist" not in str(error):
                raise
            if run.settings.if_gone != "new":
                raise GoneError(f"trackio run {run.known_id} is gone") from error
            self.id = f"{run.name}-{uuid.uuid4().hex[:12]}"
            self.run = self._open(trackio, run, "never")

    def _open(self, trackio: Any, run: TrackedRun, resume: str) -> Any:
        return trackio.init(
            project=run.settings.project,
            name=self.id,
            config=run.config,
            resume=resume,
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def log(self, step: int, metrics: Metrics) -> None:
        if step not in self.known:
            self.run.log(metrics, step=step)

    def alert(self, step: int, title: str, text: str, level: str) -> None:
        from trackio import AlertLevel

        self.run.alert(title, text, AlertLevel[LEVELS.get(level, "INFO")], step)

    def artifact(self, alias: str, path: Path) -> None:
        from trackio import Artifact

        artifact = Artifact(f"checkpoint-{alias}", type="model")
        artifact.add_dir(str(path))
        self.run.log_artifact(artifact)

    def close(self, status: str) -> None:
        self.run.finish()


def known_steps(project: str, name: str) -> set[int]:
    """Steps that trackio already holds of a run."""
    from trackio.sqlite_storage import SQLiteStorage

    return {int(entry["step"]) for entry in SQLiteStorage.get_logs(project, name)}
