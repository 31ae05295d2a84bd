"""Makes one run in a process of its own. Importing this loads everything a run needs.

Whatever state the folder is in decides what happens: nothing there, or stopped before its first
checkpoint -> from the start; stopped later -> resumed; ended -> nothing. So an attempt may be
repeated, moved and preempted at will.
"""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from multiprocessing import connection, parent_process
from pathlib import Path
from statistics import median
from typing import Any

import torch
import yaml

from altgrad import trust
from altgrad.compare.launching.launch import Task
from altgrad.compare.state import ENDED, attempt_allowed
from altgrad.programs import PatchedCode, call, is_program, run_program
from altgrad.runs import (
    MACHINE_ERRORS,
    RunFolder,
    causes_of,
    is_locked,
    run_status,
    write_atomically,
)
from altgrad.training.build import build_run, resume_run
from altgrad.training.checkpoints import CheckpointError, find_checkpoint
from altgrad.training.config import TrainConfig
from altgrad.training.evaluation import judge_by_logits
from altgrad.training.trainer import Trainer

POLL_S = 0.5


def run_task(task: Task) -> str:
    """Make the run of a task, or go on with it.

    Returns:
        Its status: `finished`, `diverged` or `interrupted`.

    Raises:
        Exception: what stopped it, after it was written into the run's `events.jsonl`.
    """
    settle_in(task)
    run = Path(task.run)
    _wait_while_locked(run)
    if (run / "config.yaml").is_file() and run_status(run) in ENDED and not attempt_allowed(run):
        return run_status(run)
    if is_program(task.settings):
        return _run_program(task, run)
    if task.code is not None:
        return _run_patched(task, run)
    try:
        status = str(_trainer_for(task, run).train()["status"])
    except Exception as error:
        _note_failure(task, run, error)
        raise
    return status


def _run_program(task: Task, run: Path) -> str:
    """From the start, whatever another attempt has left."""
    if run.is_dir():
        clear_attempt(run)
    try:
        return run_program(task.settings, run, threads=task.threads)
    except Exception as error:
        _note_failure(task, run, error)
        raise


def _run_patched(task: Task, run: Path) -> str:
    """By another process, whose altgrad is the patched one; it writes the run folder."""
    assert task.code is not None
    code = PatchedCode(tuple(task.code["path"]), task.code["cwd"])
    plain = {**asdict(task), "code": None, "cwd": code.cwd or task.cwd}
    target = "altgrad.compare.launching.worker:run_judged"
    try:
        return str(call(code, target, plain, cwd=task.cwd))
    except Exception as error:
        if not run_status_is_known(run):
            _note_failure(task, run, error)
        raise


def run_status_is_known(run: Path) -> bool:
    return (run / "config.yaml").is_file() and run_status(run) in ENDED


def run_judged(task: dict[str, Any]) -> str:
    """`run_task` in a patched altgrad: what is judged is computed from logits, here."""
    judge_by_logits()
    return run_task(Task(**task))


def settle_in(task: Task) -> None:
    """In the user's folder, with the code that was accepted there (`sweep.as_task`)."""
    os.chdir(task.cwd)
    trust.allow(trust.names_in(task.settings))
    torch.set_num_threads(task.threads)


def _trainer_for(task: Task, run: Path) -> Trainer:
    if (run / "config.yaml").is_file():
        try:
            find_checkpoint(run)
            return resume_run(run)
        except CheckpointError:
            clear_attempt(run)
    return build_run(TrainConfig.from_dict({**task.settings, "run_dir": str(run)}))


def clear_attempt(run: Path) -> None:
    """Empty the folder of a run that never reached a checkpoint; its events stay, as a history."""
    for path in run.iterdir():
        if path.name in ("events.jsonl", ".lock"):
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _wait_while_locked(run: Path) -> None:
    """Another process, such as one of a comparison that is just being stopped, has it."""
    while is_locked(run):
        time.sleep(POLL_S)


def _note_failure(task: Task, run: Path, error: Exception) -> None:
    """A failure is an outcome: it gets a run folder even when it came before the first step."""
    folder = RunFolder(run)
    run.mkdir(parents=True, exist_ok=True)
    if not folder.config.is_file():
        write_atomically(folder.config, yaml.safe_dump(task.settings, sort_keys=False))
    machine = isinstance(error, OSError) or any(map(_of_machine, causes_of(error)))
    folder.event("failed", error=f"{type(error).__name__}: {error}", machine=machine)


def _of_machine(error: BaseException) -> bool:
    """Also where it was put into other words on its way."""
    disk = isinstance(error, OSError) and error.errno in MACHINE_ERRORS
    return disk or isinstance(error, MemoryError)


def main(task: Task, gpu: int | None, log: str) -> None:
    """Entry point of a local process: its own GPU, its own log, and an end when the parent ends."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu)
    _write_to(Path(log))
    stop_with_parent()
    run_task(task)


def _write_to(log: Path) -> None:
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError:  # a full disk: the run says so in its own folder, if anywhere
        handle = os.open(os.devnull, os.O_WRONLY)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def stop_with_parent() -> None:
    """A comparison that is killed takes its processes along: runs save and stop as on SIGTERM."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def measure_steps_s(
    tasks: Sequence[Task], steps: int = 20, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Median seconds of an optimiser step of each task, after the first quarter.

    clock: `time.process_time` on a machine that others use, too.

    The tasks take their steps in turn, so that whatever slows the machine down for a while slows
    all of them. The steps are spread over the run: one whose first part has a shorter context gets
    the mean of the medians of both parts. Makes no run folder.
    """
    for task in tasks:
        settle_in(task)
    trainers = [
        build_run(TrainConfig.from_dict({**task.settings, "run_dir": task.run})) for task in tasks
    ]
    rounds = [[_step_s(trainer, k / steps, clock) for trainer in trainers] for k in range(steps)]
    return [_typical(timed) for timed in zip(*rounds, strict=True)]


def _step_s(trainer: Trainer, share: float, clock: Callable[[], float]) -> tuple[int, float]:
    """Context and seconds of a step that is taken after this share of the run."""
    c = trainer.config
    if c.schedule.short_context is not None:
        trainer.step = int(share * c.max_steps)
    context = c.schedule.context(trainer.step, c.max_steps, c.model.block_size)
    pieces = [trainer.batches.next_batch() for _ in range(c.accumulation)]
    x, y = (torch.cat(part) for part in zip(*pieces, strict=True))
    start = clock()
    trainer.train_step(x, y)
    return context, clock() - start


def _typical(timed: Sequence[tuple[int, float]]) -> float:
    """Mean over the contexts, each weighed by its steps, of the median seconds of a step."""
    by_context: dict[int, list[float]] = {}
    for context, seconds in timed:
        by_context.setdefault(context, []).append(seconds)
    return sum(
        len(times) / len(timed) * median(times[len(times) // 4 :]) for times in by_context.values()
    )
