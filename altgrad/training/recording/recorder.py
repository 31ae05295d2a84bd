"""Everything a run leaves behind or shows: the run folder, the trackers, the listeners.

The trainer tells the recorder what happened, in values; the recorder writes it down once and
passes it on. On processes other than the first it is disabled and silent.
"""

import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import yaml

from altgrad.runs import (
    LAYOUT_VERSION,
    Changes,
    FolderLostError,
    Metrics,
    RunFolder,
    changed_sources,
    code_changes,
    code_versions,
    is_inside,
    keep_sources,
    new_run_path,
    what_is_missing,
    write_atomically,
)
from altgrad.runs.environment import describe_environment
from altgrad.training.checkpoints import Checkpoint, CheckpointError, SaveOutcome
from altgrad.training.config import TrainConfig
from altgrad.training.health import Finding
from altgrad.training.recording.facts import keep_tokenizer
from altgrad.training.token_hashes import replaced_tokens
from altgrad.training.trackers import JsonlTracker, TrackerSet


class Listener(Protocol):
    """Somebody who watches a run: the console, a test, a notebook."""

    def opened(self, folder: Path, step: int, facts: dict[str, Any]) -> None: ...

    def progress(self, step: int, end: int, metrics: Metrics) -> None: ...

    def evaluated(self, step: int, metrics: Metrics, sample: str) -> None: ...

    def alert(self, step: int, finding: Finding) -> None: ...

    def notice(self, step: int, text: str) -> None: ...

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
        self.run_id = self.folder.run_id() or _new_id(self.folder)
        self.metrics = JsonlTracker(self.folder)
        self.checkpoint_dir = Path(config.checkpoint_dir or self.folder.checkpoints)
        self.checkpoints_inside = is_inside(self.checkpoint_dir, self.folder.root)
        self.resumed_at: int | None = None
        self.metric_lines: int | None = None  # of the checkpoint that is resumed, where it says
        self.changes: Changes = {}
        self.initial: dict[str, Any] | None = None  # what the run starts from: `weights.json`
        self.step = 0
        self.trackers = TrackerSet(
            config.tracker, trouble=self._tracker_trouble, opened=self._tracker_opened
        )
        self.trackers.ids = self.folder.tracker_ids()

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
        remark = self.folder.create()
        other_code = self._enter(data)
        self.folder.forget_metrics_after(self.resumed_at or 0, self.metric_lines)
        self.metrics.take_up()
        self._open_trackers()
        self._tell("opened", self.folder.root, self.resumed_at or 0, facts)
        if remark:
            self.note(self.resumed_at or 0, remark)
        for part, (then, now) in other_code.items():
            self.note(
                self.resumed_at or 0,
                f"the code of {part} is not what the run began with ({then}, now {now}): its "
                "numbers may differ from here on",
            )
        if changed := changed_sources(self.config.to_dict(), self.folder.code):
            self.note(
                self.resumed_at or 0,
                f"not as in {self.folder.code}, the code the run began with: {', '.join(changed)}",
            )

    def require_whole_metrics(self, saved: Checkpoint) -> None:
        """Refuse a checkpoint whose steps are not all in `metrics.jsonl`: the run would end without
        them.

        Raises:
            CheckpointError: naming what is missing.
        """
        written = saved.extra.get("metrics")
        missing = what_is_missing(self.folder.metrics, written, whole=False) if written else ""
        if missing:
            raise CheckpointError(
                f"{missing}; bring it back, or start another run from these weights: "
                f"init_from={self.folder.root}."
            )

    def _enter(self, data: dict[str, Any]) -> Changes:
        """The first event of a session; settings changed on purpose are recorded with it, with the
        tokens they replaced, and so is code that is not what the run began with, which comes
        back."""
        self._describe(data)
        kind = "started" if self.resumed_at is None else "resumed"
        facts: dict[str, Any] = {"run": self.run_id, "layout": LAYOUT_VERSION}
        if self.changes:
            facts["changed"] = self.changes
            if before := replaced_tokens(self.folder, data):
                facts["data_before"] = before
                self.folder.write_json(self.folder.data, data)
            self._write_settings()
        code = code_changes(self.folder.environment, code_versions(self.config.to_dict()))
        if code:
            facts["code"] = code
        self.folder.event(kind, step=self.resumed_at or 0, **facts)
        self.changes = {}
        return code

    def _open_trackers(self) -> None:
        root, run_id = self.folder.root, self.run_id or uuid.uuid4().hex[:12]
        try:
            self.trackers.open(root, run_id, self.config.to_dict(), self.resumed_at)
        except ValueError:
            self.folder.unlock()
            raise

    def _tracker_trouble(self, what: str, error: Exception) -> None:
        self.trouble(self.step, f"tracker {what}", error)

    def _tracker_opened(self, name: str, run_id: str) -> None:
        self.folder.event("tracker", name=name, id=run_id)

    def _write_settings(self) -> None:
        settings = yaml.safe_dump(self.config.to_dict(), sort_keys=False)
        write_atomically(self.folder.config, settings)

    def _describe(self, data: dict[str, Any]) -> None:
        """Write what is not there yet. `config.yaml` comes last: with it a folder is a run."""
        folder = self.folder
        if not folder.environment.exists():
            keep_sources(self.config.to_dict(), folder.code)
            code = code_versions(self.config.to_dict())
            folder.write_json(folder.environment, {**describe_environment(), "code": code})
        if not folder.data.exists():
            keep_tokenizer(Path(data["data_dir"]), folder.root)
            folder.write_json(folder.data, data)
        if self.initial and not self.resumed_at:
            folder.write_json(folder.weights, self.initial)
        if not folder.config.exists():
            self._write_settings()

    def log(self, step: int, metrics: Metrics) -> None:
        if not self.enabled:
            return
        self.step = step
        self.metrics.log(step, metrics)
        self.trackers.log(step, metrics)

    def sync(self) -> None:
        """Bring metrics and events to the disk: a checkpoint must not know more than they do.

        Raises:
            OSError: the disk refuses.
            FolderLostError: it would be saved where another run may be by now.
        """
        self.require_our_folder()
        self.metrics.sync()
        self.folder.sync()

    def progress(self, step: int, end: int, metrics: Metrics) -> None:
        self._tell("progress", step, end, metrics)

    def evaluated(self, step: int, metrics: Metrics, sample: str) -> None:
        """Keep the sample, tell the listeners. The numbers go out with the step's `log`."""
        if not self.enabled:
            return
        if sample:
            self._keep_sample(step, sample)
        self._tell("evaluated", step, metrics, sample)

    def _keep_sample(self, step: int, sample: str) -> None:
        try:
            self.folder.samples.mkdir(exist_ok=True)
            write_atomically(self.folder.samples / f"step_{step:08d}.txt", sample + "\n")
        except OSError as error:
            self.trouble(step, "writing a sample", error)

    def alert(self, step: int, finding: Finding, *, news: bool = True) -> None:
        """Into the events and to the listeners, and to the trackers where it is news."""
        if self.enabled:
            facts = {"level": finding.level, "action": finding.action}
            self.folder.event("alert", step=step, reason=finding.reason, **facts)
            if news:
                self.trackers.alert(step, finding.name, finding.reason, finding.level)
        self._tell("alert", step, finding)

    def saved(self, outcome: SaveOutcome) -> None:
        """A save that ended, well or not."""
        if outcome.error is not None:
            self.trouble(outcome.step, "saving", outcome.error)
            return
        self.folder.event(
            "saved",
            step=outcome.step,
            path=self._shown(outcome.path),
            waited_s=round(outcome.waited_s, 4),
            write_s=round(outcome.write_s, 4),
        )

    def anomaly(self, step: int, path: Path) -> None:
        self.folder.event("anomaly", step=step, path=self._shown(path))
        self._tell("notice", step, f"the state and the batch are kept in {path}")

    def _shown(self, path: Path | None) -> str:
        """Relative to the run folder, which can be moved; absolute if it lies elsewhere."""
        assert path is not None
        root = self.folder.root
        return str(path.relative_to(root) if path.is_relative_to(root) else path.resolve())

    def trouble(self, step: int, what: str, error: Exception) -> None:
        """Something failed that a run can do without, or has another chance to do."""
        reason = f"{type(error).__name__}: {error}"
        if self.enabled:
            self.folder.event("trouble", step=step, what=what, error=reason)
        self._tell("notice", step, f"{what} failed: {reason}")

    def note(self, step: int, text: str) -> None:
        """Something a person should know later, too."""
        if self.enabled:
            self.folder.event("note", step=step, text=text)
        self._tell("notice", step, text)

    def announce(self, text: str) -> None:
        """Something that matters only while it happens."""
        self._tell("notice", self.step, text)

    def _tell(self, what: str, *values: Any) -> None:
        """A listener that fails (a closed pipe, a bug) hears nothing more; the run goes on."""
        for listener in list(self.listeners):
            try:
                getattr(listener, what)(*values)
            except Exception as error:
                self.listeners.remove(listener)
                self.folder.event("trouble", what=f"listener {what}", error=repr(error))

    def close(
        self, status: str, *, checkpoints: dict[str, Path] | None = None, **facts: Any
    ) -> None:
        """Write how it ended. A later `open` of the same recorder continues the run."""
        if not self.enabled:
            return
        self.metrics.close(status)
        self.trackers.close(status, checkpoints or {})
        facts["metrics"] = self.metrics.record.to_dict()
        self._end(status, {k: v for k, v in facts.items() if v is not None})
        self.folder.unlock()
        self.resumed_at, self.metric_lines = int(facts["step"]), None
        self._tell("closed", status)

    def _end(self, status: str, facts: dict[str, Any]) -> None:
        """The last line of a session; on a folder that is no longer ours nothing is written."""
        if not self.folder.is_ours():
            return
        self.folder.event(status, **facts)
        with suppress(
            OSError
        ):  # a disk that refuses has been told of, or gets it at the next start
            self.folder.sync()

    def require_our_folder(self) -> None:
        """Raises FolderLostError if the run's folder was moved, deleted or taken by another."""
        if not self.folder.is_ours():
            raise FolderLostError(self.folder.root)


def _new_id(folder: RunFolder) -> str | None:
    """An old run whose id cannot be read (a damaged file) has none: any checkpoint is its own."""
    return None if folder.config.exists() else uuid.uuid4().hex[:12]
