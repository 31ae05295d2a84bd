"""Judge a learner's file unit by unit: passed, still to do, half done, wrong, or broken.

Each unit is transplanted into the reference and observed in a process of its own; the reference is
observed beside it. A wrong unit is then compared with every catalogued mistake of that unit: equal
numbers name the mistake.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from altgrad.learn.explain import describe, remark_on, symptoms
from altgrad.learn.isolate import stream_isolated
from altgrad.learn.observe import (
    Difference,
    Failure,
    Outcomes,
    agrees,
    differences,
    failure_of,
    observe,
    tolerances,
)
from altgrad.learn.source import Unit, find_units, is_todo
from altgrad.learn.track import Track, Variant
from altgrad.learn.transplant import UnitMissing, load_reference, transplant

TIMEOUT_S = 10.0
SAME_MISTAKE_RTOL = 1e-6

PASSED, TODO, PARTIAL, WRONG, ERROR, TIMEOUT, MISSING = (
    "passed",
    "todo",
    "partial",
    "wrong",
    "error",
    "timeout",
    "missing",
)


@dataclass
class Verdict:
    """What was found about one unit, ready to be shown."""

    unit: str
    state: str
    line: int | None = None  # in the learner's file
    named: list[str] = field(default_factory=list)  # sentences of the mistakes it equals
    mistakes: list[str] = field(default_factory=list)  # their names
    evidence: list[str] = field(default_factory=list)  # what differs, in numbers
    remarks: list[str] = field(default_factory=list)
    trace: str = ""
    printed: str = ""

    @property
    def passed(self) -> bool:
        return self.state == PASSED

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def check_file(
    track: Track, path: Path, units: Iterable[str] | None = None, *, timeout_s: float = TIMEOUT_S
) -> Iterator[Verdict]:
    """Verdicts on the units (default: all), one after another as they are found.

    Raises ValueError when the file does not exist; a file that does not parse is one verdict.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; `altgrad learn start` makes one")
    source = path.read_text()
    try:
        ast.parse(source, filename=str(path))
    except SyntaxError as error:
        line = (error.text or "").rstrip()
        evidence = [f"Python cannot read the file: {error.msg}", f"    {line}"]
        yield Verdict("(file)", ERROR, line=error.lineno, evidence=evidence)
        return
    yield from _check_units(
        track, path, source, list(track.units if units is None else units), timeout_s
    )


def _check_units(
    track: Track, path: Path, source: str, units: list[str], timeout_s: float
) -> Iterator[Verdict]:
    nodes = find_units(ast.parse(source))
    at_hand = {u: v for u in units if (v := _without_running(track, nodes, u))}
    left = [u for u in units if u not in at_hand]
    judged = _judge_all(track, path, source, left, timeout_s)
    for unit in units:
        verdict = at_hand.get(unit) or next(judged)
        if verdict.line is None and unit in nodes:
            verdict.line = nodes[unit].lineno
        yield verdict


def _without_running(track: Track, nodes: dict[str, Unit], unit: str) -> Verdict | None:
    if unit not in nodes:
        return Verdict(unit, MISSING, evidence=[f"the file has no {unit} any more"])
    if is_todo(nodes[unit]):
        return Verdict(unit, TODO, evidence=[track.lessons[unit].todo])
    return None


def _judge_all(
    track: Track, path: Path, source: str, units: list[str], timeout_s: float
) -> Iterator[Verdict]:
    """Verdicts from one child process; a new one takes over after a unit that broke it."""
    while units:
        stream = stream_isolated(_judge_each, track, path, source, units, timeout_s=timeout_s)
        for ended in stream:
            unit, *units = units
            if ended.ok:
                ended.value.printed = ended.printed
                yield ended.value
            elif ended.timed_out:
                text = f"not finished after {timeout_s:g} s: is there a loop that never ends?"
                yield Verdict(unit, TIMEOUT, evidence=[text])
            else:
                yield Verdict(unit, ERROR, evidence=[ended.crash])


def _judge_each(track: Track, path: Path, source: str, units: list[str]) -> Iterator[Verdict]:
    for unit in units:
        yield judge(track, path, source, unit)


def judge(track: Track, path: Path, source: str, unit: str) -> Verdict:
    """The verdict on one unit, found in this very process."""
    probe = track.probes[unit]
    try:
        namespace = transplant(track.path, source, path, unit)
    except (Exception, UnitMissing) as error:
        failure = failure_of(error, path)
        text = f"{failure.kind}: {failure.message}"
        return Verdict(unit, ERROR, line=failure.line, evidence=[text], trace=failure.trace)
    expected, limits = _expected(track, unit)
    got = observe(probe, namespace, file=path)
    found = differences(expected, got, rtol=limits)
    if not found:
        return Verdict(unit, PASSED, remarks=remark_on(unit, source))
    return _complain(track, unit, found, got)


_EXPECTED: dict[tuple[str, str], tuple[Outcomes, dict[str, float]]] = {}


def _expected(track: Track, unit: str) -> tuple[Outcomes, dict[str, float]]:
    """What the reference gives, and how near the learner must come; computed once a process."""
    key = (track.name, unit)
    if key not in _EXPECTED:
        reference = load_reference(track.path)
        probe = track.probes[unit]
        _EXPECTED[key] = observe(probe, reference), tolerances(probe, reference)
    return _EXPECTED[key]


def _complain(track: Track, unit: str, found: list[Difference], got: Outcomes) -> Verdict:
    failures = [d.got for d in found if isinstance(d.got, Failure)]
    todo = [f for f in failures if "raise NotImplementedError" in f.trace]
    if todo:
        evidence = ["begun, but a TODO is still reached", *describe(found[:1])]
        return Verdict(unit, PARTIAL, line=todo[0].line, evidence=evidence, trace=todo[0].trace)
    failure = found[0].got if isinstance(found[0].got, Failure) else None
    matches = matching_mistakes(track, unit, got)
    verdict = Verdict(
        unit,
        WRONG if failure is None else ERROR,
        named=list(dict.fromkeys(m.says for m in matches)),
        mistakes=[m.name for m in matches],
        evidence=[*describe(found[:2]), *symptoms(unit, found, got)],
    )
    if failure is not None:
        verdict.line, verdict.trace = failure.line, failure.trace
    return verdict


def matching_mistakes(track: Track, unit: str, got: Outcomes) -> list[Variant]:
    """The catalogued mistakes of this unit that give the learner's numbers."""
    return [m for m in track.mistakes if m.unit == unit and _gives(track, m, got)]


def _gives(track: Track, mistake: Variant, got: Outcomes) -> bool:
    """Does the reference with this mistake give these outcomes? Stops at the first that differs."""
    source = mistake.apply(track.source)
    namespace = transplant(track.path, source, Path(f"<{mistake.name}>"), mistake.unit)
    return agrees(track.probes[mistake.unit], namespace, got, rtol=SAME_MISTAKE_RTOL)
