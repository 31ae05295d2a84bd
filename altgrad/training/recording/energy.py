"""Energy since a moment, where the machine tells: RAPL for processors, NVML for NVIDIA GPUs.

RAPL: /sys/class/powercap (Linux kernel documentation, "Power Capping Framework"); its counters
are in microjoules, wrap around, and since 2020 are often readable by root only. NVML counts
millijoules since the driver was loaded. What neither tells (memory, fans, losses) is not counted.
"""

from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")


class EnergyMeter:
    """Joules of all processor packages and the given GPUs since it was made; None if unknown."""

    def __init__(self, gpus: int = 0, powercap: Path = POWERCAP) -> None:
        packages = [p for p in sorted(powercap.glob("intel-rapl:*")) if p.name.count(":") == 1]
        self._counters: list[_Rapl | _Nvml] = [_Rapl(p) for p in packages]
        self._counters += [_Nvml(i) for i in range(gpus)]
        self._counters = [c for c in self._counters if c.works]

    def joules(self) -> float | None:
        """A counter may wrap around once between two calls (after 40 minutes at 100 W, say)."""
        if not self._counters:
            return None
        return sum(counter.joules() for counter in self._counters)


class _Rapl:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.total = 0
        self.last = self._read("energy_uj")
        self.range = self._read("max_energy_range_uj")
        self.works = self.last is not None and self.range is not None

    def _read(self, name: str) -> int | None:
        try:
            return int((self.folder / name).read_text())
        except (OSError, ValueError):
            return None

    def joules(self) -> float:
        now = self._read("energy_uj")
        if now is not None and self.last is not None and self.range is not None:
            self.total += now - self.last if now >= self.last else now - self.last + self.range
            self.last = now
        return self.total / 1e6


class _Nvml:
    def __init__(self, index: int) -> None:
        self.works = False
        try:
            import pynvml

            pynvml.nvmlInit()
            self.handle: Any = pynvml.nvmlDeviceGetHandleByIndex(index)
            self.nvml = pynvml
            self.first = self._read()
            self.works = True
        except Exception:
            # No package, no driver, a GPU too old to count: nothing is known, nothing is claimed.
            return

    def _read(self) -> int:
        return self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)

    def joules(self) -> float:
        return (self._read() - self.first) / 1e3
