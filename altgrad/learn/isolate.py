"""Run a generator in a process of its own, so that nothing a learner writes can take the tool down.

The child is a fork: torch is already loaded there. Each value it yields has a time limit; memory is
limited; what it prints is caught. Infinite loops, crashes and `exit()` become outcomes.

The limit is of the child's own processor time where the system tells it: on a machine that others
keep busy a right file is slow, not wrong. Who neither ends nor computes is not waited for.
"""

import contextlib
import io
import multiprocessing
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

MEMORY_BYTES = 4 * 2**30
OUTPUT_CHARACTERS = 2000
PATIENCE = 6
"""Times the limit, by the clock on the wall, after which even a computing child is given up."""


@dataclass(frozen=True)
class Ended:
    """One value, or how the process ended before it: by its time limit or by a crash."""

    value: Any = None
    printed: str = ""
    timed_out: bool = False
    crash: str = ""

    @property
    def ok(self) -> bool:
        return not (self.timed_out or self.crash)


def stream_isolated(
    function: Callable[..., Iterator[Any]], *args: Any, timeout_s: float
) -> Iterator[Ended]:
    """Each value of `function(*args)`, made in a child process; at most `timeout_s` seconds of its
    processor time apart.

    The last one is not `ok` if the child did not come to its end. Values must be picklable.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sender, function, args), daemon=True)
    process.start()
    sender.close()
    try:
        while True:
            if not _arrives(receiver, process.pid, timeout_s):
                yield Ended(timed_out=True)
                return
            message = pickle.loads(receiver.recv_bytes())
            if message is None:
                return
            yield message
            if not message.ok:
                return
    except EOFError:
        process.join(1)
        yield Ended(crash=_how_it_died(process.exitcode))
    finally:
        process.kill()
        process.join()


def run_isolated(function: Callable[..., Any], *args: Any, timeout_s: float) -> Ended:
    """`function(*args)` in a child process."""
    return next(iter(stream_isolated(_once, function, args, timeout_s=timeout_s)))


def _arrives(receiver: Any, pid: int | None, timeout_s: float) -> bool:
    """Wait for the next value; False once its time is up."""
    start = last = _processor_s(pid)
    for _ in range(PATIENCE):
        if receiver.poll(timeout_s):
            return True
        now = _processor_s(pid)
        if now is None or start is None or last is None:
            return False
        if now - start >= timeout_s or now == last:
            return False
        last = now
    return False


def _processor_s(pid: int | None) -> float | None:
    """Processor seconds that a process has used; None where /proc does not tell (macOS)."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime


def _once(function: Callable[..., Any], args: tuple) -> Iterator[Any]:
    yield function(*args)


def _child(sender: Any, function: Callable[..., Iterator[Any]], args: tuple) -> None:
    import torch

    torch.set_num_threads(1)  # a forked child must not use the parent's OpenMP threads
    _limit_memory()
    sys.breakpointhook = _no_terminal
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            for value in function(*args):
                printed = output.getvalue()[:OUTPUT_CHARACTERS]
                output.seek(0)
                output.truncate()
                sender.send_bytes(pickle.dumps(Ended(value, printed)))
        sender.send_bytes(pickle.dumps(None))
    except BaseException as error:
        sender.send_bytes(pickle.dumps(Ended(crash=_crash(error))))
    sender.close()
    os._exit(0)


def _no_terminal(*_: Any, **__: Any) -> None:
    raise RuntimeError("breakpoint() has no terminal here; `altgrad learn run --pdb` stops at it")


def _crash(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "ran out of memory"
    if isinstance(error, SystemExit):
        return f"called exit({error.code})"
    return f"{type(error).__name__}: {error}"


def _limit_memory() -> None:
    """No more address space than the parent had, plus MEMORY_BYTES (where the system can)."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[0])
        limit = pages * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _how_it_died(code: int | None) -> str:
    if code is not None and code < 0:
        return f"the process was ended by signal {-code}"
    return f"the process ended with exit code {code}"
