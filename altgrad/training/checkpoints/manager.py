"""The checkpoints of one run: which are kept, which is the best, which is the newest that loads.

What lies in one of them, and how it gets there whole: `files.py`.
"""

import math
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from altgrad.runs import Disk, RunFolder, checkpoint_folder, read_settings
from altgrad.training.checkpoints.files import (
    Captured,
    Checkpoint,
    HostBuffers,
    capture,
    read_checkpoint,
    read_model,
    verify_files,
    write_checkpoint,
)
from altgrad.training.checkpoints.manifest import (
    MANIFEST,
    CheckpointError,
    looks_whole,
    read_manifest,
)
from altgrad.training.checkpoints.tied_weights import load_into

NAME = re.compile(r"step_\d{8,}")
REPLACED = re.compile(r"\.(step_\d{8,})\.old")
"""A checkpoint that was being replaced when the process was killed."""
ASIDE = "aside_"
"""Before the name of a checkpoint that a resumed run must not meet again: damaged, or from a
future that is now taken anew. `altgrad gc` removes them."""


@dataclass(frozen=True)
class Skipped:
    """A checkpoint that was not used, and why."""

    path: Path
    reason: str


class CheckpointManager:
    """Saves checkpoints into a folder and keeps the newest `max_checkpoints` and the best.

    Args:
        directory: made at the first save.
        max_checkpoints: how many of the newest to keep.
        run: id of the run; checkpoints of another run in the same folder are left alone. None
            takes everybody's.
        disk: another one for tests.
    """

    def __init__(
        self,
        directory: str | Path,
        max_checkpoints: int = 2,
        *,
        run: str | None = None,
        disk: Disk | None = None,
    ) -> None:
        if max_checkpoints < 1:
            raise ValueError(f"max_checkpoints={max_checkpoints} must be at least 1.")
        self.directory = Path(directory)
        self.max_checkpoints = max_checkpoints
        self.run = run
        self.disk = disk or Disk()

    def save(
        self,
        step: int,
        model: nn.Module | dict[str, Tensor],
        optimizer: Any = None,
        scaler: Any = None,
        config: Any = None,
        val_loss: float = math.inf,
        *,
        extra: dict[str, Any] | None = None,
    ) -> Path:
        """Save one step; older checkpoints go only after the new one is safe.

        `model`, `optimizer` and `scaler` may be objects or their state dicts; `extra` is any nest
        of dicts, lists, tensors, numbers and texts.
        """
        state = {"optimizer": optimizer, "scaler": scaler, "config": config}
        return self.write(self.capture(step, model, **state, val_loss=val_loss, extra=extra))

    def capture(
        self,
        step: int,
        model: nn.Module | dict[str, Tensor],
        optimizer: Any = None,
        scaler: Any = None,
        config: Any = None,
        val_loss: float = math.inf,
        *,
        extra: dict[str, Any] | None = None,
        buffers: HostBuffers | None = None,
    ) -> Captured:
        """The first half of `save`; with `buffers` a copy that no later step can change."""
        content = Checkpoint(
            step=step,
            model=_state_of(model),
            optimizer=_state_of(optimizer),
            scaler=_state_of(scaler),
            config=config if isinstance(config, dict) else config.to_dict() if config else {},
            val_loss=float(val_loss),
            extra=extra or {},
            run=self.run,
        )
        return capture(content, buffers)

    def write(self, captured: Captured) -> Path:
        """The second half of `save`: to the disk, and remove what is no longer kept."""
        path = self.directory / f"step_{captured.step:08d}"
        if (other := self.owner_of(path)) is not None:
            raise PermissionError(f"{path} is a checkpoint of another run ({other})")
        write_checkpoint(path, captured, self.disk)
        self._remove_surplus()
        return path

    def all(self) -> list[Path]:
        """Saved steps of this run, oldest first, as far as a glance can tell."""
        return [p for p in self.named() if self._is_mine(p)]

    def _is_mine(self, path: Path) -> bool:
        """A damaged checkpoint says no owner: it is taken for ours, so that it gets reported."""
        return os.path.exists(path / MANIFEST) and self.owner_of(path) is None

    def owner_of(self, path: Path) -> str | None:
        """The id of another run that a checkpoint says it is of; None if it says none, or ours."""
        try:
            owner = read_manifest(path).run
        except CheckpointError:
            return None
        return owner if None not in (owner, self.run) and owner != self.run else None

    def others(self) -> dict[Path, str]:
        """Checkpoints of other runs -> whose."""
        found = {path: self.owner_of(path) for path in self.named()}
        return {path: owner for path, owner in found.items() if owner is not None}

    def latest(self) -> Path | None:
        """The newest checkpoint, or None."""
        saved = self.all()
        return saved[-1] if saved else None

    def best(self) -> Path | None:
        """The checkpoint with the lowest validation loss, or None if none was evaluated."""
        rated = [(loss, path) for path in self.all() if math.isfinite(loss := read_val_loss(path))]
        return min(rated)[1] if rated else None

    def load_newest(
        self, check: Callable[[Checkpoint], None] = lambda _: None
    ) -> tuple[Path, Checkpoint, list[Skipped]] | None:
        """The newest checkpoint that verifies, and those skipped before it; None if there are none.

        `check` may refuse one by a CheckpointError.

        Raises:
            CheckpointError: there are checkpoints, but none verifies.
        """
        skipped: list[Skipped] = []
        for path in reversed(self.named()):
            try:
                saved = self._load_own(path)
                check(saved)
                return path, saved, skipped
            except CheckpointError as error:
                skipped.append(Skipped(path, str(error)))
        if not skipped:
            return None
        reasons = " ".join(s.reason for s in skipped)
        raise CheckpointError(f"no checkpoint in {self.directory} can be used: {reasons}")

    def newest_whole(self) -> Path:
        """The newest checkpoint every file of which is what was written.

        Raises:
            CheckpointError: there is none.
        """
        for path in reversed(self.all()):
            if _verifies(path):
                return path
        others = self.others()
        theirs = f": those there are of another run ({min(others.values())})" if others else ""
        raise CheckpointError(f"no checkpoint in {self.directory}{theirs}.")

    def named(self) -> list[Path]:
        """Everything that is named like a checkpoint, whatever is in it; oldest first.

        One that was being replaced when the process was killed counts where no other has its name.
        """
        found = {p.name: p for p in self.directory.glob("step_*") if NAME.fullmatch(p.name)}
        for old in self.directory.glob(".step_*.old"):
            if match := REPLACED.fullmatch(old.name):
                found.setdefault(match[1], old)
        return [found[name] for name in sorted(found, key=lambda n: int(n[5:]))]

    def _load_own(self, path: Path) -> Checkpoint:
        saved = load_checkpoint(path)
        if (owner := self.owner_of(path)) is not None:
            raise CheckpointError(f"{path} belongs to another run ({owner}).")
        return saved

    def set_aside(self, path: Path) -> Path:
        """Take a checkpoint out of the way without deleting it."""
        target = path.with_name(ASIDE + path.name)
        self.disk.remove(target)
        self.disk.rename(path, target)
        return target

    def state_with(self, step: int, val_loss: float) -> dict[str, Any]:
        """What the manager holds once `step` is saved: validation losses, and the best's name."""
        kept = {p.name: read_val_loss(p) for p in self.all()} | {f"step_{step:08d}": val_loss}
        rated = [(loss, name) for name, loss in kept.items() if math.isfinite(loss)]
        return {"kept": kept, "best": min(rated)[1] if rated else None}

    def has_lost(self, state: dict[str, Any]) -> str | None:
        """Name of the best checkpoint of a saved list if it is no longer there, else None."""
        best = state["best"] if self.named() else None
        return best if best is not None and not looks_whole(self.directory / best) else None

    def tidy(self) -> None:
        """Clear what a killed process left: put back what it was replacing, drop unfinished parts.

        Only for the process that holds the run's lock.
        """
        for old in self.directory.glob(".step_*.old"):
            name = self.directory / old.name[1:].removesuffix(".old")
            if not name.exists():
                self.disk.rename(old, name)
        for part in self.directory.glob(".step_*"):
            self.disk.remove(part)

    def _remove_surplus(self) -> None:
        """Only whole checkpoints count as kept, so a damaged one never displaces a good one."""
        whole = [p for p in self.all() if looks_whole(p)]
        keep = {*whole[-self.max_checkpoints :], self.best()}
        for path in whole:
            if path not in keep:
                # The new one is safe: an old one that will not go is no failure of the save.
                with suppress(OSError):
                    remove_checkpoint(path, self.disk)


def _state_of(thing: Any) -> Any:
    return thing.state_dict() if hasattr(thing, "state_dict") else thing


def step_of(path: Path) -> int:
    """`step_00000500` -> 500, and so of one that was being replaced."""
    return int(path.name.rpartition("_")[2].removesuffix(".old"))


def read_val_loss(path: Path) -> float:
    """Validation loss that a checkpoint was saved with; inf if none, or not readable."""
    try:
        return float(read_manifest(path).val_loss)
    except CheckpointError:
        return math.inf


def save_checkpoint(path: str | Path, content: Checkpoint, *, disk: Disk | None = None) -> Path:
    """Write `content` as the folder `path`, whole or not at all."""
    return write_checkpoint(Path(path), capture(content), disk)


def save_checkpoint_content(path: Path, step: int, model: Any, **state: Any) -> Path:
    """The same from objects or their state dicts, as `CheckpointManager.save` takes them."""
    captured = CheckpointManager(path.parent).capture(step, model, **state)
    return write_checkpoint(path, captured)


def remove_checkpoint(path: Path, disk: Disk | None = None) -> None:
    """Take the name away first, so that a half-removed folder is never taken for a checkpoint."""
    disk = disk or Disk()
    doomed = path.with_name(f".{path.name}.gone")
    disk.remove(doomed)
    disk.rename(path, doomed)
    disk.remove(doomed)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint after checking that every file is what was written.

    Raises:
        CheckpointError: missing, damaged, hostile, of another version, or not our format at all.
    """
    path = Path(path)
    if path.is_file():
        raise CheckpointError(
            f"{path} is a file, a checkpoint of altgrad is a folder; files that need unpickling "
            "(.pt, .ckpt, .bin) can run code and are never opened."
        )
    saved = load_checkpoint_content(path)
    if NAME.fullmatch(path.name) and step_of(path) != saved.step:
        raise CheckpointError(f"{path} holds step {saved.step}: it was renamed.")
    return saved


def load_checkpoint_content(path: Path) -> Checkpoint:
    """Read the folder, whatever it is called, with the same check of every file."""
    return read_checkpoint(path)


def find_checkpoint(path: str | Path) -> Path:
    """`path` itself if it is a checkpoint, else the newest one that verifies of the run folder.

    Raises:
        CheckpointError: there is none.
    """
    path = Path(path)
    if path.is_file() or (path / MANIFEST).is_file():
        return path
    if RunFolder(path).config.is_file():
        return checkpoints_of(path).newest_whole()
    return CheckpointManager(path).newest_whole()


def checkpoints_of(run: Path, *, keep: int = 1) -> CheckpointManager:
    """The checkpoints of a run folder, wherever its settings say they lie; of no other run.

    Raises:
        ValueError: its config.yaml cannot be read.
    """
    folder = RunFolder(run)
    settings = read_settings(folder.config)
    return CheckpointManager(checkpoint_folder(run, settings), keep, run=folder.run_id())


def _verifies(path: Path) -> bool:
    try:
        verify_files(path)
    except CheckpointError:
        return False
    return True


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """Only the weights of a checkpoint, after the same check."""
    return read_model(Path(path))


__all__ = [
    "Checkpoint",
    "CheckpointError",
    "CheckpointManager",
    "Skipped",
    "find_checkpoint",
    "load_checkpoint",
    "load_into",
    "load_weights",
    "save_checkpoint",
]
