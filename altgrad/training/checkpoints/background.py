"""When a run saves, and who waits for it.

A save has two halves: `capture` copies the state (the step waits for it), `write` brings it to the
disk (a thread does it while training goes on, if `background`). One save is under way at a time.
A save that fails costs that save: the one before stays, and the run is told.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from altgrad.training.checkpoints.files import Captured, HostBuffers
from altgrad.training.checkpoints.manager import CheckpointManager


@dataclass(frozen=True)
class SaveOutcome:
    """How one save ended. `waited_s`: training stood still; `write_s`: writing took."""

    step: int
    path: Path | None
    error: OSError | None
    waited_s: float
    write_s: float


class Saver:
    """Saves through `manager` every `every_steps` steps or `every_minutes` minutes.

    Attributes:
        last_step: the step whose state is saved, or on its way; None after a save that failed.

    Args:
        every_steps, every_minutes: -1 = off. Minutes are counted from the last save on a clock
            that no change of the date can move.
        background: write in a thread.
        before_write: called in the writing thread first, e.g. to flush the metrics.
    """

    def __init__(
        self,
        manager: CheckpointManager,
        *,
        every_steps: int = -1,
        every_minutes: float = -1,
        background: bool = False,
        before_write: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.manager = manager
        self.every_steps = every_steps
        self.every_s = 60 * every_minutes
        self.before_write = before_write
        self.clock = clock
        self.last_step: int | None = None
        self._last_time = clock()
        self._pool = ThreadPoolExecutor(1, "checkpoint") if background else None
        self._buffers = HostBuffers() if background else None
        self._under_way: Future[SaveOutcome] | None = None
        self._outcomes: list[SaveOutcome] = []

    def due_by_step(self, step: int, end: int) -> bool:
        return self.every_steps > 0 and (step % self.every_steps == 0 or step >= end)

    def due_by_time(self) -> bool:
        """Clocks of several processes differ: they must agree on the answer."""
        return self.every_s > 0 and self.clock() - self._last_time >= self.every_s

    def restart_clock(self) -> None:
        self._last_time = self.clock()

    def save(self, state: dict[str, Any]) -> None:
        """Save what `CheckpointManager.save` takes; how it ended is told by `outcomes`."""
        start = time.perf_counter()
        self.wait()  # the buffers are those of the save under way, and saves must end in order
        captured = self.manager.capture(**state, buffers=self._buffers)
        self.last_step = captured.step
        self.restart_clock()
        if self._pool is None:
            self._note(self._write(captured, start))
        else:
            waited_s = time.perf_counter() - start
            self._under_way = self._pool.submit(self._write, captured, start, waited_s)

    def _write(
        self, captured: Captured, start: float, waited_s: float | None = None
    ) -> SaveOutcome:
        began, path, failure = time.perf_counter(), None, None
        try:
            # Metrics first: a checkpoint must not know of steps that the log has lost.
            self.before_write()
            path = self.manager.write(captured)
        except OSError as error:
            failure = error
        now = time.perf_counter()
        waited_s = now - start if waited_s is None else waited_s
        return SaveOutcome(captured.step, path, failure, waited_s, now - began)

    def outcomes(self) -> list[SaveOutcome]:
        """Saves that ended since the last call; does not wait."""
        if self._under_way is not None and self._under_way.done():
            self._collect()
        ended, self._outcomes = self._outcomes, []
        return ended

    def wait(self) -> None:
        """Until nothing is under way."""
        if self._under_way is not None:
            self._collect()

    def _collect(self) -> None:
        assert self._under_way is not None
        under_way, self._under_way = self._under_way, None
        self._note(under_way.result())

    def _note(self, outcome: SaveOutcome) -> None:
        if outcome.error is not None:
            self.last_step = None  # so that the end of the run tries again
        self._outcomes.append(outcome)
