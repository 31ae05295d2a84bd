"""What stops a command: SIGTERM and SIGHUP do as Ctrl-C does, whatever the command is."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Ctrl-C, a cluster's SIGTERM and a terminal's SIGHUP raise `KeyboardInterrupt`.

    SIGINT also where it was inherited ignored: a script's background job is born so, and whoever
    sends it one wants it to stop. SIGHUP that is ignored stays so: that is what nohup asks for.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # no signal can be caught there
        return
    wanted = [n for n in STOPS if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
    before = {n: signal.signal(n, signal.default_int_handler) for n in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: not installed from Python; nothing else can be put back in its place.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def end_at_once() -> None:
    """For servers, which stop cleanly by themselves and raise the signal again: Python's own way
    out would then take seconds to clear away what was loaded."""
    for number in STOPS[:2]:
        signal.signal(number, signal.SIG_DFL)
