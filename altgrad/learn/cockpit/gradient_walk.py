"""The backward pass as one can see it: the gradient at every unit, yours beside the reference's.

Both models have the same weights, random and nowhere zero, and see the same batch in float64. Rows
are in the order in which the gradient meets them. The first value that differs is looked for in
that order, forward first, and only inside units whose own results differ: what a right unit does
on the way is its own affair. A unit is named only if it fails when it is checked by itself.
"""

import contextlib
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from altgrad.learn.checker import Verdict, look, read_source
from altgrad.learn.cockpit.borrowed import borrowed_line, load_with_borrowed
from altgrad.learn.cockpit.calls import (
    GRADIENT_IN,
    GRADIENT_OUT,
    IN,
    OUT,
    Call,
    Tape,
    blamed,
    maker,
    owner_of,
    taped,
    wrap_units,
)
from altgrad.learn.harness import harness_of
from altgrad.learn.iteration import unit_at
from altgrad.learn.observe import RTOL, SMALLEST, double_stays_double
from altgrad.learn.probes.common import awake, draw_ids
from altgrad.learn.proof import same_start
from altgrad.learn.track import Track
from altgrad.learn.transplant import load_reference

SIZES = {"length": 16, "vocab_size": 37, "n_layer": 2, "n_head": 6, "n_kv_head": 2, "n_embd": 48}
WEIGHTS = "weights"
Key = tuple[str, str, int]  # unit, place, number of the call
Where = tuple[str, str, str, int]  # unit, place or weight, side, which input
BACKWARD = (GRADIENT_OUT, GRADIENT_IN, WEIGHTS)
RESULTS = (OUT, GRADIENT_IN, WEIGHTS)  # what a unit answers for


@dataclass
class Event:
    """One tensor seen, at a call's side, or the gradient of a weight."""

    unit: str
    place: str
    side: str
    tensor: Tensor
    call: Call | None = None
    weight: str = ""
    index: int = 0  # among the tensors of this side of this call
    needs_grad: bool = True

    @property
    def turn(self) -> tuple[str, str, str, int]:
        """Tells this event from every other, for its place in the order of a pass."""
        return *self.where[:3], self.call.number if self.call else 0

    @property
    def key(self) -> Key:
        return self.unit, self.place, self.call.number if self.call else 0

    @property
    def where(self) -> Where:
        """What of the reference it is compared with."""
        return self.unit, self.weight or self.place, self.side, self.index if self.side == IN else 0


@dataclass
class Walk:
    """All events of one forward and one backward pass, as they happened."""

    model: nn.Module
    events: list[Event] = field(default_factory=list)

    def indexed(self) -> dict[Where, list[Tensor]]:
        found: dict[Where, list[Tensor]] = {}
        for event in self.events:
            found.setdefault(event.where, []).append(event.tensor)
        return found


def walked(track: Track, namespace: dict[str, Any]) -> Walk:
    """One pass through the model of this namespace. Raises whatever its units raise."""
    harness = harness_of(track.name)
    walk = Walk(nn.Module())
    tape = Tape(lambda call, side, x: _note(walk.events, call, side, x))
    wrap_units(namespace, track, taped(tape))
    walk.model = awake(harness.make_exact(harness.make(namespace, SIZES), SIZES)).eval()
    tape.name_places(walk.model)
    tape.clear()
    walk.events.clear()
    for name, parameter in walk.model.named_parameters():
        _listen(walk.events, name, owner_of(walk.model, name, namespace), parameter)
    ids = draw_ids("walk", SIZES["vocab_size"], 4, SIZES["length"] + 1)
    harness.loss(walk.model, ids[:, :-1].contiguous(), ids[:, 1:].contiguous()).backward()
    return walk


def _note(events: list[Event], call: Call, side: str, x: Tensor) -> None:
    index = sum(e.call is call and e.side == side for e in events)
    seen = Event(call.unit, call.place, side, x.detach().clone(), call, "", index, x.requires_grad)
    events.append(seen)


def _listen(events: list[Event], name: str, unit: str, parameter: nn.Parameter) -> None:
    place = name.removeprefix("transformer.").rpartition(".")[0]
    if place.startswith("h."):  # a Linear of the attention counts to the attention
        place = ".".join(place.split(".")[:3])
    parameter.register_hook(
        lambda g: events.append(Event(unit, place, WEIGHTS, g.detach().clone(), weight=name))
    )


def walk_lines(track: Track, path: Path, unit: str | None) -> Iterator[str]:
    """The table and what departs first. Runs the learner's code in this very process.

    unit: rows of this one only; None for all.
    """
    with double_stays_double():
        namespace, borrowed = load_with_borrowed(track, path)
        try:
            mine = walked(track, namespace)
        except RuntimeError as error:
            if "inplace operation" not in str(error):
                raise
            yield _written_over(track, path)
            return
        theirs = walked(track, load_reference(track.path))
    yield from borrowed_line(borrowed)
    try:
        same_start(theirs.model, mine.model)
    except (ValueError, KeyError) as error:
        yield from table(mine, {}, [], None, unit)
        yield f"✗ no reference beside it: {error}"
        return
    found = departures(mine, theirs)
    first = first_to_blame(found, mine, theirs, fails=_fails_by_itself(track, path, borrowed))
    culprit = _culprit(first, mine, theirs) if first else None
    yield from table(mine, theirs.indexed(), found, culprit, unit)
    yield verdict(found, first, mine, theirs)


def _written_over(track: Track, path: Path) -> str:
    """Which line wrote over a value that backward needs, as torch tells of a second pass."""
    with warnings.catch_warnings(record=True) as told, torch.autograd.set_detect_anomaly(True):
        warnings.simplefilter("always")
        with contextlib.suppress(RuntimeError):
            walked(track, load_with_borrowed(track, path)[0])
    at = rf'File "{re.escape(str(path))}", line (\d+)'
    lines = [int(n) for warning in told for n in re.findall(at, str(warning.message))]
    unit = unit_at(track, path, lines[-1]) if lines else None
    where = f" in {unit} (line {lines[-1]})" if unit else ""
    check = f"altgrad learn check {unit}" if unit else "altgrad learn check"
    what = "is written over in place (+=, *=, .mul_() …) before backward has used it"
    return f"✗ a value that is needed{where} {what} ({check})"


def _fails_by_itself(track: Track, path: Path, borrowed: list[str]) -> Callable[[str], bool]:
    """Does the learner's unit fail its check? One that is the reference's cannot."""
    source = read_source(path)

    @cache
    def fails(unit: str) -> bool:
        seen = look(track, path, source, unit)
        return unit not in borrowed and not (isinstance(seen, Verdict) and seen.passed)

    return fails


def first_to_blame(
    found: list[Event], mine: Walk, theirs: Walk, *, fails: Callable[[str], bool]
) -> Event | None:
    """The first that departs in a unit that fails."""
    return next((e for e in found if fails(_blame(e, mine, theirs)[0])), None)


def _blame(event: Event, mine: Walk, theirs: Walk) -> tuple[str, str]:
    """Whose lines made what departs, and in words."""
    return _never_comes(event, mine, theirs) or _departs(event, mine)


def departures(mine: Walk, theirs: Walk) -> list[Event]:
    """What is unlike every one of the reference's or missing, where all callers depart as well.

    In the order of the pass; a gradient that never comes stands where the reference's comes.
    """
    wanted, own = theirs.indexed(), mine.indexed()
    odd = [e for e in mine.events if _unlike(e.tensor, wanted.get(e.where, []))]
    calls = {(e.unit, e.place) for e in mine.events if e.call}
    missing = [
        e
        for e in theirs.events
        if e.side in BACKWARD and e.where not in own and (e.weight or (e.unit, e.place) in calls)
    ]
    roots = {(e.unit, e.place) for e in mine.events if e.call and e.call.parent is None}
    values = roots | {(e.unit, e.place) for e in odd if e.side == OUT}
    results = values | {(e.unit, e.place) for e in odd + missing if e.side in RESULTS}
    counted = [
        e
        for e in odd + missing
        if e.call is None or _all_depart(e.call.parent, results if e.side in BACKWARD else values)
    ]
    turns = {e.turn: i for i, e in reversed(list(enumerate(theirs.events)))}
    forward = [e for e in counted if e.side not in BACKWARD]
    backward = [e for e in counted if e.side in BACKWARD]
    return forward + sorted(backward, key=lambda e: turns.get(e.turn, len(turns)))


def _all_depart(call: Call | None, results: set[tuple[str, str]]) -> bool:
    return call is None or (
        (call.unit, call.place) in results and _all_depart(call.parent, results)
    )


def _unlike(tensor: Tensor, others: list[Tensor]) -> bool:
    """Differs from every tensor of its shape; without one there is nothing to compare with."""
    alike = [x for x in others if x.shape == tensor.shape]
    return bool(alike) and not any(_agree(tensor, x) for x in alike)


def _agree(a: Tensor, b: Tensor) -> bool:
    limit = RTOL * b.double().abs().max().clamp(min=SMALLEST)
    return bool(((a.double() - b.double()).abs().max() <= limit).item())


def verdict(found: list[Event], first: Event | None, mine: Walk, theirs: Walk) -> str:
    """In one line. `first`: the event that is to blame, None where each such unit passes."""
    if not found:
        return "✓ every value and gradient that can be compared is the reference's"
    unit, what = _blame(first or found[0], mine, theirs)
    if first is None:
        what = f"{what}, which passes its own check"
    elif found[0].side in BACKWARD:
        what = f"forward all values agree; {what}"
    return f"✗ {what} (altgrad learn check {unit})"


def _culprit(first: Event, mine: Walk, theirs: Walk) -> Key:
    """The row of the unit that `verdict` names."""
    if first.where not in mine.indexed():
        first = _cut_off(mine, theirs) or first
    if first.call is None:
        return first.key
    call = _wrote_into_its_input(first, mine) or maker(first.call, first.side)
    return call.unit, call.place, call.number


def _departs(first: Event, mine: Walk) -> tuple[str, str]:
    what = "gradient" if first.side in BACKWARD else "value"
    if first.call is None:
        return first.unit, f"the first gradient that departs is that of {first.weight}"
    writer = _wrote_into_its_input(first, mine)
    if writer is not None:
        return writer.unit, f"{writer.name} writes into what it is given, which is used again"
    unit, where = blamed(first.call, first.side)
    return unit, f"the first {what} that departs {where}"


def _wrote_into_its_input(first: Event, mine: Walk) -> Call | None:
    """A unit called before by the same caller; then that caller's value is odd for this reason."""
    assert first.call is not None
    caller = first.call.parent if first.side == IN else first.call
    calls = (e.call for e in mine.events if e.call and e.side == OUT)
    return next((c for c in calls if c.changed and c.parent is caller and caller), None)


def _never_comes(first: Event, mine: Walk, theirs: Walk) -> tuple[str, str] | None:
    """A gradient that the reference has and this pass has not."""
    if first.where in mine.indexed():
        return None
    if cut := _cut_off(mine, theirs):
        assert cut.call is not None
        unit, _ = blamed(cut.call, cut.side)
        what = "its result" if cut.side == OUT else f"what it hands to {cut.unit}"
        return unit, f"{unit} cuts {what} off from the gradient (detach, no_grad, .data, .item()?)"
    if first.weight or first.call is None:
        return first.unit, f"no gradient comes to {first.weight}"
    if first.side == GRADIENT_IN or first.call.parent is None:
        return first.unit, f"no gradient leaves {first.call.name} for its inputs"
    unit = first.call.parent.unit
    return unit, f"{unit} sends no gradient to the result of {first.call.name}"


def _cut_off(mine: Walk, theirs: Walk) -> Event | None:
    """The first tensor on the way forward that needs no gradient where the reference's do."""
    needed = {e.where for e in theirs.events if e.side not in BACKWARD and e.needs_grad}
    needed -= {e.where for e in theirs.events if e.side not in BACKWARD and not e.needs_grad}
    forward = (e for e in mine.events if e.side not in BACKWARD)
    return next((e for e in forward if not e.needs_grad and e.where in needed), None)


# -- the table ------------------------------------------------------------------------------------


def table(
    walk: Walk,
    theirs: dict[Where, list[Tensor]],
    odd: list[Event],
    culprit: Key | None,
    unit: str | None,
) -> Iterator[str]:
    """A row for every call and for weights outside of one: norms, yours and the reference's.

    The unit from which what departs comes has a cross; others, which may only follow from it, a ≠.
    """
    rows: dict[Key, dict[str, list[Event]]] = {}
    for event in walk.events:
        if event.side in BACKWARD:
            rows.setdefault(event.key, {}).setdefault(event.side, []).append(event)
    yield f"{'gradient norm':41}{'at the output':>18}{'at its inputs':>18}{'of its weights':>18}"
    yield f"{'':41}" + f"{'yours':>9}{'ref.':>9}" * 3
    departing = {e.key for e in odd if e.side in BACKWARD}
    for key, sides in rows.items():
        mark = "✗" if key == culprit else "≠" if key in departing else " "
        if unit in (None, key[0]):
            cells = "".join(_cell(sides.get(side, []), theirs) for side in BACKWARD)
            yield f"{mark} {key[0]:28} {key[1]:10}{cells}".rstrip()


def _cell(events: list[Event], theirs: dict[Where, list[Tensor]]) -> str:
    """The norm of all of them together, and of what they are compared with."""
    if not events:
        return f"{'':18}"
    beside = [_nearest(e.tensor, theirs.get(e.where, [])) for e in events]
    known = [x for x in beside if x is not None]
    other = _norm(known) if len(known) == len(beside) else ("–" if theirs else "")
    return f"{_norm([e.tensor for e in events]):>9}{other:>9}"


def _nearest(tensor: Tensor, others: list[Tensor]) -> Tensor | None:
    alike = [x for x in others if x.shape == tensor.shape]
    return min(alike, key=lambda x: float((x - tensor).abs().max()), default=None)


def _norm(tensors: list[Tensor]) -> str:
    return f"{sum(x.double().square().sum().item() for x in tensors) ** 0.5:.3g}"
