"""`manifest.json`: what a checkpoint's files must be, and whose they are. Written last.

It carries the sha256 and size of every other file, and a digest of itself, so that no byte of a
checkpoint can change unnoticed. Loads no torch.
"""

import hashlib
import io
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FORMAT_VERSION = 2
MANIFEST = "manifest.json"
FILES = ("model.safetensors", "state.safetensors", "state.json")
MANIFEST_LIMIT = 1 << 20
"""Bytes read at most; ours have less than 1,000."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used: which file, what is wrong with it."""


class UnreadableError(CheckpointError):
    """The disk does not give a file out. It may do so again: nothing is known of its content."""


@dataclass(frozen=True)
class Manifest:
    """Attributes: run: id of the run that saved it, or None. files: name -> bytes, sha256."""

    step: int
    val_loss: float
    run: str | None
    files: dict[str, dict[str, Any]]
    version: int = FORMAT_VERSION

    def to_bytes(self) -> bytes:
        body = asdict(self)
        return _dump({**body, "digest": _digest(body)})

    @property
    def total_bytes(self) -> int:
        return sum(entry["bytes"] for entry in self.files.values())


def _dump(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(_dump(body)).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a checkpoint, if it is whole, of our version, and speaks of our files only.

    Raises:
        CheckpointError: naming the file and what is wrong with it.
    """
    path = folder / MANIFEST
    with open_regular(path, limit=MANIFEST_LIMIT) as file, readable(path):
        text = file.read(MANIFEST_LIMIT) or b""
    try:
        content = json.loads(text)
        version = content["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CheckpointError(f"{path} is damaged: not a manifest.") from None
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{folder} has format version {str(version)[:20]}; this altgrad reads "
            f"{FORMAT_VERSION}. The commit that wrote it stands in the run's environment.json."
        )
    return _checked(path, text, content)


def _checked(path: Path, text: bytes, content: dict[str, Any]) -> Manifest:
    digest = content.pop("digest", None)
    if digest != _digest(content) or text != _dump({**content, "digest": digest}):
        raise CheckpointError(f"{path} is damaged: it differs from its own digest.")
    try:
        manifest = Manifest(**content)
        step, _ = manifest.step, float(manifest.val_loss)  # inf: not evaluated; NaN: diverged
        sizes = {name: entry["bytes"] for name, entry in manifest.files.items()}
    except (TypeError, KeyError, ValueError, AttributeError):
        raise CheckpointError(f"{path} is not a manifest of altgrad.") from None
    honest = all(type(n) is int and n >= 0 for n in [step, *sizes.values()])
    if set(sizes) != set(FILES) or not honest:
        raise CheckpointError(f"{path} speaks of other files than {', '.join(FILES)}.")
    return manifest


def open_regular(path: Path, *, size: int | None = None, limit: int | None = None) -> io.FileIO:
    """Open a file for reading, if it is one: no link out of the folder, no device, no pipe.

    Args:
        size: bytes that it must have.
        limit: bytes that it may have.

    Raises:
        CheckpointError: naming the file and what is wrong with it.
    """
    try:
        # O_NONBLOCK: opening a pipe must not wait for a writer that never comes.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing.") from None
    except OSError as error:
        raise UnreadableError(f"{path} cannot be opened: {error.strerror}.") from None
    file = io.FileIO(handle, "rb")
    problem = _what_is_wrong(os.fstat(handle), size, limit)
    if problem:
        file.close()
        raise CheckpointError(f"{path} {problem}.")
    return file


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Reading inside: a disk that fails names the file, as every other damage does."""
    try:
        yield
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror}.") from None


def _what_is_wrong(found: os.stat_result, size: int | None, limit: int | None) -> str:
    if not stat.S_ISREG(found.st_mode):
        return "is not a plain file"
    if size is not None and found.st_size != size:
        return f"is damaged: it has {found.st_size} bytes, its manifest says {size}"
    if limit is not None and found.st_size > limit:
        return f"has {found.st_size} bytes, more than the {limit} that can be"
    return ""


def looks_whole(folder: Path) -> bool:
    """Whether the manifest is sound and every file has its size: quick, reads no weights."""
    try:
        manifest = read_manifest(folder)
        for name, entry in manifest.files.items():
            open_regular(folder / name, size=entry["bytes"]).close()
    except CheckpointError:
        return False
    return True
