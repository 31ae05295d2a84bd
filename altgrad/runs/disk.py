"""What a save asks of the file system. Tests put a failing disk in its place."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

PIECE_BYTES = 8 << 20
"""Read, hashed or written at once: large enough that a system call costs nothing beside it."""

Piece = bytes | memoryview


class Disk:
    """Five operations; after each of them what was asked for is on the disk, not in a cache."""

    def make_folder(self, path: Path) -> None:
        """And those above it that are missing: a folder's name lies in the one above."""
        missing = [path, *(above for above in path.parents if not above.exists())]
        path.mkdir(parents=True)
        for folder in reversed(missing):
            self.flush_folder(folder.parent)

    def write(self, path: Path, pieces: Iterable[Piece]) -> dict[str, int | str]:
        """Write a file and flush it; returns its `bytes` and `sha256`, taken in the same pass."""
        digest, size = hashlib.sha256(), 0
        # Unbuffered: the pieces are large, and another copy of each would be for nothing.
        with path.open("wb", buffering=0) as file:
            for piece in cut(pieces):
                self.write_piece(file, piece)
                digest.update(piece)
                size += len(piece)
            self.flush(file.fileno())
        return {"bytes": size, "sha256": digest.hexdigest()}

    def write_piece(self, file, piece: Piece) -> None:
        """All of `piece`: an unbuffered write may take only a part of it."""
        done = 0
        while done < len(piece):
            done += file.write(piece[done:])

    def flush(self, handle: int) -> None:
        os.fsync(handle)

    def flush_folder(self, path: Path) -> None:
        """Names are on the disk too, so that a rename survives a power cut."""
        handle = os.open(path, os.O_RDONLY)
        try:
            self.flush(handle)
        finally:
            os.close(handle)

    def rename(self, old: Path, new: Path) -> None:
        old.rename(new)

    def remove(self, folder: Path) -> None:
        """Best effort: what cannot be removed costs room, not the run."""
        shutil.rmtree(folder, ignore_errors=True)


def cut(pieces: Iterable[Piece]) -> Iterable[Piece]:
    """Pieces of at most `PIECE_BYTES`, without copying."""
    for piece in pieces:
        view = memoryview(piece)
        for start in range(0, len(view), PIECE_BYTES):
            yield view[start : start + PIECE_BYTES]


MACHINE_ERRORS = {
    errno.ENOSPC: "make room (`altgrad gc RUN` frees old checkpoints), then type the same again",
    errno.EDQUOT: "your quota is used up: make room, then type the same again",
    errno.EROFS: "it is read-only: choose another place",
    errno.EIO: "the disk gave an error: see to it before anything else is written there",
    errno.ENOMEM: "close other programs, or ask for less",
    errno.EMFILE: "too many files are open: raise `ulimit -n`",
    errno.ENFILE: "too many files are open on this machine",
    errno.ESTALE: "the network folder has gone: mount it again",
}
"""Errors that no other word on the command line mends -> what does."""


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """The error itself, and what it was put into other words for."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
