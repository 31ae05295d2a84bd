"""Checkpoints: a folder per saved step, nothing in it needs unpickling.

    step_00000500/model.safetensors    the weights, under the model's own names
                  state.safetensors    every other tensor: optimiser, generators, averages
                  state.json           everything that is not a tensor, and where the tensors go
                  manifest.json        sha256 and size of the three, written last

A checkpoint is written under a temporary name, flushed to disk and renamed, so a folder named
`step_*` is whole. Loading checks every sha256 first.
"""

import hashlib
import json
import math
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

FORMAT_VERSION = 1
FILES = ("model.safetensors", "state.safetensors", "state.json")


class CheckpointError(ValueError):
    """A checkpoint that cannot be used: which file, what is wrong with it."""


@dataclass
class Checkpoint:
    """The content of one checkpoint."""

    step: int
    model: dict[str, Tensor]
    optimizer: dict[str, Any] | None
    scaler: dict[str, Any] | None
    config: dict[str, Any]
    val_loss: float
    extra: dict[str, Any] = field(default_factory=dict)


class CheckpointManager:
    """Saves checkpoints into a folder and keeps the newest `max_checkpoints` and the best.

    Args:
        directory: made at the first save.
        max_checkpoints: how many of the newest to keep.
    """

    def __init__(self, directory: str | Path, max_checkpoints: int = 2) -> None:
        if max_checkpoints < 1:
            raise ValueError(f"max_checkpoints={max_checkpoints} must be at least 1.")
        self.directory = Path(directory)
        self.max_checkpoints = max_checkpoints

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

        `model`, `optimizer` and `scaler` may be objects or their state dicts.
        """
        content = Checkpoint(
            step=step,
            model=_state_of(model),
            optimizer=_state_of(optimizer),
            scaler=_state_of(scaler),
            config=config if isinstance(config, dict) else config.to_dict() if config else {},
            val_loss=float(val_loss),
            extra=extra or {},
        )
        path = save_checkpoint(self.directory / f"step_{step:08d}", content)
        self._remove_surplus()
        return path

    def all(self) -> list[Path]:
        """Saved steps, oldest first."""
        return sorted(p for p in self.directory.glob("step_*") if (p / "manifest.json").is_file())

    def latest(self) -> Path | None:
        """The newest checkpoint, or None."""
        saved = self.all()
        return saved[-1] if saved else None

    def best(self) -> Path | None:
        """The checkpoint with the lowest validation loss, or None if none was evaluated."""
        rated = [(loss, path) for path in self.all() if math.isfinite(loss := read_val_loss(path))]
        return min(rated)[1] if rated else None

    def _remove_surplus(self) -> None:
        keep = {*self.all()[-self.max_checkpoints :], self.best()}
        for path in self.all():
            if path not in keep:
                remove_checkpoint(path)


def _state_of(thing: Any) -> Any:
    return thing.state_dict() if hasattr(thing, "state_dict") else thing


def read_val_loss(path: Path) -> float:
    """Validation loss that a checkpoint was saved with; inf if none, or not readable."""
    try:
        return float(json.loads((path / "manifest.json").read_text())["val_loss"])
    except (OSError, ValueError, KeyError, TypeError):
        return math.inf


def save_checkpoint(path: Path, content: Checkpoint) -> Path:
    """Write `content` as the folder `path`, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        _write_files(temporary, content)
        _write_manifest(temporary, content)
        _replace_folder(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return path


def _write_files(folder: Path, content: Checkpoint) -> None:
    tensors: dict[str, Tensor] = {}
    state = {
        "optimizer": _encode(content.optimizer, "optimizer", tensors),
        "scaler": _encode(content.scaler, "scaler", tensors),
        "extra": _encode(content.extra, "extra", tensors),
        "config": content.config,
        "step": content.step,
        "val_loss": content.val_loss,
        "version": FORMAT_VERSION,
    }
    save_file(_without_aliases(content.model), folder / "model.safetensors")
    save_file(tensors, folder / "state.safetensors")
    (folder / "state.json").write_text(json.dumps(state))


def _write_manifest(folder: Path, content: Checkpoint) -> None:
    files = {name: _fingerprint(folder / name) for name in FILES}
    manifest = {
        "version": FORMAT_VERSION,
        "step": content.step,
        "val_loss": content.val_loss,
        "files": files,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))
    for name in (*FILES, "manifest.json"):
        _flush(folder / name)
    _flush(folder)


def _replace_folder(new: Path, path: Path) -> None:
    """Rename `new` to `path`; a folder that is there already is removed after, not before."""
    old = path.with_name(f".{path.name}.old.{os.getpid()}")
    if path.exists():
        path.rename(old)
    new.rename(path)
    _flush(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def remove_checkpoint(path: Path) -> None:
    """Take the name away first, so that a half-removed folder is never taken for a checkpoint."""
    doomed = path.with_name(f".{path.name}.old.{os.getpid()}")
    path.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint after checking that every file is what was written.

    Raises:
        CheckpointError: missing, damaged, or of another version.
    """
    path = Path(path)
    verify_checkpoint(path)
    state = json.loads((path / "state.json").read_text())
    tensors = load_file(path / "state.safetensors")
    return Checkpoint(
        step=state["step"],
        model=load_file(path / "model.safetensors"),
        optimizer=_decode(state["optimizer"], tensors),
        scaler=_decode(state["scaler"], tensors),
        config=state["config"],
        val_loss=state["val_loss"],
        extra=_decode(state["extra"], tensors),
    )


def find_checkpoint(path: str | Path) -> Path:
    """`path` itself if it is a checkpoint, else the newest one of the run folder `path`.

    Raises:
        CheckpointError: there is none.
    """
    path = Path(path)
    if (path / "manifest.json").is_file():
        return path
    for directory in (path, path / "checkpoints"):
        newest = CheckpointManager(directory).latest()
        if newest is not None:
            return newest
    raise CheckpointError(f"no checkpoint in {path}.")


def verify_checkpoint(path: Path) -> None:
    """Compare every file with the manifest.

    Raises:
        CheckpointError: naming the file and what is wrong with it.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_text())
        version, files = manifest["version"], dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError):
        raise CheckpointError(f"{path} is not a checkpoint: no readable manifest.json.") from None
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {version}; this altgrad reads {FORMAT_VERSION}."
        )
    for name in FILES:
        if files.get(name) != _fingerprint(path / name):
            raise CheckpointError(f"{path / name} is damaged: it differs from its manifest.")


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """Only the weights of a checkpoint, after the same check."""
    verify_checkpoint(Path(path))
    try:
        return load_file(Path(path) / "model.safetensors")
    except SafetensorError as error:
        raise CheckpointError(f"{path}/model.safetensors cannot be read: {error}.") from None


def load_into(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load weights saved without the second names of tied parameters.

    Raises:
        CheckpointError: a name or shape that does not fit the model.
    """
    own = model.state_dict()
    names = _alias_of(own)
    missing = [n for n in own if n not in weights and names.get(n) not in weights]
    surplus = [n for n in weights if n not in own]
    wrong = [n for n in weights if n in own and own[n].shape != weights[n].shape]
    if missing or surplus or wrong:
        first = [*missing, *surplus, *wrong][0]
        raise CheckpointError(
            f"the checkpoint does not fit the model: {len(missing)} missing, "
            f"{len(surplus)} unknown and {len(wrong)} differently shaped tensors, first {first!r}."
        )
    model.load_state_dict(weights, strict=False)


def _without_aliases(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each storage once: safetensors refuses tensors that share memory."""
    aliases = _alias_of(state)
    return {n: t.detach().cpu().contiguous() for n, t in state.items() if n not in aliases}


def _alias_of(state: dict[str, Tensor]) -> dict[str, str]:
    """Second name of a tied tensor -> its first name."""
    first: dict[tuple[int, ...], str] = {}
    aliases = {}
    for name, tensor in state.items():
        key = (tensor.data_ptr(), tensor.numel(), *tensor.shape)
        if tensor.numel() and key in first:
            aliases[name] = first[key]
        first.setdefault(key, name)
    return aliases


def _fingerprint(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": path.stat().st_size, "sha256": digest}
    except OSError:
        return None


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _encode(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Nested state -> JSON, with every tensor moved into `tensors` under a name."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"__tensor__": name}
    if isinstance(value, dict):
        items = [[k, _encode(v, f"{name}.{k}", tensors)] for k, v in value.items()]
        return {"__dict__": items}
    if isinstance(value, list | tuple):
        kind = "__tuple__" if isinstance(value, tuple) else "__list__"
        return {kind: [_encode(v, f"{name}.{i}", tensors) for i, v in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"cannot save {name}: {type(value).__name__}")


def _decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "__tensor__":
        return tensors[content]
    if kind == "__dict__":
        return {k: _decode(v, tensors) for k, v in content}
    items = [_decode(v, tensors) for v in content]
    return tuple(items) if kind == "__tuple__" else items


__all__ = [
    "Checkpoint",
    "CheckpointError",
    "CheckpointManager",
    "find_checkpoint",
    "load_checkpoint",
    "load_into",
    "load_weights",
    "save_checkpoint",
]
