"""The learner's loop: one real training iteration with the learner's own file, shown as it happens.

A run meets its parts in the order in which the workshop teaches them: construction,
initialisation, the first evaluation, the optimisers, training, generation, and last the count of
FLOPs. A loss, a gradient or a weight that is no number ends it there, with the unit from which the
first NaN came. The text learned from is the learner's file itself, byte by byte.
"""

import ast
import queue
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from altgrad.learn.cockpit.calls import Tape, wrap_units
from altgrad.learn.cockpit.finite import (
    FirstBad,
    Weights,
    check_gradients,
    check_loss,
    check_start,
    listen_to_weights,
    no_number,
)
from altgrad.learn.cockpit.gradient_norms import Norms, norm_lines, reference_norms
from altgrad.learn.harness import harness_of
from altgrad.learn.observe import Failure, failure_of
from altgrad.learn.source import find_units
from altgrad.learn.trace import describe_tensor
from altgrad.learn.track import Track
from altgrad.learn.transplant import load_file

SIZES = {"length": 64, "vocab_size": 256, "n_layer": 2, "n_head": 4, "n_kv_head": 2}
SIZES |= {"n_embd": 64}
BATCH = 8
STEPS = 3
RUN_TIMEOUT_S = 60.0
Say = Callable[[str], None]


def iterate(track: Track, path: Path, optional: set[str] | None = None) -> Iterator[str | Failure]:
    """Lines of the flow; a `Failure` at last where the iteration could not go on.

    Meant for `stream_isolated`: runs the learner's code in this very process.
    """
    lines: queue.Queue[str | Failure | None] = queue.Queue()
    work = (track, path, lines, optional or set())
    worker = threading.Thread(target=_work, args=work, daemon=True)
    worker.start()
    while (line := lines.get()) is not None:
        yield line
    worker.join()


def _work(track: Track, path: Path, lines: queue.Queue, optional: set[str]) -> None:
    flow = Flow(lines.put)
    try:
        go_through(track, path, flow, optional)
    except BaseException as error:
        if flow.first.origin and not isinstance(error, FloatingPointError):
            flow.note(f"{flow.first.origin}")
        lines.put(failure_of(error, path))
    lines.put(None)


def go_through(track: Track, path: Path, flow: "Flow", optional: set[str]) -> None:
    """The iteration itself, in this very thread; raises whatever the learner's file raises."""
    source = path.read_text()
    namespace = load_file(source, path)
    flow.watch(namespace, track)
    if track.is_model:
        _one_iteration(track, namespace, source, flow, optional)
    else:
        ending_of(track.name).run(namespace, flow)


def ending_of(track_name: str) -> Any:
    """The module with `run(namespace, flow)` and `beside(namespace)` of a track without a model."""
    return import_module(f"altgrad.learn.endings.{track_name}")


def beside(track: Track, path: Path) -> Iterator[str | bool | Failure]:
    """Lines about the learner's file beside programs known to be right; last whether it agrees."""
    try:
        yield from ending_of(track.name).beside(load_file(path.read_text(), path))
    except Exception as error:
        yield failure_of(error, path)


def _one_iteration(
    track: Track, ns: dict[str, Any], text: str, flow: "Flow", optional: set[str]
) -> None:
    harness = harness_of(track.name)
    flow.stage("construction")
    torch.manual_seed(0)
    model = harness.make(ns, SIZES)
    flow.stage("initialisation")
    harness.initialise(model)
    check_start(model, flow.first)
    flow.tape.name_places(model)
    listen_to_weights(flow.first, model, ns)
    flow.stage("size")
    flow.note(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    idx, targets = _batch(text)
    flow.stage("first evaluation")
    with torch.no_grad():
        before = check_loss(float(harness.loss(model, idx, targets)), "the first loss", flow.first)
    flow.note(f"loss {before:.4f}, ln V = {torch.tensor(256.0).log():.4f}")
    theirs = reference_norms(track, model, SIZES, (idx, targets), STEPS)
    flow.stage("optimisers")
    optimizers = harness.optimizers(model)
    flow.stage("training")
    norms = Norms(model, ns)
    after = _train(harness, model, optimizers, (idx, targets), flow, norms)
    flow.stage("backward")
    for line in norm_lines(norms, theirs):
        flow.note(line)
    flow.note(f"loss after {STEPS} steps on the same batch: {after:.4f}")
    flow.stage("generation")
    made = harness.generate(model, list(text[:8].encode()), 8)
    flow.note(f"8 bytes drawn: {bytes(made)!r}")
    flow.stage("size of the work")
    _count(harness, model, flow, optional)


def _count(harness: Any, model: Any, flow: "Flow", optional: set[str]) -> None:
    """FLOPs and device; on the fast way they may be missing."""
    try:
        for note in harness.notes(model):
            flow.note(note)
    except NotImplementedError:
        if not optional:
            raise
        flow.note(f"optional, and not there yet: {', '.join(sorted(optional))}")


def _train(
    harness: Any,
    model: Any,
    optimizers: list,
    batch: tuple[Tensor, Tensor],
    flow: "Flow",
    norms: Norms,
) -> float:
    for step in range(STEPS):
        flow.new_pass()
        loss = harness.loss(model, *batch)
        value = check_loss(float(loss.detach()), f"the loss at step {step}", flow.first)
        loss.backward()
        check_gradients(model, step, value, flow.first)
        norms.note()
        _move(model, optimizers, step, harness.optimizers_unit)
        model.zero_grad(set_to_none=True)
    flow.new_pass()
    with torch.no_grad():
        after = float(harness.loss(model, *batch))
    return check_loss(after, f"the loss after {STEPS} steps", flow.first)


def _move(model: Any, optimizers: list, step: int, unit: str) -> None:
    """Raises FloatingPointError where a weight comes out of it as no number."""
    weights = Weights(model)
    for optimizer in optimizers:
        optimizer.step()
    if origin := weights.broken_by(optimizers, unit):
        raise no_number(f"a weight is no number after step {step}", origin)


def _batch(text: str) -> tuple[Tensor, Tensor]:
    data = torch.tensor(list(text.encode()))
    length = SIZES["length"]
    starts = torch.linspace(0, len(data) - length - 1, BATCH).long()
    rows = torch.stack([data[s : s + length + 1] for s in starts])
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


class Flow:
    """Wraps every unit so that its calls are said aloud, each unit's first call per stage."""

    def __init__(self, say: Say):
        self.say, self.depth, self.seen = say, 0, set[str]()
        self.first = FirstBad()  # the unit that first made NaN or infinity of numbers
        self.tape = Tape(self.first.see)

    def stage(self, name: str) -> None:
        self.seen.clear()
        self.new_pass()
        self.say(f"── {name}")

    def new_pass(self) -> None:
        """What was bad before and did no harm is no longer held against anybody."""
        self.first.clear()
        self.tape.clear()

    def note(self, text: str) -> None:
        self.say(f"   {text}")

    def watch(self, namespace: dict[str, Any], track: Track) -> None:
        wrap_units(namespace, track, self._wrapped)

    def _wrapped(self, unit: str, function: Callable) -> Callable:
        def told(*args: Any, **kwargs: Any) -> Any:
            loud = unit not in self.seen
            self.seen.add(unit)
            indent = "   " + "  " * self.depth
            if loud:
                shown = ", ".join(filter(None, (_value(a) for a in [*args, *kwargs.values()])))
                self.say(f"{indent}{unit}({shown})")
            self.depth += 1
            try:
                result = self.tape.run(unit, function, args, kwargs)
            finally:
                self.depth -= 1
            if loud and (text := _value(result)):
                self.say(f"{indent}→ {text}")
            return result

        return told


def _value(value: Any) -> str:
    if isinstance(value, Tensor):
        return describe_tensor(value)
    if isinstance(value, tuple) and value and all(isinstance(v, Tensor) for v in value):
        return f"({', '.join(f'{list(v.shape)}' for v in value)})"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
    return ""


def unit_at(track: Track, path: Path, line: int | None) -> str | None:
    """The unit of the learner's file that holds this line."""
    if line is None:
        return None
    for name, node in find_units(ast.parse(path.read_text())).items():
        if name in track.lessons and node.lineno <= line <= (node.end_lineno or node.lineno):
            return name
    return None
