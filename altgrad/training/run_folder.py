"""The folder of one run: its layout, its names, and reading it back. Loads neither torch nor numpy.

    config.yaml        every setting, resolved         metrics.jsonl   one line a step
    environment.json   machine, versions, commit       events.jsonl    started, saved, finished, …
    data.json          corpus, tokenizer, sha256       checkpoints/ samples/ figures/

The layout is public: other programs read it. It changes only together with `LAYOUT_VERSION`.
"""

import fcntl
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from altgrad.training.line_log import (
    LineLog,
    json_line,
    read_events,
    read_metrics,
)
from altgrad.training.line_log import read_jsonl as read_jsonl

LAYOUT_VERSION = 1
END_STATES = ("finished", "interrupted", "failed", "diverged")


class RunFolder:
    """Paths of a run and small writes to it. Nothing exists on disk before `create()`."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._lock: int | None = None
        self._events = LineLog(self.root / "events.jsonl")

    config = property(lambda self: self.root / "config.yaml")
    environment = property(lambda self: self.root / "environment.json")
    data = property(lambda self: self.root / "data.json")
    metrics = property(lambda self: self.root / "metrics.jsonl")
    events = property(lambda self: self.root / "events.jsonl")
    checkpoints = property(lambda self: self.root / "checkpoints")
    samples = property(lambda self: self.root / "samples")
    figures = property(lambda self: self.root / "figures")

    def create(self) -> None:
        """Make the folder, take its lock and point `latest` beside it here.

        Raises:
            ValueError: another process is writing this run, or the folder cannot be made.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"cannot make the run folder {self.root}: {error.strerror}.") from None
        self.lock()
        _point(self.root.parent / "latest", self.root)

    def lock(self) -> None:
        """Hold the run for this process until it ends or `unlock()`."""
        if self._lock is not None:
            return
        try:
            lock = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ValueError(f"cannot write into {self.root}: {error.strerror}.") from None
        if not _locked_soon(lock):
            os.close(lock)
            raise ValueError(
                f"another process is writing {self.root}; wait for it, or choose another run_dir."
            )
        self._lock = lock

    def run_id(self) -> str | None:
        """The id that the run got when it was started; None if it was not, or cannot be read."""
        ids = (e.get("run") for e in read_events(self.events))
        return next((i for i in ids if i and isinstance(i, str)), None)

    def tracker_ids(self) -> dict[str, str]:
        """Tracker -> the id under which it has had this run."""
        events = (e for e in read_events(self.events) if e["event"] == "tracker")
        pairs = ((e.get("name"), e.get("id")) for e in events)
        return {n: i for n, i in pairs if isinstance(n, str) and isinstance(i, str)}

    def unlock(self) -> None:
        self._events.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write_json(self, path: Path, content: Any) -> None:
        write_atomically(path, json.dumps(content, indent=2, sort_keys=False) + "\n")

    def event(self, kind: str, **details: Any) -> None:
        """Append one dated line to `events.jsonl`; a disk that refuses it gets it later."""
        self._events.append({"time": round(time.time(), 3), "event": kind, **details})

    def sync(self) -> None:
        """Events so far survive a power cut.

        Raises:
            OSError: the disk refuses.
        """
        self._events.sync()

    def forget_metrics_after(self, step: int) -> None:
        """Drop metric lines of steps that a resumed run will take again, and a torn last line."""
        if self.metrics.exists():
            kept = [json_line(m) for m in read_metrics(self.metrics) if m["step"] <= step]
            write_atomically(self.metrics, "".join(kept))


def _locked_soon(lock: int, patience_s: float = 0.5) -> bool:
    """Somebody who only asks for the run's state holds the lock for a moment: try again."""
    end = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.02)


def write_atomically(path: Path, text: str) -> None:
    """Either the old content or the new one is there, whatever happens in between."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        error.filename = str(path)  # a failed write names no file, an open the temporary one
        raise


def _point(link: Path, target: Path) -> None:
    """A relative symbolic link, replaced in one step; a file system without links has none."""
    temporary = link.with_name(f".latest.{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target.name)
        temporary.replace(link)
    except OSError:
        temporary.unlink(missing_ok=True)


def new_run_path(config: dict[str, Any], base: str | Path = "runs") -> Path:
    """`runs/20261120-143000-3fa9c1`: sorts by time; the hash keeps simultaneous runs apart."""
    seed = json.dumps([config, os.getpid(), time.time_ns()], default=str)
    digest = hashlib.sha256(seed.encode()).hexdigest()[:6]
    return Path(base) / f"{time.strftime('%Y%m%d-%H%M%S')}-{digest}"


def is_locked(root: Path) -> bool:
    """Whether a living process holds the run."""
    try:
        with (root / ".lock").open("r", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def run_status(root: Path) -> str:
    """`running`, `finished`, `interrupted`, `failed` or `diverged`; a killed run is interrupted."""
    if is_locked(root):
        return "running"
    kinds = [e["event"] for e in read_events(root / "events.jsonl")]
    last = next((k for k in reversed(kinds) if k in (*END_STATES, "started", "resumed")), "")
    return last if last in END_STATES else "interrupted"


def find_runs(base: str | Path = "runs") -> list[Path]:
    """Run folders below `base`, oldest first."""
    found = Path(base).glob("*/config.yaml")
    return sorted((p.parent for p in found if not p.parent.is_symlink()), key=lambda p: p.name)


def resolve_run(name: str | Path | None, base: str | Path = "runs") -> Path:
    """A run by path, by name below `base`, or the latest one for `None`.

    Raises:
        ValueError: there is no such run.
    """
    candidates = [Path(base) / "latest"] if name is None else [Path(name), Path(base) / name]
    for path in candidates:
        if (path / "config.yaml").is_file():
            return path.resolve() if path.is_symlink() else path
    if name is None:
        raise ValueError(f"no run yet below {base}/; start one with `altgrad train`.")
    raise ValueError(f"{name} is not a run folder (no config.yaml); `altgrad show` lists the runs.")
