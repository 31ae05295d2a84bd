"""A disk that fails, or a machine that dies, at the n-th thing it is asked to do."""

import errno
import os
from pathlib import Path

from altgrad.runs.disk import Disk


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


class FlushLedger:
    """Knows what a power cut would leave: `os.fsync` on a file keeps its content as it is then, on
    a folder the names in it as they are then. Nothing else is kept.

    `with FlushLedger() as ledger: …; assert ledger.lost(folder) == []`
    """

    def __init__(self) -> None:
        self._contents: dict[tuple[int, int], bytes] = {}
        self._names: dict[tuple[int, int], dict[str, tuple[int, int]]] = {}
        self._real = os.fsync

    def __enter__(self) -> "FlushLedger":
        os.fsync = self._note
        return self

    def __exit__(self, *_: object) -> None:
        os.fsync = self._real

    def _note(self, handle: int) -> None:
        self._real(handle)
        found = os.fstat(handle)
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if path.is_dir():
            self._names[_identity(found)] = _names_in(path)
        else:
            self._contents[_identity(found)] = path.read_bytes()

    def lost(self, folder: Path, *, but: tuple[str, ...] = ()) -> list[str]:
        """What of `folder`, its own name included, would be gone or other; names in `but` may."""
        looked_at = [p for p in [folder, *sorted(folder.rglob("*"))] if p.name not in but]
        return [str(p.relative_to(folder.parent)) for p in looked_at if not self._is_kept(p)]

    def _is_kept(self, path: Path) -> bool:
        own = _identity(path.lstat())
        if self._names.get(_identity(path.parent.stat()), {}).get(path.name) != own:
            return False
        return path.is_symlink() or path.is_dir() or self._contents.get(own) == path.read_bytes()


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _names_in(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        entry.name: _identity(entry.stat(follow_symlinks=False)) for entry in os.scandir(folder)
    }
