"""A JSONL file that only grows: whole lines, kept in memory while the disk refuses them."""

import json
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from altgrad.runs.disk import Disk
from altgrad.runs.strict_json import json_text

Metrics = dict[str, float]
"""The numbers of one step, by the names of docs/reference/metrics.md: a line of `metrics.jsonl`."""


class LineLog:
    """Appends dicts as lines.

    A line that a killed process left unfinished is cut off at the first append. A line that the
    disk refuses (full, gone read-only) waits here and is written with the next one, in order.
    Any thread may call: the one that writes a checkpoint syncs while the run appends.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Without it two threads would write what waits twice, or drop what the other just added.
        self._lock = threading.RLock()
        self._handle: int | None = None
        self._waiting = b""
        self._is_new = False

    def append(self, content: dict[str, Any]) -> OSError | None:
        """Returns why the line could not be written yet, or None. What is not finite is null."""
        return self.append_line(f"{json_text(content)}\n".encode())

    def append_line(self, line: bytes) -> OSError | None:
        with self._lock:
            self._waiting += line
            return self.flush()

    def flush(self) -> OSError | None:
        with self._lock:
            if not self._waiting:
                return None
            try:
                self._write_out()
            except OSError as error:
                return error
        return None

    def _write_out(self) -> None:
        handle = self._open()
        size = os.fstat(handle).st_size
        try:
            self._write(handle, self._waiting)
            self._waiting = b""
        except BaseException:
            # A full disk may have taken half a line, and a Ctrl-C come before the line was noted
            # as written: the whole is written again later.
            os.ftruncate(handle, size)
            raise

    def _write(self, handle: int, content: bytes) -> None:
        done = 0
        while done < len(content):
            done += os.write(handle, content[done:])

    def _open(self) -> int:
        if self._handle is None:
            self._is_new = not self.path.exists()
            self._handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            _cut_torn_line(self._handle)
        return self._handle

    def sync(self) -> None:
        """What was appended survives a power cut.

        Raises:
            OSError: the disk refuses.
        """
        with self._lock:
            if error := self.flush():
                raise error
            if self._handle is None:
                return
            # A handle of its own: `close` may come meanwhile, and its number be another file's.
            handle, is_new, self._is_new = os.dup(self._handle), self._is_new, False
        try:
            # Outside of the lock: a step must not wait for the disk to turn.
            os.fsync(handle)
            # A new file's name lies in its folder, which is flushed once.
            if is_new:
                Disk().flush_folder(self.path.parent)
        except OSError:
            self._is_new = is_new
            raise
        finally:
            os.close(handle)

    def close(self) -> None:
        """Further appends open the file again."""
        with self._lock:
            self.flush()
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None


def _cut_torn_line(handle: int) -> None:
    end = size = os.fstat(handle).st_size
    while end > 0:
        start = max(0, end - 65536)
        block = os.pread(handle, end - start, start)
        if b"\n" in block:
            end = start + block.rindex(b"\n") + 1
            break
        end = start
    if end < size:
        os.ftruncate(handle, end)


def json_line(content: dict[str, Any]) -> str:
    """A line of `metrics.jsonl`. Python's NaN and Infinity, no JSON, stay in it: which of them a
    loss has become is a finding, and null would not say it."""
    return json.dumps(content) + "\n"


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a JSONL file; what is not a line of ours (torn, damaged) is left out.

    Raises:
        OSError: it is there and cannot be read.
        ValueError: a folder, a pipe or a device stands in its place.
    """
    if not path.exists():
        return
    require_plain(path)
    with path.open(encoding="utf-8", errors="replace") as file:
        yield from _lines_in(file)


def require_plain(path: Path) -> None:
    """Raises ValueError where reading would wait for ever, or is not reading a file at all."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a plain file.")


def _lines_in(texts: Iterable[str]) -> Iterator[dict[str, Any]]:
    for text in texts:
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict):
            yield line


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of `metrics.jsonl`: a step, and numbers; whatever else a line has is left out."""
    return _metrics_of(read_jsonl(path))


def metrics_in(texts: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The same of lines that have been read already."""
    return _metrics_of(_lines_in(texts))


def _metrics_of(lines: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if type(line.get("step")) is int:
            yield {name: v for name, v in line.items() if type(v) in (int, float)}


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of `events.jsonl` that say which event they are."""
    return (line for line in read_jsonl(path) if isinstance(line.get("event"), str))
