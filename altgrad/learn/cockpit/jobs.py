"""Work beside the keys: a generator in a process of its own, ended together with all its children.

A check starts child processes itself (`isolate.py`), in which a learner's code may loop for ever.
They are in one process group, so that ending the job ends them all at once.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from typing import Any

USUAL = ("SIGINT", "SIGTERM", "SIGHUP", "SIGTSTP")


class Job:
    """Values of `function(*args)` as they come; `done` once there are no more."""

    def __init__(self, function: Callable[..., Iterator[Any]], *args: Any):
        context = multiprocessing.get_context("fork")
        self._receiver, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_work, args=(sender, function, args))
        self._process.start()
        sender.close()
        self.done, self.error = False, ""

    def values(self) -> list[Any]:
        """Those that have come since the last call."""
        found: list[Any] = []
        try:
            while not self.done and self._receiver.poll(0):
                kind, value = pickle.loads(self._receiver.recv_bytes())
                if kind == "value":
                    found.append(value)
                else:
                    self.done, self.error = True, value
        except EOFError:
            self.done, self.error = True, "ended before it was done"
        if self.done:
            self.stop()
        return found

    def stop(self) -> None:
        """End it now, with everything that it started."""
        self.done = True
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid or 0, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self._receiver.close()


def _work(sender: Any, function: Callable[..., Iterator[Any]], args: tuple) -> None:
    os.setpgid(0, 0)
    for name in USUAL:  # not the handlers of whoever holds the terminal
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        for value in function(*args):
            sender.send_bytes(pickle.dumps(("value", value)))
        end = ("end", "")
    except Exception as error:
        end = ("end", f"{error}" if isinstance(error, ValueError) else repr(error))
    with contextlib.suppress(OSError):
        sender.send_bytes(pickle.dumps(end))
    os._exit(0)
