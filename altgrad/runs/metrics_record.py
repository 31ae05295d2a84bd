"""Whether `metrics.jsonl` is what was written: how many lines, up to which step, their sha256.

A checkpoint carries the record of its moment, and the event that ends a session that of the whole
file: so a line that is lost, edited, doubled or left out is noticed. Loads no torch.
"""

import hashlib
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from altgrad.runs.lines import read_metrics


class Record:
    """What has been written so far, line by line."""

    def __init__(self) -> None:
        self.lines, self.step, self._sha = 0, 0, hashlib.sha256()

    def add(self, line: bytes, step: int) -> None:
        self.lines, self.step = self.lines + 1, step
        self._sha.update(line)

    def to_dict(self) -> dict[str, Any]:
        return {"lines": self.lines, "step": self.step, "sha256": self._sha.hexdigest()}


def record_of(path: Path, most: int | None = None) -> Record:
    """The record of a file as it is, or of its first lines; a last line that cannot be read counts
    as step -1."""
    record, last = Record(), b""
    for last in islice(_lines(path), most):
        record.add(last, 0)
    # A million lines: their bytes are enough for the digest, and only the last one's step counts.
    record.step = step_of_line(last) if record.lines else 0
    return record


def _lines(path: Path) -> Iterator[bytes]:
    # A pipe in the file's place would be waited on for ever: it holds no lines.
    if path.is_file():
        with path.open("rb") as file:
            yield from file


def step_of_line(line: bytes) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return -1


def what_is_missing(path: Path, written: dict[str, Any], *, whole: bool) -> str:
    """How a file differs from the record of what was `written`, in words; empty if it does not.

    whole: nothing may follow.
    """
    if not _is_record(written):
        return f"what was noted of {path.name} is damaged"
    found = record_of(path, max(0, written["lines"]))
    if found.lines < written["lines"]:
        return (
            f"{path.name} has {found.lines} of {written['lines']} lines, up to step {found.step} "
            f"of {written['step']}"
        )
    if found.to_dict() != written:
        return f"{path.name} was changed{_where(map(step_of_line, _lines(path)))}"
    lines = sum(1 for _ in _lines(path)) if whole else found.lines
    if whole and lines > written["lines"]:
        return f"{path.name} has {lines} lines, {written['lines']} were written"
    return ""


def _where(steps: Iterator[int]) -> str:
    """The first line that shows it by itself: unreadable, doubled, out of order."""
    before = 0
    for number, step in enumerate(steps, start=1):
        if step <= before:
            return f" (line {number} {'cannot be read' if step < 0 else f'repeats step {step}'})"
        before = step
    return " after it was written"


def what_a_finished_run_lost(root: Path, ended: dict[str, Any]) -> str:
    """What the record of a run that ended with this event lacks, in words; empty if it is whole.

    Runs of an older altgrad have no digest: their last line must be of the last step.
    """
    path = root / "metrics.jsonl"
    if written := ended.get("metrics"):
        return what_is_missing(path, written, whole=True)
    if "origin" in ended:  # imported or merged: it never had any
        return ""
    last = max((m.get("step", 0) for m in read_metrics(path)), default=0)
    wanted = ended.get("step", last)
    if last >= wanted or (not last and not _logs(root)):
        return ""
    return f"{path.name} ends at step {last} of {wanted}"


def _is_record(written: Any) -> bool:
    fresh = Record().to_dict()
    return isinstance(written, dict) and {n: type(v) for n, v in written.items()} == {
        n: type(v) for n, v in fresh.items()
    }


def _logs(root: Path) -> bool:
    try:
        settings = yaml.safe_load((root / "config.yaml").read_text())
        return settings["log_interval"] > 0 or settings["eval_interval"] > 0
    except (OSError, ValueError, TypeError, KeyError, RecursionError, yaml.YAMLError):
        return True
