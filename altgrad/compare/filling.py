"""A comparison while it fills: pairs done and to come, and what the pairs so far say of each arm.

Nothing here is a verdict: that is `conclusion`'s, of all runs, by the rules that were fixed before.
Reads run folders; starts nothing; loads no torch.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from altgrad.compare.conclusion import rules_of
from altgrad.compare.outcomes import Outcome, read_outcome
from altgrad.compare.question import Question
from altgrad.compare.record import Record, read_record
from altgrad.compare.state import is_outcome, state_of
from altgrad.compare.verdict import judge
from altgrad.runs import RunFolder, costs_of, read_metrics
from altgrad.settings import ConfigError

MOST_LOOKS = 60
"""Numbers of pairs at which an interval is drawn."""


@dataclass(frozen=True)
class Cell:
    """One run of it. state: as `state_of` says, `waiting` where nothing is there. outcome: None
    until it has one."""

    arm: str
    seed: int
    run: str
    state: str
    step: int
    max_steps: int
    outcome: float | None
    train_s: float | None


@dataclass(frozen=True)
class Look:
    """An arm against the control after `pairs` whole pairs; what is not finite yet is None."""

    arm: str
    pairs: int
    mean: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Filling:
    """Everything that a page shows of a comparison on its way. left_s: of all runs to come, one
    after another, at the pace so far; None before any run has ended. runs_at_once: how many train
    now."""

    question: Question
    record: Record
    cells: list[Cell]
    looks: list[Look]
    left_s: float | None
    runs_at_once: int

    @property
    def ended(self) -> int:
        return sum(cell.state not in ON_THEIR_WAY for cell in self.cells)

    @property
    def is_complete(self) -> bool:
        """Whether no run is still to come; "as you go" may ask for more."""
        return bool(self.cells) and self.ended == len(self.cells)

    def to_dict(self) -> dict[str, Any]:
        return {
            "question": self.question.to_dict(),
            "command": self.record.command,
            "control": self.question.control,
            "arms": list(self.record.arms),
            "differs": {arm: facts["differs"] for arm, facts in self.record.arms.items()},
            "cells": [asdict(cell) for cell in self.cells],
            "looks": [asdict(look) for look in self.looks],
            "ended": self.ended,
            "runs": len(self.cells),
            "seeds_at_most": len(self.question.all_seeds()),
            "left_s": self.left_s,
            "complete": self.is_complete,
        }


ON_THEIR_WAY = ("waiting", "running", "interrupted", "again")


Kept = dict[Path, tuple[tuple[float, ...], Cell]]
"""Runs of one comparison that have ended: what their files looked like, and what was read."""


def read_filling(folder: Path, kept: Kept | None = None) -> Filling:
    """What a comparison's folder and its runs say now.

    kept: what an earlier call has read; runs that have ended and are as they were are not read
    again.

    Raises:
        ConfigError: it is none, or cannot be read.
    """
    question, record = read_record(folder)
    base = folder.parent.parent
    order = [question.control, *(arm for arm in record.runs if arm != question.control)]
    steps = {arm: int(facts["max_steps"]) for arm, facts in record.arms.items()}
    cells = [
        _kept_cell({} if kept is None else kept, question, arm, int(seed), base / name, steps)
        for arm in order
        for seed, name in record.runs.get(arm, {}).items()
    ]
    running = sum(cell.state == "running" for cell in cells)
    return Filling(question, record, cells, _looks(question, cells), _left_s(cells), running)


def _kept_cell(
    kept: Kept, question: Question, arm: str, seed: int, run: Path, steps: dict[str, int]
) -> Cell:
    seen = _seen(run)
    before = kept.get(run)
    if before and before[0] == seen and (before[1].arm, before[1].seed) == (arm, seed):
        return before[1]
    cell = _cell(question, arm, seed, run, steps.get(arm, 0))
    if cell.state in ENDED:
        kept[run] = seen, cell
    return cell


def _seen(run: Path) -> tuple[float, ...]:
    """Size and age of what a run's outcome is read from."""
    folder = RunFolder(run)
    found = [path.stat() for path in (folder.metrics, folder.events) if path.is_file()]
    return tuple(v for state in found for v in (state.st_size, state.st_mtime_ns))


def _cell(question: Question, arm: str, seed: int, run: Path, max_steps: int) -> Cell:
    state = state_of(run)
    if state == "missing":
        return Cell(arm, seed, run.name, "waiting", 0, max_steps, None, None)
    if state == "failed" and not is_outcome(run):
        state = "again"  # it has another attempt
    if state in ("running", "interrupted", "again"):
        costs = costs_of(read_metrics(RunFolder(run).metrics), [])
        return Cell(arm, seed, run.name, state, costs["step"], max_steps, None, costs["train_s"])
    found = _outcome(arm, seed, run, question)
    value = None if found is None or found.lost else found.outcome
    step, train_s = (found.step, found.train_s) if found else (0, None)
    return Cell(arm, seed, run.name, state, step, max_steps, value, train_s)


def _outcome(arm: str, seed: int, run: Path, question: Question) -> Outcome | None:
    """None of a run that never logged the outcome: the report will refuse it, by name."""
    try:
        return read_outcome(arm, seed, run, question)
    except ConfigError:
        return None


def _looks(question: Question, cells: list[Cell]) -> list[Look]:
    """After each seed whose runs have ended for the control and the arm, in the seeds' order."""
    by_arm: dict[str, dict[int, Cell]] = {}
    for cell in cells:
        by_arm.setdefault(cell.arm, {})[cell.seed] = cell
    control = by_arm.pop(question.control, {})
    rules = rules_of(question)
    found = []
    for arm, own in by_arm.items():
        seeds = [s for s in own if s in control and {own[s].state, control[s].state} <= ENDED]
        pairs = [(_value(control[s]), _value(own[s])) for s in seeds]
        for n in _at(len(pairs)):
            base, values = np.array(pairs[:n]).T
            # The interval does not depend on how many arms there are, but for "as you go".
            others = {name: values if name == arm else base for name in by_arm}
            (evidence,) = (e for e in judge(base, others, rules, resamples=0) if e.arm == arm)
            numbers = (evidence.mean, evidence.low, evidence.high)
            found.append(Look(arm, n, *(v if math.isfinite(v) else None for v in numbers)))
    return found


ENDED = {"finished", "diverged", "failed", "damaged"}


def _value(cell: Cell) -> float:
    return math.nan if cell.outcome is None else cell.outcome


def _at(pairs: int) -> list[int]:
    size = math.ceil(pairs / MOST_LOOKS) or 1
    return [*range(size, pairs, size), pairs] if pairs else []


def _left_s(cells: list[Cell]) -> float | None:
    """Each arm at its own pace; an arm of which nothing is known yet at that of the others."""
    paces: dict[str, list[float]] = {}
    for cell in cells:
        if cell.train_s and cell.step:
            paces.setdefault(cell.arm, []).append(cell.train_s / cell.step)
    if not paces:
        return None
    overall = fmean([fmean(p) for p in paces.values()])
    return sum(
        (cell.max_steps - cell.step) * fmean(paces.get(cell.arm, [overall]))
        for cell in cells
        if cell.state in ON_THEIR_WAY
    )
