"""What a run has cost: time, memory, energy; over all sessions that led to the present state."""

import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from altgrad.training.recording.energy import EnergyMeter


def forget_peak() -> None:
    """From here on the peak counts from what is resident now, where the system allows that.

    A process begins with the peak of the one that started it: behind a large one, the same run
    would seem to need twice the memory.
    """
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_resident_bytes() -> int:
    """Largest resident memory of this process since `forget_peak`; of its whole life elsewhere."""
    with suppress(OSError, ValueError, IndexError):
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class RunClock:
    """A part of the run's state; counts on from a checkpoint.

    Attributes:
        train_s: training alone: no compilation, no evaluation, no saving.
        wall_s: everything from the start of `train()`. energy_j: None where nothing tells it.
        peak_memory_bytes: of the process since the run began in it, compilation included.
        peak_gpu_bytes: of the first GPU, None without.
    """

    def __init__(
        self, device: torch.device | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.device, self.clock = device, clock
        self.train_s = 0.0
        self._before: dict[str, Any] = {"wall_s": 0.0, "energy_j": 0.0, "peak_memory_bytes": 0}
        self.start()

    def start(self) -> None:
        """A session begins."""
        self._start = self.clock()
        forget_peak()
        gpu = self.device is not None and self.device.type == "cuda"
        self._energy = EnergyMeter(gpus=1 if gpu else 0)

    @property
    def wall_s(self) -> float:
        return self._before["wall_s"] + self.clock() - self._start

    @property
    def energy_j(self) -> float | None:
        """Unknown for good once one session of the run did not know it."""
        joules, before = self._energy.joules(), self._before["energy_j"]
        return None if joules is None or before is None else before + joules

    @property
    def peak_memory_bytes(self) -> int:
        return max(peak_resident_bytes(), self._before["peak_memory_bytes"])

    @property
    def peak_gpu_bytes(self) -> int | None:
        if self.device is None or self.device.type != "cuda":
            return None
        return torch.cuda.max_memory_allocated(self.device)

    def costs(self) -> dict[str, Any]:
        """For the last event of a session; what is not known is left out."""
        known = {
            "train_s": round(self.train_s, 3),
            "wall_s": round(self.wall_s, 3),
            "energy_j": self.energy_j,
            "peak_memory_bytes": self.peak_memory_bytes,
            "peak_gpu_bytes": self.peak_gpu_bytes,
        }
        return {name: value for name, value in known.items() if value is not None}

    def so_far(self) -> dict[str, float]:
        """Peak memory and energy for a line of metrics; what is not known is left out."""
        names = ("peak_memory_bytes", "peak_gpu_bytes", "energy_j")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def state_dict(self) -> dict[str, Any]:
        return {
            "train_s": self.train_s,
            "wall_s": self.wall_s,
            "energy_j": self.energy_j,
            "peak_memory_bytes": self.peak_memory_bytes,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.train_s = state["train_s"]
        self._before = {name: state[name] for name in self._before}
        self.start()
