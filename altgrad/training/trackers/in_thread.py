"""A tracker behind a queue and a thread: whatever it does, the run goes on."""

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from altgrad.runs import Metrics
from altgrad.training.trackers.protocol import GoneError, Maker, TrackedRun, Tracker

QUEUE_LENGTH = 10_000
PATIENCE = 5
"""Failures in a row after which a tracker is given up."""


class Shielded:
    """Calls one tracker from a thread of its own.

    Attributes:
        name: of the tracker. id: the run's id there, once it has been opened.
        gone: the tracked run could not be continued; None until it is known.
    """

    def __init__(self, name: str, make: Maker, run: TrackedRun) -> None:
        self.name, self.run = name, run
        self.id: str | None = None
        self.gone: bool | None = None
        self._make = make
        self._jobs: queue.Queue[tuple[str, tuple[Any, ...]]] = queue.Queue(QUEUE_LENGTH)
        self._troubles: queue.SimpleQueue[tuple[str, Exception]] = queue.SimpleQueue()
        self._dropped = 0
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def wait_opened(self, seconds: float) -> None:
        """Until the tracker has been made or has failed, at most so long."""
        self._opened.wait(seconds)

    def log(self, step: int, metrics: Metrics) -> None:
        self._put("log", step, dict(metrics))

    def alert(self, step: int, title: str, text: str, level: str) -> None:
        self._put("alert", step, title, text, level)

    def artifact(self, alias: str, path: Path) -> None:
        self._put("artifact", alias, path)

    def close(self, status: str) -> None:
        """Wait for what is queued, but not for ever."""
        seconds = self.run.settings.close_s
        self._put("close", status)
        self._thread.join(seconds)
        if self._thread.is_alive():
            late = TimeoutError(f"{self._jobs.qsize()} entries left after {seconds:g} s")
            self._troubles.put(("closing", late))

    def troubles(self) -> list[tuple[str, Exception]]:
        """(what, error) since the last call."""
        found = []
        while not self._troubles.empty():
            found.append(self._troubles.get())
        if self._dropped:
            found.append(("queueing", OverflowError(f"{self._dropped} entries dropped")))
            self._dropped = 0
        return found

    def _put(self, what: str, *values: Any) -> None:
        if not self._thread.is_alive():
            return
        try:
            self._jobs.put_nowait((what, values))
        except queue.Full:
            self._dropped += 1

    # -- in the thread --------------------------------------------------------------------------

    def _work(self) -> None:
        tracker = self._open()
        self._opened.set()
        failures = 0
        while tracker is not None and failures < PATIENCE:
            what, values = self._jobs.get()
            failures = 0 if self._try(what, getattr(tracker, what), *values) else failures + 1
            if what == "close":
                return
        if tracker is not None:
            self._try("closing", tracker.close, "failed")
            self._troubles.put(("everything", RuntimeError("given up after failures in a row")))

    def _open(self) -> Tracker | None:
        try:
            tracker = self._make(self.run)
        except Exception as error:
            self.gone = isinstance(error, GoneError)
            self._troubles.put(("opening", error))
            return None
        self.id, self.gone = tracker.id, False
        return tracker

    def _try(self, what: str, call: Callable[..., None], *values: Any) -> bool:
        try:
            call(*values)
        except Exception as error:
            self._troubles.put((what, error))
            return False
        return True
