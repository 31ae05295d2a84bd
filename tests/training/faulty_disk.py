"""A disk that fails, or a machine that dies, at the n-th thing it is asked to do."""

import errno
import os
from pathlib import Path

from altgrad.training.disk import Disk


class PowerCut(BaseException):
    """The process is gone: nothing of it runs any more, not even what tidies up."""


class FaultyDisk(Disk):
    """Counts its operations; at number `fail_at` it fails, and from then on always.

    Args:
        error: an `errno`; None is a power cut, which also empties every file that was not flushed.
    """

    def __init__(self, fail_at: int = -1, error: int | None = errno.ENOSPC) -> None:
        self.fail_at, self.error = fail_at, error
        self.operations = 0
        self.unflushed: set[int] = set()
        self.dead = False

    def _count(self) -> None:
        self.operations += 1
        if self.operations >= self.fail_at > 0:
            self._fail()

    def _fail(self) -> None:
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))
        self.dead = True
        for handle in self.unflushed:
            os.ftruncate(handle, 0)
        self.unflushed.clear()
        raise PowerCut

    def make_folder(self, path: Path) -> None:
        self._count()
        super().make_folder(path)

    def write_piece(self, file, piece) -> None:
        self.unflushed.add(file.fileno())
        half = memoryview(piece)[: len(piece) // 2]
        super().write_piece(file, half)
        self._count()
        super().write_piece(file, memoryview(piece)[len(half) :])

    def flush(self, handle: int) -> None:
        self._count()
        super().flush(handle)
        self.unflushed.discard(handle)

    def rename(self, old: Path, new: Path) -> None:
        self._count()
        super().rename(old, new)

    def remove(self, folder: Path) -> None:
        """A full disk lets you remove; a dead process removes nothing."""
        if self.dead:
            return
        if folder.exists() and self.error is None:
            self._count()
        super().remove(folder)
