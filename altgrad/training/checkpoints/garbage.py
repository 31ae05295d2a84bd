"""Making room in a run folder: what no resume, sample or comparison will ever need."""

from dataclasses import dataclass
from pathlib import Path

from altgrad.runs import Disk, RunFolder, checkpoint_folder, is_inside, read_settings
from altgrad.training.checkpoints.files import verify_files
from altgrad.training.checkpoints.manager import (
    ASIDE,
    CheckpointManager,
    checkpoints_of,
    remove_checkpoint,
)
from altgrad.training.checkpoints.manifest import CheckpointError, UnreadableError, read_manifest


@dataclass(frozen=True)
class Garbage:
    """A folder to remove: where, how large, and why it is not needed."""

    path: Path
    bytes: int
    why: str


def find_garbage(run: Path, *, keep: int | None = None, anomalies: bool = False) -> list[Garbage]:
    """What `collect_garbage` would remove; reads every byte of every checkpoint.

    Where the checkpoints lie outside the run's folder, only those that say they are this run's; and
    nowhere one that the disk does not give out now, but may again.

    Args:
        keep: how many of the newest checkpoints stay, beside the best; by default the run's own
            `max_checkpoints`.
        anomalies: the states kept with bad batches, too.
    """
    settings = read_settings(RunFolder(run).config)
    folder = checkpoint_folder(run, settings)
    keep = settings["max_checkpoints"] if keep is None else keep
    if keep < 1:
        raise ValueError(f"--keep {keep} must be at least 1.")
    manager = checkpoints_of(run, keep=keep)
    found = [_garbage(p, "left by a process that was killed") for p in folder.glob(".step_*")]
    found += [_garbage(p, "set aside when the run was resumed") for p in folder.glob(f"{ASIDE}*")]
    found += _surplus(manager)
    if anomalies:
        found += [_garbage(p, "anomaly") for p in (folder / "anomalies").glob("step_*")]
    inside = is_inside(folder, run)
    return [g for g in found if _may_go(g.path, manager.run, inside=inside)]


def _may_go(path: Path, run: str | None, *, inside: bool) -> bool:
    try:
        owner = read_manifest(path).run
    except UnreadableError:
        return False
    except CheckpointError:
        return inside
    return inside if None in (owner, run) else owner == run


def _surplus(manager: CheckpointManager) -> list[Garbage]:
    """Never the last checkpoints that verify, however many newer ones are damaged."""
    sound, damaged = [], []
    for path in manager.all():
        try:
            verify_files(path)
            sound.append(path)
        except UnreadableError:
            continue
        except CheckpointError as error:
            damaged.append(_garbage(path, str(error)))
    if not sound:
        return []
    kept = {*sound[-manager.max_checkpoints :], manager.best()}
    return damaged + [_garbage(p, "neither new nor the best") for p in sound if p not in kept]


def _garbage(path: Path, why: str) -> Garbage:
    files = (f for f in path.rglob("*") if f.is_file() and not f.is_symlink())
    return Garbage(path, sum(f.stat().st_size for f in files), why)


def collect_garbage(
    run: Path, *, keep: int | None = None, anomalies: bool = False
) -> list[Garbage]:
    """Remove it, holding the run's lock.

    Raises:
        ValueError: another process is writing the run.
    """
    folder = RunFolder(run)
    folder.lock()
    try:
        manager = checkpoints_of(run)
        if is_inside(manager.directory, run):
            manager.tidy()
        found = find_garbage(run, keep=keep, anomalies=anomalies)
        for garbage in found:
            _remove(garbage.path)
        folder.event("collected", folders=len(found), bytes=sum(g.bytes for g in found))
    finally:
        folder.unlock()
    return found


def _remove(path: Path) -> None:
    if path.name.startswith("step_"):
        remove_checkpoint(path)
    else:
        Disk().remove(path)
