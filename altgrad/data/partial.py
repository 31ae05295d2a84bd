"""A preparation under way: token files that grow, and how far they are good.

`state.json` says after how many chunks each file had what length. It is written after the files
are safe on the disk, so whatever happens then, cutting the files back to those lengths and skipping
those chunks goes on exactly where it was.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO

import numpy as np

from altgrad.data.encode import Encoded
from altgrad.data.files import fsync, sha256_of, write_whole
from altgrad.data.metadata import SplitInfo
from altgrad.data.passages import Scan

STATE = "state.json"
SAVE_EVERY_CHUNKS = 16


class Partial:
    """The folder of a preparation that is not finished yet; `open` goes on with an earlier one."""

    def __init__(self, folder: Path, dtype: str):
        self.folder, self.itemsize = folder, np.dtype(dtype).itemsize
        self.chunks_done = 0
        self.file_bytes_done = 0
        self.counts: dict[str, dict[str, int]] = {}
        self._files: dict[str, IO[bytes]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._restore()

    @property
    def resumable(self) -> bool:
        return (self.folder / STATE).is_file()

    def _restore(self) -> None:
        if not self.resumable:
            return
        state = json.loads((self.folder / STATE).read_text())
        self.chunks_done = state["chunks_done"]
        self.file_bytes_done = state["file_bytes_done"]
        self.counts = state["counts"]
        for split, count in self.counts.items():
            with open(self._path(split), "r+b") as file:
                file.truncate(count["tokens"] * self.itemsize)

    def _path(self, split: str) -> Path:
        return self.folder / f"{split}.bin"

    def add(self, encoded: Encoded) -> None:
        """Append a chunk; every now and then make what is there safe."""
        zero = {"tokens": 0, "bytes": 0, "characters": 0, "documents": 0}
        count = self.counts.setdefault(encoded.split, zero)
        for name in count:
            count[name] += getattr(encoded, name)
        if encoded.split not in self._files:
            mode = "r+b" if self._path(encoded.split).is_file() and self.chunks_done else "wb"
            file = open(self._path(encoded.split), mode)  # noqa: SIM115 - closed in `close`
            file.seek(0, 2)
            self._files[encoded.split] = file
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
        state = json.dumps({name: getattr(self, name) for name in names})
        write_whole(self.folder / STATE, state.encode())

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files = {}

    def finish(self) -> dict[str, SplitInfo]:
        """Close the files and say what is in them."""
        self.close()
        return {
            split: SplitInfo(**count, sha256=sha256_of(self._path(split)))
            for split, count in self.counts.items()
        }


def scanned(folder: Path, do_scan: Callable[[], Scan]) -> Scan:
    """The scan of an earlier attempt in the same folder, or a new one, kept there."""
    path = folder / "scan.json"
    if path.is_file():
        return Scan(**json.loads(path.read_text()))
    found = do_scan()
    write_whole(path, json.dumps(asdict(found)).encode())
    return found
