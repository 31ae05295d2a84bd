"""Runs as jobs of Slurm through submitit; `slurm_cluster=local` does the same without Slurm."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from altgrad.compare.launching.launch import Launch, Task
from altgrad.settings import ConfigError

POLL_S = 0.5
GRACE_S = 120.0
"""How long Slurm may take between SIGTERM and what follows it."""
TAKEN_AWAY = ("PREEMPTED", "NODE_FAIL")
"""What Slurm did to a job; one that stays so is submitted again, and counts as no attempt."""


class Preemptible:
    """What a job executes. Preempted, it is queued again and goes on from its last checkpoint."""

    def __call__(self, task: Task) -> str:
        from altgrad.compare.launching.worker import run_task

        status = run_task(task)
        if status == "interrupted":
            # SIGTERM, the first sign of a preemption: with a result the job would count as done.
            # Without one SIGUSR2 has it queued again, or Slurm ends it and says why.
            time.sleep(GRACE_S)
        return status

    def checkpoint(self, task: Task) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, task)


def run_on_slurm(
    tasks: Sequence[Task], how: Launch, slots: list[int | None], done: Callable[[Task], None]
) -> None:
    """Attempt each task once, at most `jobs` at a time if that is set."""
    executor = _executor(tasks, how, slots)
    room = len(tasks) if how.jobs is None and how.slurm_cluster == "slurm" else len(slots)
    waiting, running, since = list(tasks), dict[Any, Task](), dict[Any, float]()
    with _python_path():
        while waiting or running:
            while waiting and len(running) < room:
                task = waiting.pop(0)
                running[executor.submit(Preemptible(), task)] = task
            for job in list(running):
                if job.state in TAKEN_AWAY:
                    if _stays_away(job, since):
                        waiting.append(running.pop(job))
                elif job.done():
                    done(running.pop(job))
            time.sleep(POLL_S)


def _stays_away(job: Any, since: dict[Any, float]) -> bool:
    """Whether Slurm took the job long enough ago to have queued it again, if that is its way."""
    return time.monotonic() - since.setdefault(job, time.monotonic()) >= GRACE_S


def _executor(tasks: Sequence[Task], how: Launch, slots: list[int | None]) -> Any:
    try:
        import submitit
    except ImportError:
        raise ConfigError(
            "launcher=slurm needs submitit; pip install 'altgrad[cluster]'."
        ) from None
    folder = Path(tasks[0].run).parent / "logs" / "slurm"
    cluster = None if how.slurm_cluster == "slurm" else "local"
    executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
    executor.update_parameters(
        timeout_min=how.slurm_timeout_min,
        cpus_per_task=tasks[0].threads,
        gpus_per_node=int(slots[0] is not None),
        name="altgrad",
        **({"slurm_partition": how.slurm_partition} if how.slurm_partition else {}),
    )
    return executor


@contextmanager
def _python_path() -> Iterator[None]:
    """Jobs inherit the environment: let them import from where this process does."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
