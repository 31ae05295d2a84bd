"""Runs in processes of this machine: a forkserver with torch preloaded, one process a run.

Importing torch and Lightning, seconds of a small run, is paid once. A process of its own keeps runs
apart: one that is killed, or that dies in native code, takes nothing along.
"""

import contextlib
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import connection
from pathlib import Path
from typing import Any

from altgrad.compare.launching.launch import Launch, Task

Running = dict[Any, tuple[Any, int | None, Task]]
"""A process's sentinel -> the process, its slot, its task."""


def server() -> Any:
    """The context of a process of its own that has torch at once, whoever asks first."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["altgrad.compare.launching.worker"])
    return context


def apart(call: Callable[..., Any], *arguments: Any) -> Any:
    """`call(*arguments)` in a process of its own, which ends with this one.

    Raises:
        BrokenProcessPool: it died.
    """
    # A pool's worker holds both ends of its queue, so it would never notice that nobody is left.
    with ProcessPoolExecutor(1, mp_context=server(), initializer=_end_with_parent) as pool:
        asked = pool.submit(call, *arguments)
        try:
            return asked.result()
        except KeyboardInterrupt:
            # Leaving the pool waits for its process: a signal to this one alone would not end it.
            for process in list(pool._processes.values()):
                process.terminate()
            raise


def _end_with_parent() -> None:
    from altgrad.compare.launching.worker import stop_with_parent

    stop_with_parent()


def run_locally(
    tasks: Sequence[Task], how: Launch, slots: list[int | None], done: Callable[[Task], None]
) -> None:
    """Attempt each task once, as many at a time as there are slots.

    On Ctrl-C every running task saves and stops before the interrupt goes on.
    """
    context = server()
    waiting, free, running = list(tasks), list(slots), Running()
    try:
        while waiting or running:
            while waiting and free:
                _start(context, waiting.pop(0), free.pop(0), running)
            for sentinel in connection.wait(list(running)):
                process, slot, task = running.pop(sentinel)
                process.join()
                free.append(slot)
                done(task)
    finally:
        _stop(running)


def _start(context: Any, task: Task, slot: int | None, running: Running) -> None:
    process = context.Process(target=_main, args=(task, slot, str(make_log(Path(task.run)))))
    process.start()
    running[process.sentinel] = (process, slot, task)


def log_path(run: Path) -> Path:
    """Where a run's own output goes: beside the runs, since its folder may not exist yet."""
    return run.parent / "logs" / f"{run.name}.log"


def make_log(run: Path) -> Path:
    """The log's path; raises OSError here, where the user sees it, if it cannot be written."""
    log = log_path(run)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch()
    return log


def _main(task: Task, gpu: int | None, log: str) -> None:
    from altgrad.compare.launching.worker import main

    main(task, gpu, log)


def _stop(running: Running) -> None:
    """SIGTERM makes a run finish its step, save and stop; a second Ctrl-C does not wait for it."""
    for process, _, _ in running.values():
        with contextlib.suppress(ValueError, ProcessLookupError):
            process.terminate()
    for process, _, _ in running.values():
        process.join()
