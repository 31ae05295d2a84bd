"""Files that are either whole or absent: temporary name, fsync, rename."""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from altgrad.data.errors import DataError


class DiskError(DataError):
    """The disk is full, or cannot be read or written; what was done so far is kept."""


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync(path: Path) -> None:
    """Ask the system to put a file's bytes, or a folder's names, on the disk now."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(path: Path) -> None:
    """Make a folder and those above it. Raises DiskError where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(
            f"cannot make the folder {path}: {os.strerror(error.errno or 0)}; set data.cache_dir "
            "(or $ALTGRAD_CACHE) to a folder that can be written"
        ) from error


def write_whole(path: Path, content: bytes) -> None:
    """Write `path` so that a reader, or a crash, never meets half of it."""
    make_folder(path.parent)
    with disk_errors(path), temporary_folder(path.parent) as folder:
        part = folder / path.name
        part.write_bytes(content)
        fsync(part)
        part.replace(path)
        fsync(path.parent)


@contextmanager
def lock(target: Path) -> Iterator[None]:
    """Let one process at a time make `target`; the others wait."""
    import fcntl

    make_folder(target.parent)
    with open(target.with_name(f".{target.name}.lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A temporary folder that becomes `target` if the body ends well, and vanishes otherwise."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(target), temporary_folder(target.parent) as folder:
        inside = folder / target.name
        inside.mkdir()
        yield inside
        for path in [*inside.iterdir(), inside]:
            fsync(path)
        inside.rename(target)
        fsync(target.parent)


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=".part-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn a full or read-only disk into one line that names the place and the cure."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        raise DiskError(
            f"cannot write {target}: {os.strerror(error.errno)}; free some space, or set "
            "data.cache_dir (or $ALTGRAD_CACHE) to a folder on another disk; what is done is kept, "
            "and the same command goes on from there"
        ) from error
