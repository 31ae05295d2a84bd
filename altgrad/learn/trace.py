"""Every line of a learner's unit as it runs, with the values it makes.

    109 y = self.c_proj(y)                | y float64[2, 7, 48] rms 0 max 0

`--diff` runs the reference beside it and stops at the first value of the same name that differs.
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

from altgrad.learn.observe import double_stays_double, failure_of
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
        self.before: dict[str, Any] = {}
        self.line: int | None = None
        self.returned: Any = None

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Callable | None:
        code = frame.f_code
        inside = code.co_filename == self.file and self.first <= code.co_firstlineno <= self.last
        if self.frame is not None or not inside or event != "call":
            return None
        self.frame = frame
        self.before = dict(frame.f_locals)
        self.steps.append(Step(code.co_firstlineno, "(called with)", self.before.copy()))
        return self._local

    def _local(self, frame: FrameType, event: str, argument: Any) -> Callable:
        self._close(frame)
        if event == "line":
            self.line = frame.f_lineno
        if event == "return":
            self.returned = argument
            self.steps.append(Step(frame.f_lineno, "(returns)", {"": argument}))
        return self._local

    def _close(self, frame: FrameType) -> None:
        """What the line that has just been run changed."""
        if self.line is None:
            return
        now = dict(frame.f_locals)
        changed = {k: v for k, v in now.items() if self.before.get(k) is not v}
        text = self.lines[self.line - 1].strip() if self.line <= len(self.lines) else ""
        self.steps.append(Step(self.line, text, {k: _keep(v) for k, v in changed.items()}))
        self.before, self.line = now, None


def _keep(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


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
    wanted: dict[str, list[Any]] = {}
    if diff:
        theirs, _ = record(track, unit, load_reference(track.path), track.path)
        for step in theirs.steps:
            for name, value in step.values.items():
                wanted.setdefault(name, []).append(value)
    lines: list[str] = []
    for step in mine.steps:
        lines += _step_lines(step)
        if not passes and (difference := _first_difference(step, wanted)):
            return [*lines, f"     ✗ {difference}"]
    if error:
        lines.append(f"     ✗ {error}")
    if diff and not error:
        why = (
            "the unit passes" if passes else "no value of a name that the reference has too differs"
        )
        lines.append(f"     ✓ {why}")
    return lines


def _first_difference(step: Step, wanted: dict[str, list[Any]]) -> str | None:
    """A name set by this line to something that the reference never gives it."""
    if step.text == "(called with)":
        return None
    for name, value in step.values.items():
        others = [v for v in wanted.get(name, []) if isinstance(v, Tensor)]
        if isinstance(value, Tensor) and others and (text := _unlike_all(name, value, others)):
            return f"{name or 'the result'} differs from the reference: {text}"
    return None


def _unlike_all(name: str, value: Tensor, others: list[Tensor]) -> str | None:
    """Empty if `value` equals one of the others; else how it differs from the nearest.

    Only the result must have one of the shapes: on the way a tensor may be cut and joined at will.
    """
    alike = [other for other in others if other.shape == value.shape]
    if not alike and name:
        return None
    if not alike:
        shapes = " or ".join(str(list(other.shape)) for other in others)
        return f"shape {list(value.shape)}, there it is {shapes}"
    errors = [(value.double() - other.double()).abs().max().item() for other in alike]
    best = min(range(len(alike)), key=errors.__getitem__)
    scale = alike[best].double().abs().max().clamp(min=1e-30).item()
    return None if errors[best] <= 1e-9 * scale else f"by up to {errors[best]:.3g}"


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
    head = f"{str(x.dtype).removeprefix('torch.')}{list(x.shape)}"
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
