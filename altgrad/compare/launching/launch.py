"""Where runs are executed, and how many at a time. None of it changes a result."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from altgrad.settings import ConfigError, coerce, hints, require, require_choice


@dataclass
class Launch:
    """Words of `altgrad compare` that are not part of the question."""

    launcher: str = "local"
    """Where runs are started: local, ray or slurm (`LAUNCHERS` in `sweep.py`)."""
    jobs: int | None = None
    """Runs at a time on this machine; null = one on a CPU, `jobs_per_device` per GPU."""
    threads: int | None = None
    """CPU threads of each run; null = the cores shared out among the jobs."""
    jobs_per_device: int = 1
    """Runs at a time on one GPU."""
    retries: int = 1
    """Further attempts at a run that failed or was interrupted."""
    runs: str = "runs"
    """Folder of the run folders."""
    ray_address: str = ""
    """Address of a Ray cluster; empty = workers on this machine."""
    storage: str = ""
    """Where runs of a Ray cluster without a shared disk leave their checkpoints until they come
    home: a path that all nodes see, or an fsspec address (`s3://bucket/folder`); empty = nowhere,
    so that a run whose node dies begins anew."""
    slurm_cluster: str = "slurm"
    """slurm, or local to try it without one."""
    slurm_partition: str = ""
    """Slurm's partition; empty = its default."""
    slurm_timeout_min: int = 240
    """Longest time of a run, in minutes."""

    def check(self, launchers: Sequence[str]) -> None:
        require_choice(self.launcher, launchers, "launcher")
        require_choice(self.slurm_cluster, ("slurm", "local"), "slurm_cluster")
        for name in ("jobs", "threads", "jobs_per_device", "slurm_timeout_min"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name}={value} must be at least 1.")
        require(
            not self.storage or bool(self.launcher == "ray" and self.ray_address),
            f"storage={self.storage} is for a Ray cluster (launcher=ray ray_address=…) whose nodes "
            "share no disk; elsewhere checkpoints lie in their runs' folders. How weights are "
            "stored is precision.storage.",
        )
        require(self.retries >= 0, f"retries={self.retries} must not be negative.")

    @property
    def elsewhere(self) -> bool:
        """Whether runs happen on machines this process knows nothing about."""
        on_slurm = self.launcher == "slurm" and self.slurm_cluster == "slurm"
        return on_slurm or (self.launcher == "ray" and bool(self.ray_address))

    def slots(self, device: str) -> list[int | None]:
        """One entry for each run at a time: the GPU it gets, or None."""
        if not device.startswith("cuda"):
            return [None] * (self.jobs or 1)
        import torch

        gpus = range(max(1, torch.cuda.device_count()))
        shared: list[int | None] = [gpu for _ in range(self.jobs_per_device) for gpu in gpus]
        return shared[: self.jobs] if self.jobs else shared

    def threads_each(self, slots: int) -> int:
        return self.threads or max(1, available_cores() // slots)


def available_cores() -> int:
    """Cores this process may use: its affinity, or fewer if OMP_NUM_THREADS says so."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores or 1, int(asked)) if asked.isdigit() and int(asked) else cores or 1


def take_launch_words(words: Sequence[str]) -> tuple[Launch, list[str]]:
    """The launch settings among the words, and the other words."""
    kinds = hints(Launch)
    own: dict[str, Any] = {}
    others = []
    for word in words:
        key, equals, text = word.partition("=")
        if equals and key in kinds:
            own[key] = _read(text, kinds[key], key)
        else:
            others.append(word)
    return Launch(**own), others


def _read(text: str, kind: Any, name: str) -> Any:
    if kind is str:
        return text
    try:
        return coerce(None if text == "null" else int(text), kind, name)
    except ValueError:
        raise ConfigError(f"{name}={text!r} must be a whole number.") from None


@dataclass(frozen=True)
class Task:
    """One run to be made, in plain values that travel to another process or machine.

    settings: the run's nested settings, `run_dir` included. run: its folder. label: for people.
    cwd: folder that relative paths in the settings start from. code: `PatchedCode.to_dict()` of the
    altgrad that makes it, if that is not this one.
    """

    label: str
    run: str
    settings: dict[str, Any] = field(hash=False)
    threads: int = 1
    cwd: str = "."
    code: dict[str, Any] | None = field(default=None, hash=False)


Launcher = Callable[[Sequence[Task], Launch, list[int | None], Callable[[Task], None]], None]
"""`launch(tasks, how, slots, done)`: attempt each task once; call `done(task)` after each. What
became of it is read from its run folder, never from the process."""
