"""Runs as tasks of Ray: on a cluster's machines, or in Ray's workers on this one."""

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from altgrad.compare.launching.launch import Launch, Task
from altgrad.settings import ConfigError


def run_on_ray(
    tasks: Sequence[Task], how: Launch, slots: list[int | None], done: Callable[[Task], None]
) -> None:
    """Attempt each task once. A Ray already running in this process is used and left running."""
    ray = _import_ray()
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, how, slots, tasks[0].threads)
    try:
        _run(ray, tasks, how, slots, done)
    finally:
        if ours:
            ray.shutdown()


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise ConfigError("launcher=ray needs Ray; pip install 'altgrad[cluster]'.") from None
    return ray


def _connect(ray: Any, how: Launch, slots: list[int | None], threads: int) -> None:
    """`ray_address`, or as many workers here as there are slots."""
    here = {} if how.ray_address else {"num_cpus": len(slots) * threads}
    ray.init(
        address=how.ray_address or None,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}},
        **here,
    )


def _run(
    ray: Any,
    tasks: Sequence[Task],
    how: Launch,
    slots: list[int | None],
    done: Callable[[Task], None],
) -> None:
    gpus = 1 / how.jobs_per_device if slots[0] is not None else 0
    # A worker ends after its run: the next one starts from a clean process.
    remote = ray.remote(num_cpus=tasks[0].threads, num_gpus=gpus, max_calls=1, max_retries=0)(
        _remote
    )
    pending = {remote.remote(task): task for task in tasks}
    while pending:
        (ready, *_), _ = ray.wait(list(pending), num_returns=1)
        task = pending.pop(ready)
        # What happened to it is in its run folder.
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(ready)
        done(task)


def _remote(task: Task) -> str:
    from altgrad.compare.launching.worker import run_task

    return run_task(task)
