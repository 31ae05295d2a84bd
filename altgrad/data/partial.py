"""A preparation under way: token files that grow, and how far they are good.

`state.json` says after how many chunks each file had what length. It is written after the files
are safe on the disk, so whatever happens then, cutting the files back to those lengths and skipping
those chunks goes on exactly where it was.
"""

import json
import shutil
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np

from altgrad.data import chunks
from altgrad.data.chunks import Encoded
from altgrad.data.errors import DataError
from altgrad.data.files import fsync, sha256_of, write_whole
from altgrad.data.metadata import SplitInfo
from altgrad.data.passages import Scan

STATE = "state.json"
SAVE_EVERY_CHUNKS = 16
ZERO = {"tokens": 0, "bytes": 0, "characters": 0, "documents": 0, "lost": 0}
"""What is counted of a split."""


class Partial:
    """The folder of a preparation that is not finished yet; `open` goes on with an earlier one."""

    def __init__(self, folder: Path, dtype: str):
        self.folder, self.itemsize = folder, np.dtype(dtype).itemsize
        self.chunks_done: int
        self.file_bytes_done: int
        self.counts: dict[str, dict[str, int]]
        self._files: dict[str, IO[bytes]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._restore()

    def _restore(self) -> None:
        """Cut every file back to what the state vouches for; nothing else may stay."""
        state = self._read_state()
        self.chunks_done = state["chunks_done"]
        self.file_bytes_done = state["file_bytes_done"]
        self.counts = state["counts"]
        for left in self.folder.glob(".part-*"):
            shutil.rmtree(left)
        for path in self.folder.glob("*.bin"):
            if path.stem not in self.counts:
                path.unlink()
        for split in self.counts:
            with open(self._path(split), "r+b") as file:
                file.truncate(self._size(split))

    def _read_state(self) -> dict[str, Any]:
        """The state of an earlier attempt, or an empty one: where it cannot be trusted all is done
        again."""
        fresh: dict[str, Any] = {"chunks_done": 0, "file_bytes_done": 0, "counts": {}}
        path = self.folder / STATE
        if not path.is_file():
            return fresh
        try:
            state = json.loads(path.read_bytes())
            self._check(state)
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            why = f"{type(error).__name__}: {error}"
            warnings.warn(f"{path} cannot be gone on with ({why}): begun again", stacklevel=2)
            path.unlink()
            return fresh
        return state

    def _check(self, state: dict[str, Any]) -> None:
        if state["chunk_characters"] != chunks.CHUNK_CHARACTERS:
            raise ValueError("it counts chunks of another size")
        numbers = [state["chunks_done"], state["file_bytes_done"]]
        numbers += [count[name] for count in state["counts"].values() for name in ZERO]
        if any(type(number) is not int or number < 0 for number in numbers):
            raise ValueError("its counts are not numbers")
        for split, count in state["counts"].items():
            found, needed = self._path(split).stat().st_size, count["tokens"] * self.itemsize
            if found < needed:
                raise ValueError(f"{split}.bin has {found:,} bytes, fewer than {needed:,}")

    def _size(self, split: str) -> int:
        return self.counts[split]["tokens"] * self.itemsize

    def _path(self, split: str) -> Path:
        return self.folder / f"{split}.bin"

    def add(self, encoded: Encoded) -> None:
        """Append a chunk; every now and then make what is there safe."""
        count = self.counts.setdefault(encoded.split, dict(ZERO))
        for name in count:
            count[name] += getattr(encoded, name)
        if encoded.split not in self._files:
            self._files[encoded.split] = open(self._path(encoded.split), "ab")  # noqa: SIM115
        self._files[encoded.split].write(encoded.content)
        self.chunks_done += 1
        self.file_bytes_done += encoded.file_bytes
        if self.chunks_done % SAVE_EVERY_CHUNKS == 0:
            self.save()

    def save(self) -> None:
        for split, file in self._files.items():
            file.flush()
            fsync(self._path(split))
        names = ("chunks_done", "file_bytes_done", "counts")
        state = {name: getattr(self, name) for name in names}
        state["chunk_characters"] = chunks.CHUNK_CHARACTERS
        write_whole(self.folder / STATE, json.dumps(state).encode())

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files = {}

    def finish(self) -> dict[str, SplitInfo]:
        """Close the files and say what is in them.

        Raises DataError when somebody else has written into them.
        """
        self.close()
        for split in self.counts:
            found = self._path(split).stat().st_size
            if found != self._size(split):
                raise DataError(
                    f"{self._path(split)} has {found:,} bytes instead of {self._size(split):,}: "
                    "something else changed it; prepare again"
                )
        return {
            split: SplitInfo(**count, sha256=sha256_of(self._path(split)))
            for split, count in self.counts.items()
        }


def scanned(folder: Path, do_scan: Callable[[], Scan]) -> Scan:
    """The scan of an earlier attempt in the same folder, or a new one, kept there."""
    path = folder / "scan.json"
    if path.is_file():
        with suppress(ValueError, TypeError):  # a damaged one is made again
            return Scan(**json.loads(path.read_bytes()))
    found = do_scan()
    write_whole(path, json.dumps(asdict(found)).encode())
    return found
