"""Many runs: attempted where the launcher says, retried, and gathered from their folders."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from altgrad.compare.launching.launch import Launch, Launcher, Task
from altgrad.compare.launching.local import log_path, run_locally
from altgrad.compare.launching.ray import run_on_ray
from altgrad.compare.launching.slurm import run_on_slurm
from altgrad.compare.state import GAVE_UP, failure_of, is_outcome, machine_failed, state_of
from altgrad.programs import PatchedCode, ProgramRun
from altgrad.runs import RunFolder, accept_code
from altgrad.settings import ConfigError
from altgrad.training.config import TrainConfig

LAUNCHERS: dict[str, Launcher] = {
    "local": run_locally,
    "ray": run_on_ray,
    "slurm": run_on_slurm,
}


@dataclass(frozen=True)
class Wanted:
    """A run that must exist in the end: its settings, its folder, and what to call it.

    code: the altgrad it is made with, where that is a patched one.
    """

    label: str
    config: TrainConfig | ProgramRun
    run: Path
    code: PatchedCode | None = None


Report = Callable[[int, int, str, str], None]
"""`report(done, total, label, state)` after each run."""


def complete(wanted: Sequence[Wanted], how: Launch, report: Report | None = None) -> None:
    """Make every run an outcome: finished, diverged, or failed for good.

    Runs that are outcomes already are left alone; a stopped one goes on where it was. A run that
    still fails after `how.retries` further attempts keeps its folder and counts as failed.

    Raises:
        KeyboardInterrupt: the user stopped it; runs in flight have saved.
    """
    unique = {w.run: w for w in wanted}
    total, open_ = len(unique), [w for w in unique.values() if not is_outcome(w.run)]
    finished = total - len(open_)

    def done(task: Task) -> None:
        nonlocal finished
        run = Path(task.run)
        finished += state_of(run) in ("finished", "diverged")
        if report:
            report(finished, total, task.label, state_of(run))

    for attempt in range(how.retries + 1):
        if not open_:
            break
        slots = how.slots(open_[0].config.device)
        tasks = [as_task(w, how.threads_each(len(slots))) for w in open_]
        LAUNCHERS[how.launcher](tasks, how, slots, done)
        last = attempt == how.retries
        open_ = [w for w in open_ if not _settled(w.run, last)]


def as_task(wanted: Wanted, threads: int) -> Task:
    """The code is accepted here, where the user is; whoever makes the run relies on that."""
    accept_code(wanted.config.to_dict())
    run = wanted.run.absolute()
    settings = {**wanted.config.to_dict(), "run_dir": str(run)}
    code = wanted.code.to_dict() if wanted.code else None
    return Task(wanted.label, str(run), settings, threads, os.getcwd(), code)


def _settled(run: Path, last: bool) -> bool:
    """Whether the run is an outcome; after the last attempt it becomes one, unless the machine
    failed: that says nothing about the arm, and asking again tries again.

    Raises:
        ConfigError: the machine failed, or no process got as far as making the run.
    """
    if is_outcome(run):
        return True
    if last and state_of(run) == "missing":
        log = log_path(run)
        raise ConfigError(f"{run} could not be begun: {_last_line(log)} (all it said: {log}).")
    if last and machine_failed(run):
        raise ConfigError(
            f"{run} could not go on: {failure_of(run)}. That is no finding about the arm: see to "
            "it, then ask again; everything so far is kept."
        )
    if last:
        RunFolder(run).event("failed", error=failure_of(run))
        RunFolder(run).event(GAVE_UP)
    return last


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1][:200] if lines else "its process ended without a message"
