"""Judge a learner's file unit by unit: passed, still to do, half done, wrong, or broken.

Each unit is transplanted into the reference and observed in a process of its own; the reference is
observed beside it. What a wrong unit gave is then named in this process, where no time limit is on
it: read as it stands (`facts`), and compared with the catalogue's mistakes, one and two at a time
(`naming`).
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from altgrad.learn.explain import describe, remark_on, smallest_first, symptoms
from altgrad.learn.facts import SHAPE_WORDS, sentences
from altgrad.learn.isolate import run_isolated, stream_isolated
from altgrad.learn.naming import Naming, name_mistakes
from altgrad.learn.observe import (
    Difference,
    Failure,
    Outcomes,
    differences,
    failure_of,
    observe,
    tolerances,
)
from altgrad.learn.source import Unit, find_units, is_todo, unit_text
from altgrad.learn.track import Track
from altgrad.learn.transplant import UnitMissing, load_file, load_reference, transplant

TIMEOUT_S = 10.0

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
    file: str = "my_gpt.py"
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

    Raises ValueError when the file cannot be read; one that does not parse is one verdict, and one
    that cannot be imported has a verdict of its own before those of its units.
    """
    source = read_source(path)
    try:
        ast.parse(source, filename=str(path))
    except SyntaxError as error:
        line = (error.text or "").rstrip()
        evidence = [f"Python cannot read the file: {error.msg}", f"    {line}"]
        yield Verdict("(file)", ERROR, error.lineno, path.name, evidence=evidence)
        return
    yield from _check_units(
        track, path, source, list(track.units if units is None else units), timeout_s
    )


def read_source(path: Path) -> str:
    """The file's text. Raises ValueError where there is none, with what to do."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; `altgrad learn start` makes one")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as text: {error}") from None


def own_text(path: Path, unit: str) -> str:
    """A unit as the file has it. Raises ValueError where it cannot be found."""
    try:
        return unit_text(read_source(path), unit)
    except (KeyError, SyntaxError):
        raise ValueError(f"{unit} cannot be found in {path}") from None


def _check_units(
    track: Track, path: Path, source: str, units: list[str], timeout_s: float
) -> Iterator[Verdict]:
    if broken := _cannot_be_imported(path, source, timeout_s):
        yield replace(broken, file=path.name)
    nodes = find_units(ast.parse(source))
    at_hand = {u: v for u in units if (v := _without_running(track, nodes, u))}
    left = [u for u in units if u not in at_hand]
    judged = _judge_all(track, path, source, left, timeout_s)
    for unit in units:
        verdict = at_hand.get(unit) or next(judged)
        if verdict.line is None and unit in nodes:
            verdict.line = nodes[unit].lineno
        verdict.file = path.name
        yield verdict


def _cannot_be_imported(path: Path, source: str, timeout_s: float) -> Verdict | None:
    """The verdict on a file that does not run from top to bottom; its units may still be right."""
    ended = run_isolated(_import, source, path, timeout_s=timeout_s)
    if ended.timed_out:
        text = f"importing the file is not finished after {timeout_s:g} s"
        return Verdict("(file)", TIMEOUT, evidence=[text])
    if not ended.ok:
        return Verdict("(file)", ERROR, evidence=[f"importing the file: {ended.crash}"])
    if ended.value is None:
        return None
    text = f"the file cannot be imported: {ended.value.kind}: {ended.value.message}"
    trace = ended.value.trace
    return Verdict("(file)", ERROR, line=ended.value.line, evidence=[text], trace=trace)


def _import(source: str, path: Path) -> Failure | None:
    try:
        load_file(source, path)
    except Exception as error:
        return failure_of(error, path)
    return None


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
                found = ended.value
                verdict = conclude(track, found) if isinstance(found, Seen) else found
                verdict.printed = ended.printed
                yield verdict
            elif ended.timed_out:
                text = f"not finished after {timeout_s:g} s: is there a loop that never ends?"
                yield Verdict(unit, TIMEOUT, evidence=[text])
            else:
                yield Verdict(unit, ERROR, evidence=[ended.crash])


def _judge_each(
    track: Track, path: Path, source: str, units: list[str]
) -> Iterator["Verdict | Seen"]:
    for unit in units:
        yield look(track, path, source, unit)


def judge(track: Track, path: Path, source: str, unit: str) -> Verdict:
    """The verdict on one unit, found in this very process."""
    seen = look(track, path, source, unit)
    return seen if isinstance(seen, Verdict) else conclude(track, seen)


@dataclass
class Seen:
    """What a wrong unit gave, beside what the reference gives; still without a name."""

    unit: str
    found: list[Difference]
    expected: Outcomes
    got: Outcomes


def look(track: Track, path: Path, source: str, unit: str) -> Verdict | Seen:
    """Run the learner's unit: the verdict where that settles it, else what was seen."""
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
    return _half_done(unit, found) or Seen(unit, found, expected, got)


_EXPECTED: dict[tuple[str, str], tuple[Outcomes, dict[str, float]]] = {}


def _expected(track: Track, unit: str) -> tuple[Outcomes, dict[str, float]]:
    """What the reference gives, and how near the learner must come; computed once a process."""
    key = (track.name, unit)
    if key not in _EXPECTED:
        reference = load_reference(track.path)
        probe = track.probes[unit]
        _EXPECTED[key] = observe(probe, reference), tolerances(probe, reference)
    return _EXPECTED[key]


def _half_done(unit: str, found: list[Difference]) -> Verdict | None:
    failures = [d.got for d in found if isinstance(d.got, Failure)]
    todo = [f for f in failures if "raise NotImplementedError" in f.trace]
    if not todo:
        return None
    evidence = ["begun, but a TODO is still reached", *describe(found[:1])]
    return Verdict(unit, PARTIAL, line=todo[0].line, evidence=evidence, trace=todo[0].trace)


def conclude(track: Track, seen: Seen) -> Verdict:
    """Name what is wrong. Runs the catalogue's mistakes and nothing of the learner's."""
    unit, found = seen.unit, seen.found
    told = sentences(unit, found, seen.expected, seen.got)
    wrong = {d.label for d in found}
    naming = name_mistakes(track, unit, wrong, seen.expected, seen.got, set(told))
    failure = found[0].got if isinstance(found[0].got, Failure) else None
    named = [m.says for m in naming.mistakes]
    if not naming.whole:
        left = [label for label in told if label not in naming.explained]
        if named:  # what fails with a cache usually follows from what is named
            left = [x for x in left if not isinstance(seen.got[x], Failure) or "cache" not in x]
        more = [text for label in left for text in told[label]]
        # Another shape beside a named mistake is what that mistake leaves.
        named += [x for x in more if not (named and x.startswith(SHAPE_WORDS))]
    verdict = Verdict(
        unit,
        WRONG if failure is None else ERROR,
        named=list(dict.fromkeys(named)),
        mistakes=[m.name for m in naming.mistakes],
        evidence=[*_evidence(found), *symptoms(unit, found, seen.got)],
    )
    if naming.mistakes and not naming.whole:
        verdict.evidence += _what_is_left(naming, wrong - set(told), verdict.named)
    if failure is not None:
        verdict.line, verdict.trace = failure.line, failure.trace
    return verdict


def _evidence(found: list[Difference]) -> list[str]:
    """The first difference, and the smallest case that shows one."""
    small = smallest_first(found)[0]
    return describe(found[:1] if small is found[0] else [found[0], small])


def _what_is_left(naming: Naming, wrong: set[str], named: list[str]) -> list[str]:
    """Which outcomes each named mistake gives to the last digit, and how many none does."""
    left = sorted(wrong - naming.explained)
    lines = []
    for mistake, share in zip(naming.mistakes, naming.shares, strict=True):
        place = named.index(mistake.says)
        which = "this" if len(named) == 1 else f"the {ORDINALS.get(place, place + 1)} ➜"
        lines.append(f"{which} alone gives your {'; '.join(sorted(share)[:3])}, digit by digit")
    return lines + ([f"something else is wrong as well: {'; '.join(left[:3])}"] if left else [])


ORDINALS = {0: "first", 1: "second", 2: "third"}
