"""Whether two runs are the same run: their numbers step by step, and their last weights."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from altgrad.runs import RunFolder, read_metrics

Numbers = dict[int, dict[str, float]]


def is_timing(name: str) -> bool:
    """Times, speeds, memory and energy differ between any two runs (units stand last in names)."""
    return name.endswith(("_s", "_ms", "_bytes", "_j")) or name == "mfu"


def read_numbers(run: Path) -> Numbers:
    """Step -> what was logged there, without times."""
    lines = read_metrics(RunFolder(run).metrics)
    return {
        m["step"]: {k: v for k, v in m.items() if k != "step" and not is_timing(k)} for m in lines
    }


@dataclass(frozen=True)
class Likeness:
    """How far a second run is the first one again.

    steps: compared. first_difference: the first step with a number that is not bit for bit the
    same, or None. largest: the largest relative difference of any number, and where.
    weights_equal: of the last checkpoints, or None if they are not of the same step.
    """

    steps: int
    first_difference: int | None
    largest: float
    largest_at: str
    weights_equal: bool | None

    @property
    def identical(self) -> bool:
        return self.steps > 0 and self.first_difference is None and self.weights_equal is not False

    def within(self, tolerance: float) -> bool:
        """Identical, or every number within `tolerance` (relative); weights alone do not differ
        without a reason."""
        small = self.first_difference is not None and self.largest <= tolerance
        return self.identical or small

    def verdict(self, tolerance: float) -> str:
        """One line: identical, within `tolerance` (relative), or different from step K on."""
        if not self.steps:
            return "nothing to compare: no step was logged by both"
        if self.identical:
            return f"identical bit for bit: {self.steps} steps{self._weights()}"
        if self.first_difference is None:
            return f"different: {self.steps} steps agree, the last weights do not"
        size = f"largest relative difference {self.largest:.3g} ({self.largest_at})"
        if self.within(tolerance):
            return f"within the tolerance of {tolerance:g}: {size}"
        return f"different from step {self.first_difference} on: {size}"

    def _weights(self) -> str:
        return " and the last weights" if self.weights_equal else ""

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "identical": self.identical}


def compare_runs(first: Path, second: Path) -> Likeness:
    """Compare every number that both runs logged at the same step, and their last weights."""
    a, b = read_numbers(first), read_numbers(second)
    steps = sorted(a.keys() & b.keys())
    gaps = [
        (relative_difference(a[s][name], b[s][name]), s, name)
        for s in steps
        for name in a[s].keys() & b[s].keys()
    ]
    apart = [gap for gap in gaps if gap[0] > 0]
    largest = max(apart, default=(0.0, 0, ""))
    return Likeness(
        steps=len(steps),
        first_difference=min((s for _, s, _ in apart), default=None),
        largest=largest[0],
        largest_at=f"{largest[2]} at step {largest[1]}" if apart else "",
        weights_equal=last_weights_equal(first, second),
    )


def relative_difference(a: Any, b: Any) -> float:
    """0 for the same bits (NaN included), inf where one of the two is not finite."""
    if a == b or (a != a and b != b):
        return 0.0
    if not (isinstance(a, int | float) and isinstance(b, int | float)):
        return math.inf
    if not (math.isfinite(a) and math.isfinite(b)):
        return math.inf
    return abs(a - b) / max(abs(a), abs(b))


def last_weights_equal(first: Path, second: Path) -> bool | None:
    import torch

    from altgrad.training.checkpoints import checkpoints_of, load_weights, step_of

    newest = [checkpoints_of(run).latest() for run in (first, second)]
    if newest[0] is None or newest[1] is None or step_of(newest[0]) != step_of(newest[1]):
        return None
    a, b = (load_weights(path) for path in newest if path is not None)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
