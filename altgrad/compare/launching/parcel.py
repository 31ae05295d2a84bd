"""A folder on its way to another machine: every file with its sha256; it arrives whole or not."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from altgrad.runs import Disk


class DamagedParcel(ValueError):
    """What arrived is not what was sent: which file, and how it differs."""


@dataclass(frozen=True)
class Parcel:
    """The files of a folder. contents: name below the folder -> its bytes (uint8), which Ray hands
    over without copying. sha256: taken where they were read."""

    contents: dict[str, np.ndarray] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)

    @property
    def newest_step(self) -> int:
        """Of its checkpoints; -1 without any."""
        return max((step_in(name) for name in self.contents), default=-1)


def pack(folder: Path) -> Parcel:
    """All files of a folder that nobody writes to. Locks and unfinished parts stay behind."""
    contents = {name: np.fromfile(folder / name, dtype=np.uint8) for name in files_of(folder)}
    return Parcel(contents, {name: _digest(content) for name, content in contents.items()})


def files_of(folder: Path) -> list[str]:
    """Names of the files below a folder but for hidden ones (`.lock`) and links."""
    return list(_below(folder, PurePosixPath()))


def _below(folder: Path, within: PurePosixPath) -> Iterator[str]:
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in entries:
        if path.name.startswith(".") or path.is_symlink():
            continue
        if path.is_dir():
            yield from _below(path, within / path.name)
        else:
            yield str(within / path.name)


def unpack(parcel: Parcel, folder: Path) -> None:
    """Write the files; each is on the disk, and what was sent, when this returns.

    Raises:
        DamagedParcel: a file is missing, changed, or named out of the folder.
        OSError: the disk refuses.
    """
    if parcel.contents.keys() != parcel.sha256.keys():
        raise DamagedParcel(f"{folder.name} arrived with other files than were sent")
    disk = Disk()
    for name, content in parcel.contents.items():
        path = folder / inside(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if disk.write(path, [content.data])["sha256"] != parcel.sha256[name]:
            raise DamagedParcel(f"{folder.name}/{name} arrived damaged: its sha256 differs")


def arrive(parcel: Parcel, run: Path) -> None:
    """Put a run folder that comes from elsewhere in its place, for the one that is there.

    It is written aside and renamed, so that what lies at `run` is always a whole run: the earlier
    state, or this one. Raises as `unpack`.
    """
    new, old = _aside(run, "new"), _aside(run, "old")
    disk = Disk()
    disk.remove(new)
    unpack(parcel, new)
    disk.flush_folder(new)
    if run.is_dir():
        disk.remove(old)
        old.parent.mkdir(parents=True, exist_ok=True)
        disk.rename(run, old)
    disk.rename(new, run)
    disk.flush_folder(run.parent)
    disk.remove(old)


def put_back(run: Path) -> None:
    """The earlier state of a run, where a kill between the two renames of `arrive` took it away."""
    old = _aside(run, "old")
    if old.is_dir() and not run.exists():
        Disk().rename(old, run)


def _aside(run: Path, what: str) -> Path:
    """Two folders down: `find_runs` takes nothing there for a run."""
    return run.parent / ".arriving" / what / run.name


def inside(name: str) -> PurePosixPath:
    """The name as a path that stays below its folder. Raises DamagedParcel if it does not."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise DamagedParcel(f"{name!r} lies outside of the folder that was sent")
    return path


def step_in(name: str) -> int:
    """`checkpoints/step_00000040/manifest.json` -> 40: only a checkpoint that is whole has one."""
    parts = PurePosixPath(name).parts
    whole = len(parts) == 3 and parts[0] == "checkpoints" and parts[2] == "manifest.json"
    number = parts[1].removeprefix("step_") if whole else ""
    return int(number) if number.isdigit() else -1


def _digest(content: np.ndarray) -> str:
    return hashlib.sha256(content.data).hexdigest()
