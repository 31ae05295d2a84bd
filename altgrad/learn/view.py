"""What the workshop's commands show, as lines of text."""

from collections.abc import Iterable, Sequence

from altgrad.learn.checker import (
    ERROR,
    MISSING,
    PARTIAL,
    PASSED,
    TIMEOUT,
    TODO,
    WRONG,
    Verdict,
)
from altgrad.learn.track import Lesson, Track
from altgrad.learn.workshop import Workshop

MARKS = {PASSED: "✓", TODO: "○", PARTIAL: "◐", WRONG: "✗", ERROR: "✗", TIMEOUT: "✗", MISSING: "✗"}
WORDS = {TODO: "to do", PARTIAL: "half done", TIMEOUT: "does not finish", MISSING: "missing"}


def verdict_line(verdict: Verdict) -> str:
    """`✗ norm                     my_gpt.py:31  wrong`."""
    place = f"{verdict.file}:{verdict.line}" if verdict.line else ""
    word = "" if verdict.passed else WORDS.get(verdict.state, verdict.state)
    return f"{MARKS[verdict.state]} {verdict.unit:36} {place:16} {word}".rstrip()


def complaint(verdict: Verdict) -> list[str]:
    """Everything that is known about one unit that did not pass."""
    lines = [verdict_line(verdict)]
    for sentence in verdict.named[:3]:
        lines.append(f"  ➜ {sentence}")
    lines += [f"  {line}" for line in verdict.evidence]
    if verdict.trace:
        lines += ["  in your file:", *(f"  {line}" for line in verdict.trace.rstrip().splitlines())]
    if verdict.printed:
        lines += ["  it printed:", *(f"  | {line}" for line in verdict.printed.splitlines()[:5])]
    if verdict.state not in (TODO, MISSING) and verdict.unit != "(file)":
        lines.append(f"  hint: altgrad learn hint {verdict.unit}")
    return lines


WHAT_NEXT = [
    "all of it is yours. What next:",
    "  altgrad learn race           the proof in float64, then both models trained side by side",
    "  altgrad learn break          one mistake in your own file: find it by its symptoms",
    "  altgrad learn questions      twelve questions, each with an experiment",
    "  then your own idea: change one thing in a copy of a class and compare it with the control:",
    "  altgrad compare model.attention=causal,my_gpt:CausalSelfAttention   (docs: own-part)",
]


def after_passing(lesson: Lesson) -> list[str]:
    """What a unit that passes is for, what would break without it, and what to try."""
    lines = [f"{lesson.unit}: {lesson.why}"] if lesson.why else []
    lines += [f"  without it: {lesson.without}"] if lesson.without else []
    return lines + ([f"  a minute's experiment: {lesson.experiment}"] if lesson.experiment else [])


def summary(verdicts: Sequence[Verdict], optional: set[str] | None = None) -> str:
    verdicts = [v for v in verdicts if v.unit != "(file)"]
    left_out = [v.unit for v in verdicts if v.state == TODO and v.unit in (optional or set())]
    verdicts = [v for v in verdicts if v.unit not in left_out]
    passed = sum(v.passed for v in verdicts)
    broken = sum(not v.passed and v.state not in (TODO, PARTIAL) for v in verdicts)
    parts = [f"{passed} of {len(verdicts)} pass"]
    parts += [f"{broken} wrong"] if broken else []
    open_units = [v.unit for v in verdicts if v.state in (TODO, PARTIAL)]
    parts += [f"{len(open_units)} to do; next: {open_units[0]}"] if open_units else []
    parts += [f"optional: {', '.join(left_out)}"] if left_out else []
    return ", ".join(parts)


def report(verdicts: Sequence[Verdict], optional: set[str] | None = None) -> list[str]:
    """One line per unit, then the details of what is wrong."""
    lines = [verdict_line(v) for v in verdicts]
    for verdict in verdicts:
        if not verdict.passed and verdict.state != TODO:
            lines += ["", *complaint(verdict)]
    return [*lines, "", summary(verdicts, optional)]


def status_lines(workshop: Workshop, verdicts: Iterable[Verdict]) -> list[str]:
    """Stage by stage: what passes, how many tries it took, which hints were used."""
    by_unit = {v.unit: v for v in verdicts}
    lines = []
    for number, title in workshop.track.stages.items():
        lines.append(f"{number} {title}")
        for unit in workshop.track.units_of(number):
            record = workshop.record(unit)
            notes = [f"{record.attempts} tries"] if record.attempts > 1 else []
            notes += [f"hint {record.hints}"] if record.hints else []
            notes += ["solution shown"] if record.solution_shown else []
            verdict = by_unit.get(unit, Verdict(unit, ERROR))
            lines.append(f"  {verdict_line(verdict):56} {', '.join(notes)}".rstrip())
    if workshop.reference_changed:
        lines.append("altgrad's reference has changed since this folder was made")
    known = [v for u, v in by_unit.items() if u in workshop.track.lessons]
    return [*lines, "", summary(known, workshop.optional)]


def todo_lines(track: Track, unit: str, line: int | None) -> list[str]:
    """What an unimplemented unit must do, its contract, and where it is explained."""
    lesson = track.lessons[unit]
    place = f"{track.file_name}:{line}" if line else track.file_name
    contract = [f"    {text}" for text in track.contract(unit).splitlines()]
    return [
        f"○ {unit} is not there yet ({place})",
        f"  to do: {lesson.todo}",
        "  contract:",
        *contract,
        f"  explained in: {lesson.where}",
        f"  hint: altgrad learn hint {unit}",
    ]
