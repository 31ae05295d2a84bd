"""Before an idea costs anything: is it sound, and does it take five steps?"""

import math
import resource
import sys
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import Any

from altgrad.compare.arm import Arm
from altgrad.compare.launching import Launch, Task, Wanted, apart, as_task
from altgrad.ideas.terms import Terms
from altgrad.programs import PatchedCode, call
from altgrad.settings import ConfigError

SMOKE_STEPS = 5


def failure_of(
    arm: Arm,
    launch: Launch,
    terms: Terms,
    changed: dict[str, Any],
    code: PatchedCode | None = None,
) -> str:
    """Why an idea may not run; empty if it may. Takes its steps in a process of its own, which may
    crash, and leaves no folder.

    changed: the settings it changes; where the network is among them it is verified. code: the
    altgrad it runs with, where that is patched: then it is verified in any case.
    """
    threads = launch.threads_each(len(launch.slots(arm.config.device)))
    place = Path(launch.runs) / "ideas" / "smoke"  # never made: no run begins
    task = as_task(Wanted(arm.name, arm.at_seed(0), place), threads)
    network = any(name.startswith("model.") for name in changed)
    try:
        if code is not None:
            return _failure_of_patched(task, code, terms.memory_gb)
        return str(apart(_try_out, task, network, terms.memory_gb))
    except BrokenProcessPool:
        return "its process died in the smoke test"


def _failure_of_patched(task: Any, code: PatchedCode, memory_gb: float | None) -> str:
    plain = {**asdict(task), "code": None, "cwd": code.cwd or task.cwd}
    try:
        return str(call(code, "altgrad.ideas.admission:try_out_patched", plain, memory_gb))
    except ConfigError as error:
        return str(error)


def try_out_patched(task: dict[str, Any], memory_gb: float | None) -> str:
    """In a process whose altgrad is the patched one."""
    return _try_out(Task(**task), True, memory_gb)


def _try_out(task: Any, network: bool, memory_gb: float | None) -> str:
    from altgrad.compare.launching.worker import settle_in

    settle_in(task)
    try:
        # The steps first: what verifying needs in memory is none of the idea's.
        return _smoke(task, memory_gb) or (_verify(task) if network else "")
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def _verify(task: Any) -> str:
    from altgrad.learn.verify.verify import verify
    from altgrad.training.config import TrainConfig

    for result in verify(TrainConfig.from_dict(task.settings)):
        if result.passed is False:
            return f"it fails `altgrad verify`: {result.name}: {result.evidence}"
    return ""


def _smoke(task: Any, memory_gb: float | None) -> str:
    import torch

    from altgrad.training.build import build_run
    from altgrad.training.config import TrainConfig

    trainer = build_run(TrainConfig.from_dict(task.settings))
    for step in range(1, SMOKE_STEPS + 1):
        pieces = [trainer.batches.next_batch() for _ in range(trainer.config.accumulation)]
        x, y = (torch.cat(part) for part in zip(*pieces, strict=True))
        loss = trainer.train_step(x, y)["loss"]
        if not math.isfinite(loss):
            return f"the loss is {loss} at step {step} of the smoke test"
    used = _memory_bytes() / 2**30
    if memory_gb is not None and used > memory_gb:
        return f"it needs {used:.2f} GiB, more than memory_gb={memory_gb:g}"
    return ""


def _memory_bytes() -> float:
    import torch

    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return float(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)
