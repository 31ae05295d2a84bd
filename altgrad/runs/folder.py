"""The folder of one run: its layout, its names, and reading it back. Loads neither torch nor numpy.

    config.yaml        every setting, resolved         metrics.jsonl   one line a step
    environment.json   machine, versions, commit       events.jsonl    started, saved, finished, …
    data.json          corpus, tokenizer, sha256       checkpoints/ samples/ figures/
    code/              outside code it was begun with
    weights.json       hashes of the initial weights

The layout is public: other programs read it. It changes only together with `LAYOUT_VERSION`.
"""

import fcntl
import hashlib
import json
import os
import socket
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from altgrad.runs.disk import Disk
from altgrad.runs.lines import LineLog, json_line, read_events, read_metrics
from altgrad.runs.metrics_record import what_a_finished_run_lost
from altgrad.runs.strict_json import json_text

LAYOUT_VERSION = 1
END_STATES = ("finished", "interrupted", "failed", "diverged")


class FolderLostError(ValueError):
    """The run's folder no longer lies where it was, or another process has it."""

    def __init__(self, root: Path) -> None:
        super().__init__(
            f"{root} was moved, deleted or taken by another process while the run wrote it (its "
            ".lock is not the one that was taken): stopped without writing more; `altgrad resume` "
            "the folder where it is now."
        )


class RunFolder:
    """Paths of a run and small writes to it. Nothing exists on disk before `create()`."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._lock = FileLock(self.root / ".lock")
        self._events = LineLog(self.root / "events.jsonl")

    config = property(lambda self: self.root / "config.yaml")
    environment = property(lambda self: self.root / "environment.json")
    data = property(lambda self: self.root / "data.json")
    weights = property(lambda self: self.root / "weights.json")
    metrics = property(lambda self: self.root / "metrics.jsonl")
    events = property(lambda self: self.root / "events.jsonl")
    checkpoints = property(lambda self: self.root / "checkpoints")
    samples = property(lambda self: self.root / "samples")
    figures = property(lambda self: self.root / "figures")
    code = property(lambda self: self.root / "code")

    def create(self) -> str:
        """Make the folder, take its lock and point `latest` beside it here.

        Returns:
            What a person should know of it, or an empty text.

        Raises:
            ValueError: another process is writing this run, or the folder cannot be made.
        """
        try:
            if not self.root.is_dir():
                Disk().make_folder(self.root)
        except OSError as error:
            raise ValueError(f"cannot make the run folder {self.root}: {error.strerror}.") from None
        self.lock()
        return _point(self.root.parent / "latest", self.root)

    def lock(self) -> None:
        """Hold the run for this process until it ends or `unlock()`."""
        try:
            taken = self._lock.take()
        except OSError as error:
            raise ValueError(f"cannot write into {self.root}: {error.strerror}.") from None
        if not taken:
            raise ValueError(
                f"another process is writing {self.root}; wait for it, or choose another run_dir."
            )

    def is_ours(self) -> bool:
        """Whether the path still leads to the folder that is locked: it was not moved, deleted or
        taken by another process."""
        return self._lock.is_in_place()

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
        self._lock.release()

    def write_json(self, path: Path, content: Any) -> None:
        write_atomically(path, json_text(content, indent=2) + "\n")

    def event(self, kind: str, **details: Any) -> None:
        """Append one dated line to `events.jsonl`; a disk that refuses it gets it later."""
        self._events.append({"time": round(time.time(), 3), "event": kind, **details})

    def sync(self) -> None:
        """Events so far survive a power cut.

        Raises:
            OSError: the disk refuses.
        """
        self._events.sync()

    def forget_metrics_after(self, step: int, lines: int | None = None) -> None:
        """Drop metric lines of steps that a resumed run will take again, those behind the first
        `lines`, and a torn last line."""
        if self.metrics.exists():
            known = islice(read_metrics(self.metrics), lines)
            kept = [json_line(m) for m in known if m.get("step", step) <= step]
            write_atomically(self.metrics, "".join(kept))


class FileLock:
    """A file that one living process holds.

    flock(2): the system lets go of it when the process ends, however it ends, so that no lock is
    ever left behind by a kill. The file itself stays: removing it would let two processes hold two
    files of one name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    def take(self) -> bool:
        """Whether it is ours now, or was before.

        Raises:
            OSError: the file cannot be made.
        """
        if self._handle is None:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            if not _locked_soon(handle):
                os.close(handle)
                return False
            self._handle = handle
            _sign(handle)
        return True

    def is_in_place(self) -> bool:
        """False once the path leads to another file than the one that is held, or to none."""
        if self._handle is None:
            return True
        try:
            return os.path.samestat(os.fstat(self._handle), os.stat(self.path))
        except OSError:
            return False

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _sign(lock: int) -> None:
    """Who holds it, for whoever wants to ask that process to stop."""
    with suppress(OSError):  # a full disk: it is locked all the same
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)


def lock_holder(root: Path) -> int | None:
    """The process of this machine that holds the run; None where nobody does, or one elsewhere."""
    if not is_locked(root):
        return None
    try:
        pid, host = (root / ".lock").read_text(encoding="utf-8").split()
        here = host == socket.gethostname() and int(pid) > 0
        return int(pid) if here and _has_open(int(pid), root / ".lock") else None
    except (OSError, ValueError):  # an older altgrad's is empty
        return None


def _has_open(pid: int, path: Path) -> bool:
    """Whether the process has the file open, as far as this system tells: a file that names a
    process proves nothing, and numbers of processes are used again."""
    if not Path("/proc/self/fd").is_dir():
        return True
    for opened in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            if path.samefile(opened):
                return True
    return False


def is_inside(path: Path, folder: Path) -> bool:
    """Links followed: what a folder only points at does not lie in it."""
    return path.resolve().is_relative_to(folder.resolve())


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
    """Either the old content or the new one is there, whatever happens in between; the new one for
    good once this returns."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            # Before the rename: some file systems rename first and write the content later, and a
            # power cut in between leaves an empty file under the good name.
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        error.filename = str(path)  # a failed write names no file, an open the temporary one
        raise
    Disk().flush_folder(path.parent)  # the new name, too, must survive a power cut


def _point(link: Path, target: Path) -> str:
    """A relative symbolic link, replaced in one step; a file system without links has none.

    Returns:
        Why the link was left alone, or an empty text.
    """
    if os.path.lexists(link) and not _points_at_a_run(link):
        return f"{link} is not a link to a run: it is left as it is" if link != target else ""
    temporary = link.with_name(f".latest.{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target.name)
        temporary.replace(link)
    except OSError:
        temporary.unlink(missing_ok=True)
    return ""


def _points_at_a_run(link: Path) -> bool:
    """A link as `_point` makes them: to a neighbour that is a run, or was one until deleted."""
    if not link.is_symlink() or link.readlink().name != str(link.readlink()):
        return False
    return not link.exists() or any((link / name).is_file() for name in (".lock", "config.yaml"))


def new_run_path(config: dict[str, Any], base: str | Path = "runs") -> Path:
    """`runs/20261120-143000-3fa9c1`: sorts by time; the hash keeps simultaneous runs apart."""
    seed = json.dumps([config, os.getpid(), time.time_ns()], default=str)
    digest = hashlib.sha256(seed.encode()).hexdigest()[:6]
    return Path(base) / f"{time.strftime('%Y%m%d-%H%M%S')}-{digest}"


def is_locked(root: Path) -> bool:
    """Whether a living process holds the run."""
    try:
        with (root / ".lock").open("r", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: askers do not see each other
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def run_status(root: Path) -> str:
    """`running`, `finished`, `interrupted`, `failed` or `diverged`; a killed run is interrupted.

    A finished run whose metrics are not what was written is `damaged`.
    """
    said = said_status(root)
    return "damaged" if said == "finished" and what_is_lost(root) else said


def said_status(root: Path) -> str:
    """What the folder says of itself: the same without holding the metrics against their record,
    for which all of them must be read."""
    if is_locked(root):
        return "running"
    last = _last_session_event(root).get("event")
    return last if last in END_STATES else "interrupted"


def what_is_lost(root: Path) -> str:
    """What the record of a finished run lacks, in words; empty if it is whole, or not finished."""
    last = _last_session_event(root)
    return what_a_finished_run_lost(root, last) if last.get("event") == "finished" else ""


def _last_session_event(root: Path) -> dict[str, Any]:
    """The last start or end of a session."""
    kinds = (*END_STATES, "started", "resumed")
    events = [e for e in read_events(root / "events.jsonl") if e.get("event") in kinds]
    return events[-1] if events else {}


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
