"""Signals are requests, honoured between two steps; only the second Ctrl-C is an order.

SIGINT (Ctrl-C), SIGTERM, SIGHUP (the terminal has gone)   save and stop; under nohup SIGHUP is
                                                           ignored, and stays so
SIGUSR1 (as clusters send some time before they stop a job)  save and go on
"""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SAVE = (signal.SIGUSR1,)


class StopSignal:
    """While active, a signal sets `requested` (stop) or `save_requested`.

    Outside the main thread signals cannot be caught: both then stay false.
    """

    def __init__(self) -> None:
        self.requested = False
        self.save_requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():
            kinds = [s for s in (*STOP, *SAVE) if s != signal.SIGHUP or not _is_ignored(s)]
            self._previous = {s: signal.signal(s, self._ask) for s in kinds}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if number in SAVE:
            self.save_requested = True
            return
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True


def _is_ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) == signal.SIG_IGN
