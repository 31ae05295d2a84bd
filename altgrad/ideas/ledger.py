"""The ledger's file: entries that are only ever added, each chained to the one before.

`ledger.jsonl` holds one JSON object a line: `n` counts from 0, `kind` says what it is, `prev` is
the sha256 of the line before. Whoever changes, drops or reorders a line breaks the chain, and
reading says where. A line that a kill cut off was never an entry: it is dropped at the next write.
Processes and machines that share the folder take turns by a lock on `ledger.lock`.
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from altgrad.settings import ConfigError

FILE, LOCK = "ledger.jsonl", "ledger.lock"
Entry = dict[str, Any]


class LedgerFile:
    """Entries of one folder. `append` and `entries` see what other processes have written."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / FILE

    def exists(self) -> bool:
        return self.path.is_file() and self.path.stat().st_size > 0

    def entries(self) -> list[Entry]:
        """Everything written so far, the chain checked.

        Raises:
            ConfigError: no ledger there, or a line that is not what was written.
        """
        if not self.exists():
            raise ConfigError(f"{self.folder} is no ledger; begin one: altgrad ideas new NAME …")
        return [entry for entry, _ in self._checked(self.path.read_bytes())]

    def append(self, kind: str, **content: Any) -> Entry:
        """Add an entry and bring it to the disk before returning. Call it under `lock()` where it
        depends on what was read."""
        text = self.path.read_bytes() if self.exists() else b""
        lines = self._checked(text)
        last = lines[-1][1] if lines else b""
        entry = {
            "n": len(lines),
            "kind": kind,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            **content,
            "prev": _digest(last) if lines else "",
        }
        line = json.dumps(entry, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        self._write(sum(len(raw) for _, raw in lines), line)
        return entry

    def _write(self, at: int, line: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            os.ftruncate(handle, at)  # what a kill left half written
            os.pwrite(handle, line, at)
            os.fsync(handle)
        finally:
            os.close(handle)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # so that a power cut cannot lose the file's name
        finally:
            os.close(folder)

    def _checked(self, text: bytes) -> list[tuple[Entry, bytes]]:
        """(entry, its line) of every whole line; the last may have been cut off."""
        found: list[tuple[Entry, bytes]] = []
        lines = text.splitlines(keepends=True)
        for n, line in enumerate(lines):
            whole = line.endswith(b"\n")
            if not whole and n == len(lines) - 1:
                break
            found.append((self._entry(n, line, found[-1][1] if found else b""), line))
        return found

    def _entry(self, n: int, line: bytes, before: bytes) -> Entry:
        try:
            entry = json.loads(line)
            sound = entry["n"] == n and entry["prev"] == (_digest(before) if n else "")
        except (ValueError, KeyError, TypeError):
            sound = False
        if not sound:
            raise ConfigError(
                f"{self.path}: entry {n} is not what was written (the chain breaks there); bring "
                "the file back from a copy, or begin a new ledger"
            )
        return entry

    @contextmanager
    def lock(self, wait: bool = True) -> Iterator[None]:
        """Hold the ledger: one process decides at a time, also from another machine.

        Raises:
            ConfigError: another process holds it and `wait` is false.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOCK).open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise ConfigError(
                    f"another process works on {self.folder}; wait for it, or stop it"
                ) from None
            yield


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
