"""One command, run to its end or stopped with everything that it has started."""

import ctypes
import math
import os
import re
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GRACE_S = 5.0
"""Between asking a program to stop and making it."""

LONGEST_LINE = 1 << 20
"""Bytes without a line's end after which one is made."""


class Stopped(BaseException):
    """The person, or the machine, wants the run to stop."""


@dataclass(frozen=True)
class Ended:
    """exit_status: negative for a signal's number. seconds: of wall time. peak_bytes: the largest
    resident size of any of its processes, looked at ten times a second."""

    exit_status: int
    seconds: float
    peak_bytes: int
    timed_out: bool


def run_command(
    argv: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    output: Path,
    on_line: Callable[[str], None],
    timeout_s: float | None,
) -> Ended:
    """Run it in a session of its own; all that it prints goes to `output` as it comes.

    Raises:
        OSError: it cannot be started.
        Stopped: this process got SIGINT or SIGTERM; the program and its children are gone.
    """
    start = time.monotonic()
    with _stop_signals(), output.open("ab", buffering=0) as log:
        process = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent(signal.SIGKILL),
        )
        try:
            end = None if timeout_s is None else start + timeout_s
            memory = _Memory(process.pid)
            timed_out = _follow(process, log, on_line, end, memory)
            if timed_out:
                _stop_group(process)
            peak = max(memory.peak_bytes, _wait(process))
        except BaseException:
            _stop_group(process)
            raise
        finally:
            _kill_group(process.pid)
            if process.stdout is not None:
                process.stdout.close()
    return Ended(process.returncode, time.monotonic() - start, peak, timed_out)


def _follow(
    process: "subprocess.Popen[bytes]",
    log: Any,
    on_line: Callable[[str], None],
    end: float | None,
    memory: "_Memory",
) -> bool:
    """Pass its output on until it has ended; True if time ran out before."""
    assert process.stdout is not None
    lines = _Lines(on_line)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if end is not None and time.monotonic() >= end:
                return True
            memory.look()
            left_s = math.inf if end is None else max(0.0, end - time.monotonic())
            ready = selector.select(min(memory.patience_s, left_s))
            if ready:
                piece = os.read(process.stdout.fileno(), 1 << 16)
                if not piece:
                    break
                log.write(piece)
                lines.add(piece)
            elif _has_ended(process):
                break  # a child that it left behind may hold the pipe for ever
    lines.close()
    return _outlives(process, end, memory)


def _outlives(process: "subprocess.Popen[bytes]", end: float | None, memory: "_Memory") -> bool:
    """It may go on without its output."""
    while not _has_ended(process):
        memory.look()
        if end is not None and time.monotonic() >= end:
            return True
        time.sleep(0.02)
    return False


def _has_ended(process: "subprocess.Popen[bytes]") -> bool:
    """Without taking its exit status away from `_wait`."""
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, flags) is not None


def _wait(process: "subprocess.Popen[bytes]") -> int:
    """Its end; returns the largest memory in bytes, as far as the system says it truly: Linux
    counts what this process had when it was forked."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss if sys.platform == "darwin" else 0


class _Memory:
    """The largest resident size of a process and its descendants, from Linux's /proc."""

    def __init__(self, pid: int) -> None:
        self.pid, self.peak_bytes = pid, 0
        self._start = self._next = time.monotonic()

    @property
    def patience_s(self) -> float:
        return min(0.1, 0.01 + (time.monotonic() - self._start) / 20)

    def look(self) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        # Often at first: a short run is over before a tenth of a second has gone by.
        self._next = now + self.patience_s
        waiting = [self.pid]
        while waiting:
            pid = waiting.pop()
            with suppress(OSError, ValueError):
                self.peak_bytes = max(self.peak_bytes, _high_water(pid))
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
                waiting += [int(child) for child in children.split()]


def _high_water(pid: int) -> int:
    """Bytes; 0 between fork and exec, when the image is still the parent's, and of the dead."""
    if os.path.samefile(f"/proc/{pid}/exe", f"/proc/{os.getpid()}/exe") and _is_unborn(pid):
        return 0
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _is_unborn(pid: int) -> bool:
    """Whether its command line is still this process's."""
    mine, its = (Path(f"/proc/{p}/cmdline").read_bytes() for p in (os.getpid(), pid))
    return mine == its


def _stop_group(process: "subprocess.Popen[bytes]") -> None:
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    end = time.monotonic() + GRACE_S
    while time.monotonic() < end and not _has_ended(process):
        time.sleep(0.02)
    _kill_group(process.pid)


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


class _Lines:
    """Bytes to lines; a carriage return, as progress bars write it, ends one, too."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self.on_line, self.rest = on_line, b""

    def add(self, piece: bytes) -> None:
        *whole, self.rest = (self.rest + piece.replace(b"\r", b"\n")).split(b"\n")
        if len(self.rest) > LONGEST_LINE:
            whole, self.rest = [*whole, self.rest], b""
        for line in whole:
            self.on_line(line.decode(errors="replace"))

    def close(self) -> None:
        if self.rest:
            self.on_line(self.rest.decode(errors="replace"))


@contextmanager
def _stop_signals() -> Iterator[None]:
    """SIGINT and SIGTERM become `Stopped`, where a process may say so: in its main thread."""

    def stop(*_: object) -> None:
        raise Stopped

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(kind, stop) for kind in kinds]
    try:
        yield
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


def _die_with_parent(number: int) -> Callable[[], None] | None:
    """For a child to call before it starts: a kill -9 of this process reaches it, too (Linux)."""
    if not sys.platform.startswith("linux"):
        return None
    control = ctypes.CDLL(None).prctl  # loaded here: not between fork and exec
    return lambda: control(1, number, 0, 0, 0)  # PR_SET_PDEATHSIG


def call_and_forward(argv: Sequence[str], *, environment: Mapping[str, str], cwd: str) -> int:
    """Run a command with this process's output, handing SIGINT and SIGTERM on; its exit status.

    Unlike `run_command` it waits as long as the command takes to stop: it saves first.

    Raises:
        KeyboardInterrupt: one was handed on, and the command did not end well.
    """
    child = subprocess.Popen(
        list(argv), cwd=cwd, env=dict(environment), preexec_fn=_die_with_parent(signal.SIGTERM)
    )

    stopped = False

    def hand_on(number: int, _: object) -> None:
        nonlocal stopped
        stopped = True
        with suppress(ProcessLookupError):
            child.send_signal(number)

    if threading.current_thread() is not threading.main_thread():
        return child.wait()
    before = {kind: signal.signal(kind, hand_on) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        status = child.wait()
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
    if stopped and status:
        raise KeyboardInterrupt  # else it would pass for a failure of what was run
    return status
