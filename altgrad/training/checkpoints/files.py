"""One checkpoint: a folder, nothing in it needs unpickling.

    step_00000500/model.safetensors    the weights, under the model's own names
                  state.safetensors    every other tensor: optimiser, generators, averages
                  state.json           everything that is not a tensor, and where the tensors go
                  manifest.json        sha256 and size of the three, whose it is; written last

It is written under a temporary name, flushed to disk and renamed, so a folder named `step_*` is
whole. It is loaded only if every file is, byte for byte, what the manifest says.
"""

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from altgrad.runs import PIECE_BYTES, Disk
from altgrad.training.checkpoints.manifest import (
    FILES,
    MANIFEST,
    CheckpointError,
    Manifest,
    open_regular,
    read_manifest,
    readable,
)
from altgrad.training.checkpoints.state_json import decode, encode
from altgrad.training.checkpoints.tensor_file import (
    HEADER_LIMIT,
    parse_header,
    tensor_pieces,
    tensors_of,
)
from altgrad.training.checkpoints.tied_weights import without_aliases

STATE_LIMIT = 256 << 20
"""Bytes of state.json read at most: ours have kilobytes, a stranger's could fill the memory."""


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
    run: str | None = None


@dataclass
class Captured:
    """A checkpoint ready to be written: tensors on the CPU, the rest as JSON text."""

    step: int
    val_loss: float
    run: str | None
    model: dict[str, Tensor]
    tensors: dict[str, Tensor]
    text: bytes


class HostBuffers:
    """Copies of tensors in memory that is used again at the next save.

    Fresh memory costs several times the copy itself (the system must first clear every page).
    """

    def __init__(self) -> None:
        self._held: dict[str, Tensor] = {}

    def copy(self, tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
        return {name: self._copy(f"{prefix}/{name}", t) for name, t in tensors.items()}

    def _copy(self, key: str, tensor: Tensor) -> Tensor:
        held = self._held.get(key)
        if held is None or held.shape != tensor.shape or held.dtype != tensor.dtype:
            held = torch.empty(tensor.shape, dtype=tensor.dtype)
            self._held[key] = held
        return held.copy_(tensor)


def capture(content: Checkpoint, buffers: HostBuffers | None = None) -> Captured:
    """The checkpoint as it is now.

    With `buffers` it is a copy, so that training can go on while it is written; without, tensors
    on the CPU are not copied.

    Raises:
        TypeError: the state holds something that cannot be saved.
    """
    tensors: dict[str, Tensor] = {}
    state = {
        "optimizer": encode(content.optimizer, "optimizer", tensors),
        "scaler": encode(content.scaler, "scaler", tensors),
        "extra": encode(content.extra, "extra", tensors),
        "config": content.config,
        "step": content.step,
        "val_loss": content.val_loss,
    }
    model = without_aliases(content.model)
    if buffers is not None:
        model, tensors = buffers.copy(model, "model"), buffers.copy(tensors, "state")
    return Captured(
        step=content.step,
        val_loss=content.val_loss,
        run=content.run,
        model=_on_host(model),
        tensors=_on_host(tensors),
        text=json.dumps(state).encode(),
    )


def _on_host(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n: t.detach().cpu().contiguous() for n, t in tensors.items()}


def write_checkpoint(path: Path, captured: Captured, disk: Disk | None = None) -> Path:
    """Write the folder `path`, whole or not at all; what was there before stays until then."""
    disk = disk or Disk()
    # Beside its final place: a rename is atomic within one file system only.
    temporary = path.with_name(f".{path.name}.part.{os.getpid()}")
    disk.remove(temporary)
    try:
        disk.make_folder(temporary)
        files = {
            "model.safetensors": tensor_pieces(captured.model),
            "state.safetensors": tensor_pieces(captured.tensors),
            "state.json": [captured.text],
        }
        written = {name: disk.write(temporary / name, pieces) for name, pieces in files.items()}
        # Last, and flushed before the rename: with a manifest a folder claims to be whole.
        manifest = Manifest(captured.step, captured.val_loss, captured.run, written)
        disk.write(temporary / MANIFEST, [manifest.to_bytes()])
        disk.flush_folder(temporary)
        _put_in_place(temporary, path, disk)
    except BaseException:
        disk.remove(temporary)
        raise
    return path


def _put_in_place(new: Path, path: Path, disk: Disk) -> None:
    """Rename `new` to `path`; a folder that is there already is removed after, not before."""
    old = path.with_name(f".{path.name}.old")
    # A folder cannot be renamed onto one that is not empty: the old one steps aside, and is found
    # there (`CheckpointManager.named`) if we are killed before the new one has its place.
    if path.exists():
        disk.remove(old)
        disk.rename(path, old)
    try:
        disk.rename(new, path)
    except OSError:
        if old.exists():
            disk.rename(old, path)
        raise
    # Flushed before the old one goes: at no moment are both of them off the disk.
    disk.flush_folder(path.parent)
    disk.remove(old)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, every file once, checking it on the way.

    Raises:
        CheckpointError: missing, damaged, hostile, too large for this machine, another version.
    """
    manifest = read_manifest(path)
    _refuse_what_does_not_fit(path, manifest)
    # Hashing and reading let go of the interpreter: the two large files are read at once.
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(_read_tensors, path / n, manifest.files[n]) for n in FILES[:2]]
        state = _read_state(path / "state.json", manifest.files["state.json"])
        model, tensors = [job.result() for job in jobs]
    try:
        return Checkpoint(
            step=manifest.step,
            model=model,
            optimizer=decode(state["optimizer"], tensors),
            scaler=decode(state["scaler"], tensors),
            config=dict(state["config"]),
            val_loss=manifest.val_loss,
            extra=decode(state["extra"], tensors),
            run=manifest.run,
        )
    except (KeyError, TypeError, ValueError, RecursionError):
        raise CheckpointError(f"{path / 'state.json'} is not a state of altgrad.") from None


def read_model(path: Path) -> dict[str, Tensor]:
    """Only the weights, with the same checks."""
    manifest = read_manifest(path)
    _refuse_what_does_not_fit(path, manifest)
    return _read_tensors(path / "model.safetensors", manifest.files["model.safetensors"])


def read_shapes(path: Path) -> list[list[int]]:
    """Shapes of the weights, out of the header alone; raises CheckpointError as `read_model`."""
    name = "model.safetensors"
    size = read_manifest(path).files[name]["bytes"]
    with open_regular(path / name, size=size) as file:
        length = int.from_bytes(file.read(8) or b"", "little")
        text = file.read(min(length, HEADER_LIMIT)) or b""
    try:
        return [entry["shape"] for entry in parse_header(text, size - 8 - length).values()]
    except ValueError as error:
        raise CheckpointError(f"{path / name} cannot be read: {error}.") from None


def verify_files(path: Path) -> Manifest:
    """Compare every file with the manifest, without keeping anything.

    Raises:
        CheckpointError: naming the file and what is wrong with it.
    """
    manifest = read_manifest(path)
    for name, expected in manifest.files.items():
        piece = memoryview(bytearray(min(PIECE_BYTES, expected["bytes"])))
        _read_checked(path / name, expected, partial(_same_room, piece))
    return manifest


def _same_room(piece: memoryview, done: int) -> memoryview:
    return piece


def _refuse_what_does_not_fit(path: Path, manifest: Manifest) -> None:
    available = available_memory()
    if available is not None and manifest.total_bytes > available:
        raise CheckpointError(
            f"{path} has {manifest.total_bytes:,} bytes; this machine has {available:,} free."
        )


def available_memory() -> int | None:
    """Bytes that can be had without swapping, where the system tells."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return int(found[0][1]) * 1024 if found else None


def _read_tensors(path: Path, expected: dict[str, Any]) -> dict[str, Tensor]:
    buffer = torch.empty(expected["bytes"], dtype=torch.uint8)
    view = buffer.numpy().data
    _read_checked(path, expected, lambda done: view[done : done + PIECE_BYTES])
    try:
        length = int.from_bytes(view[:8], "little")
        if not 0 < length <= min(HEADER_LIMIT, len(view) - 8):
            raise ValueError(f"its header claims {length} bytes")
        header = parse_header(bytes(view[8 : 8 + length]), len(view) - 8 - length)
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from None
    return tensors_of(header, buffer[8 + length :])


def _read_state(path: Path, expected: dict[str, Any]) -> dict[str, Any]:
    if expected["bytes"] > STATE_LIMIT:
        raise CheckpointError(f"{path} has {expected['bytes']} bytes, more than {STATE_LIMIT}.")
    text = memoryview(bytearray(expected["bytes"]))
    _read_checked(path, expected, lambda done: text[done : done + PIECE_BYTES])
    try:
        return json.loads(bytes(text))
    except (ValueError, RecursionError):
        raise CheckpointError(f"{path} is not a state of altgrad.") from None


def _read_checked(path: Path, expected: dict[str, Any], room: Callable[[int], memoryview]) -> None:
    """Read a file into `room(bytes done)`, piece by piece, and compare size and sha256."""
    digest, done = hashlib.sha256(), 0
    with open_regular(path, size=expected["bytes"]) as file, readable(path):
        while done < expected["bytes"]:
            piece = room(done)
            count = file.readinto(piece)
            if not count:
                raise CheckpointError(f"{path} is damaged: it ends too early.")
            digest.update(piece[:count])
            done += count
    if digest.hexdigest() != expected["sha256"]:
        raise CheckpointError(f"{path} is damaged: its sha256 differs from its manifest.")
