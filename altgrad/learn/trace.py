"""Every line of a learner's unit as it runs, with the values it makes.

    109 y = self.c_proj(y)                | y float64[2, 7, 48] rms 0 max 0

`--diff` runs the reference beside it. What is returned is compared with what the reference returns;
a value on the way with every value that the reference has there. One that is none of them is said
to be so and no more: in another order of right steps other values arise.
"""

import ast
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from altgrad.learn.observe import differences, double_stays_double, failure_of, version_of
from altgrad.learn.source import find_units
from altgrad.learn.track import Track
from altgrad.learn.transplant import load_reference, transplant


@dataclass
class Step:
    """One executed line and the names it set."""

    line: int
    text: str
    values: dict[str, Any]


class Tracer:
    """Records the first call of one function of one file."""

    def __init__(self, file: Path, first: int, last: int):
        self.file, self.first, self.last = str(file), first, last
        self.lines = file.read_text().splitlines() if file.is_file() else []
        self.steps: list[Step] = []
        self.frame: FrameType | None = None
        self.before: dict[str, tuple[Any, Any]] = {}
        self.line: int | None = None

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Callable | None:
        code = frame.f_code
        inside = code.co_filename == self.file and self.first <= code.co_firstlineno <= self.last
        if self.frame is not None or not inside or event != "call":
            return None
        self.frame = frame
        self.before = _marked(frame)
        given = {name: _keep(value) for name, value in frame.f_locals.items()}
        self.steps.append(Step(code.co_firstlineno, "(called with)", given))
        return self._local

    def _local(self, frame: FrameType, event: str, argument: Any) -> Callable:
        self._close(frame)
        if event == "line":
            self.line = frame.f_lineno
        if event == "return":
            self.steps.append(Step(frame.f_lineno, "(returns)", {"": _keep(argument)}))
        return self._local

    def _close(self, frame: FrameType) -> None:
        """What the line that has just been run changed."""
        if self.line is None:
            return
        now = _marked(frame)
        changed = {k: v[0] for k, v in now.items() if _is_other(v, self.before.get(k))}
        text = self.lines[self.line - 1].strip() if self.line <= len(self.lines) else ""
        self.steps.append(Step(self.line, text, {k: _keep(v) for k, v in changed.items()}))
        self.before, self.line = now, None


def _marked(frame: FrameType) -> dict[str, tuple[Any, Any]]:
    """The frame's names with their values, and how often each has been written into so far."""
    return {name: (value, _versions(value)) for name, value in frame.f_locals.items()}


def _versions(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_versions(v) for v in value]
    return version_of(value) if isinstance(value, Tensor) else None


def _is_other(now: tuple[Any, Any], before: tuple[Any, Any] | None) -> bool:
    return before is None or now[0] is not before[0] or now[1] != before[1]


def _keep(value: Any) -> Any:
    """The value as it is now: a line further on may write into it."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if type(value) in (list, tuple):
        return type(value)(_keep(v) for v in value)
    return value


def record(track: Track, unit: str, namespace: dict[str, Any], file: Path) -> tuple[Tracer, str]:
    """Trace the unit's first observation; the second value is what it raised, or empty."""
    node = find_units(ast.parse(file.read_text()))[unit]
    tracer = Tracer(file, node.lineno - len(node.decorator_list), node.end_lineno or node.lineno)
    observation = next(iter(track.probes[unit](namespace)))
    error = ""
    with double_stays_double():
        sys.settrace(tracer)
        try:
            observation.value()
        except Exception as caught:
            failure = failure_of(caught, file)
            error = f"{failure.kind}: {failure.message}"
        finally:
            sys.settrace(None)
    return tracer, error


def trace_unit(
    track: Track, path: Path, unit: str, *, diff: bool = False, passes: bool = False
) -> list[str]:
    """The lines to show for one call of a learner's unit, transplanted into the reference.

    A unit that passes is right, whatever its names hold on the way: there is nothing to mark.
    """
    namespace = transplant(track.path, path.read_text(), path, unit)
    mine, error = record(track, unit, namespace, path)
    notes = [""] * len(mine.steps)
    if diff and not passes:
        notes = _notes(mine.steps, record(track, unit, load_reference(track.path), track.path)[0])
    lines: list[str] = []
    for step, note in zip(mine.steps, notes, strict=True):
        lines += [*_step_lines(step), *([f"     {note}"] if note else [])]
    if error:
        return [*lines, f"     ✗ {error}"]
    if diff and passes:
        lines.append("     ✓ the unit passes")
    elif diff and not any(note.startswith("✗") for note in notes):
        unseen = "check finds something that this view cannot see"
        lines.append(f"     ✗ {unseen}: altgrad learn check {unit}")
    return lines


def _notes(steps: list[Step], reference: Tracer) -> list[str]:
    """What is to be said of each step beside the reference, empty for nothing."""
    made = [x for step in reference.steps for v in step.values.values() for x in _tensors(v)]
    returned = [x for s in reference.steps if "" in s.values for x in _tensors(s.values[""])]
    notes, last_known = [], 0
    for i, step in enumerate(steps):
        values = [x for v in step.values.values() for x in _tensors(v)]
        if "" in step.values:
            notes.append(_unlike_all(values[0], returned) if len(values) == 1 else "")
            continue
        alike = [any(_agree(x, y) for y in made if y.shape == x.shape) for x in values]
        known = [any(y.shape == x.shape for y in made) for x in values]
        strange = any(k and not a for k, a in zip(known, alike, strict=True))
        notes.append(STRANGE if strange else "")
        if any(alike) and not strange:
            last_known = i
    first = next((i for i, n in enumerate(notes) if i > last_known and n == STRANGE), None)
    if first is not None and any(n.startswith("✗") for n in notes):
        notes[first] = FROM_HERE
    return notes


STRANGE = "· not a value the reference makes: may be your own order"
FROM_HERE = "· not a value the reference makes, nor is any after it: begin to look here"


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, list | tuple):
        return [x for v in value for x in _tensors(v)]
    return [value] if isinstance(value, Tensor) else []


def _agree(a: Tensor, b: Tensor) -> bool:
    return not differences({"": b}, {"": a})


def _unlike_all(value: Tensor, others: list[Tensor]) -> str:
    """Empty if `value` equals one of the others or there are none; else how it differs."""
    if not others or any(_agree(value, other) for other in others):
        return ""
    alike = [other for other in others if other.shape == value.shape]
    if not alike:
        shapes = " or ".join(str(list(other.shape)) for other in others)
        text = f"shape {list(value.shape)}, there it is {shapes}"
    else:
        text = _distance(value, alike)
    return f"✗ the result differs from the reference: {text}"


def _distance(value: Tensor, others: list[Tensor]) -> str:
    """By how much a tensor differs from the nearest of others of its shape."""
    if value.dtype not in [other.dtype for other in others]:
        return f"{_dtype(value)}, there it is {_dtype(others[0])}"
    errors = [(value.double() - other.double()).nan_to_num().abs().max() for other in others]
    return f"by up to {min(errors).item():.3g}"


def _dtype(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def _step_lines(step: Step) -> list[str]:
    shown = [text for name, value in step.values.items() if (text := _shown(name, value))]
    head = f"{step.line:4} {step.text[:60]:60}"
    return [f"{head} | {shown[0]}" if shown else head.rstrip()] + [
        f"{'':65} | {text}" for text in shown[1:]
    ]


def _shown(name: str, value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{name} {describe_tensor(value)}".strip()
    if isinstance(value, int | float | str | bool):
        return f"{name} = {value!r}"
    if isinstance(value, list | tuple) and value and all(isinstance(v, Tensor) for v in value):
        return f"{name} ({', '.join(describe_tensor(v) for v in value)})"
    return ""


def describe_tensor(x: Tensor) -> str:
    """`float64[2, 7, 48] rms 1.02 max 3.4`, and how many NaN if any."""
    head = f"{_dtype(x)}{list(x.shape)}"
    if x.is_meta or x.numel() == 0:
        return head
    if x.dtype == torch.bool:
        return f"{head} {int(x.sum())} true"
    if not (x.is_floating_point() or x.is_complex()):
        return f"{head} {int(x.min())} … {int(x.max())}"
    y = x.detach().abs().double()
    bad = int((~y.isfinite()).sum())
    y = y.nan_to_num(0, 0, 0)
    text = f"{head} rms {y.square().mean().sqrt().item():.3g} max {y.max().item():.3g}"
    return f"{text} NaN or inf: {bad}" if bad else text
