"""`STATUS.md`, the learner's own document, in which three blocks are altgrad's and fill themselves.

    <!-- altgrad milestones 3f2a… -->     the block's name, and the hash of what was written into it
    …
    <!-- /altgrad milestones -->

What stands outside the blocks is the learner's and is never touched, only added to where a guess or
a result is kept. A block in which somebody has written is replaced, and what stood in it is kept
below it; a block that was deleted stays away. A file that cannot be read is left as it is.
"""

import datetime
import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from altgrad.learn.checker import Verdict
from altgrad.learn.questions.questions import load_questions
from altgrad.learn.track import Track
from altgrad.learn.workshop import locked

FILE = "STATUS.md"
MATCHES = "matches the reference"
MILESTONES = {
    "initialises": r"^── size$",
    "forward": r"^── optimisers$",
    "backward": r"^ *loss after 3 steps",
    "a step": r"^ *loss after 3 steps",
    "loss falls": r"",
    "full pipeline": r"^✓ a whole iteration",
    "generation": r"bytes drawn",
    MATCHES: r"",
}
"""Milestone -> the line of `altgrad learn run` that shows it; two are told by figures."""


def create(folder: Path, track: Track) -> None:
    """A new page; one that is there stays. Tracks without a whole model have none."""
    path = folder / FILE
    if path.exists() or not track.is_model:
        return
    questions = "\n".join(
        f"### {name}\n\n{q.question}\n\nMy answer:\n\n" for name, q in load_questions().items()
    )
    path.write_text(
        f"""# My GPT: where I am

The three blocks between `altgrad` marks fill themselves; all the rest is yours.

## Phases

{_block("phases", _phases(track, {}))}

## Milestones

{_block("milestones", _milestones({}))}

## Comparison

{_block("comparison", ["filled in by `altgrad learn race`"])}

## Questions

`altgrad learn show NAME` asks for your guess, keeps it here, then runs the experiment.

{questions}
## Log

- {_today()}: started, track {track.name}

## Issues

Copy this for each problem that took you longer than ten minutes:

- what I saw:
- what I expected:
- the smallest case that shows it:
- what I tried:
- what it was:
""",
        encoding="utf-8",
    )


def note_verdicts(folder: Path, track: Track, verdicts: Sequence[Verdict]) -> None:
    """Tick what passes and untick what does not; units that were not checked stay as they were."""
    passed = {v.unit: v.passed for v in verdicts}
    _rewrite(folder, track, "phases", lambda old: _phases(track, _ticked(old) | passed))


def note_run(folder: Path, track: Track, lines: Iterable[str]) -> None:
    """Tick the milestones that the lines of an iteration show; a tick stays."""
    text = [line.rstrip() for line in lines]
    reached = {
        name
        for name, pattern in MILESTONES.items()
        if pattern and any(re.search(pattern, line) for line in text)
    }
    found = "\n".join(text)
    before = re.search(r"loss (\d+\.\d+), ln V", found)
    after = re.search(r"loss after 3 steps on the same batch: (\d+\.\d+)", found)
    if before and after and float(after[1]) < float(before[1]):
        reached.add("loss falls")
    _tick(folder, track, reached)


def note_race(folder: Path, track: Track, outcome: Any, proof: str, *, holds: bool) -> None:
    """The comparison table of a race, and the last milestone."""
    rows = [dict(row) for row in outcome.rows]
    if not any("CORE" in name for name in rows[0]):
        rows = [{**row, "CORE": "not asked (--core)"} for row in rows]
    head = list(rows[0])
    table = [
        f"{_today()}, {outcome.settings['steps']} steps: {outcome.sentence}. {proof}",
        "",
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(_cell(row[name]) for name in head)} |" for row in rows),
    ]
    _rewrite(folder, track, "comparison", lambda old: table)
    if holds and outcome.parted_at is None:
        _tick(folder, track, {MATCHES})


def keep_under(folder: Path, track: Track, question: str, line: str) -> str:
    """Add a line at the end of a question's section; what became of it, in words."""
    create(folder, track)
    path = folder / FILE
    with locked(folder):
        text = _read(path)
        found = re.search(rf"^### {re.escape(question)}\b.*$", text or "", re.MULTILINE)
        if text is None or found is None:
            return f"not kept: {path} has no section {question}"
        end = re.compile(r"^##", re.MULTILINE).search(text, found.end())
        at = end.start() if end else len(text)
        kept = f"{text[:at].rstrip()}\n- {_today()}, {line}\n\n{text[at:]}"
        _replace(path, kept)
    return f"kept in {path}"


# -- blocks ---------------------------------------------------------------------------------------


def _phases(track: Track, passed: dict[str, bool]) -> list[str]:
    lines = []
    for number, title in track.stages.items():
        units = track.units_of(number)
        done = sum(passed.get(u, False) for u in units)
        mark = "x" if units and done == len(units) else " "
        lines.append(f"- [{mark}] {number} {title}: {done} of {len(units)}")
        lines += [f"    - [{'x' if passed.get(u) else ' '}] `{u}`" for u in units]
    return lines


def _ticked(phases: str) -> dict[str, bool]:
    """Unit -> True for those that the block has ticked."""
    return dict.fromkeys(re.findall(r"^ +- \[x\] `(.+)`$", phases, re.MULTILINE), True)


def _milestones(reached: dict[str, str]) -> list[str]:
    return [
        f"- [x] {name} ({reached[name]})" if name in reached else f"- [ ] {name}"
        for name in MILESTONES
    ]


def _tick(folder: Path, track: Track, reached: set[str]) -> None:
    def ticked(old: str) -> list[str]:
        before = dict(re.findall(r"^- \[x\] (.*) \((\d{4}-\d\d-\d\d)\)$", old, re.MULTILINE))
        return _milestones(dict.fromkeys(reached, _today()) | before)

    _rewrite(folder, track, "milestones", ticked)


def _block(name: str, lines: list[str]) -> str:
    body = "\n".join(lines) + "\n"
    return f"<!-- altgrad {name} {_hash(body)} -->\n{body}<!-- /altgrad {name} -->"


def _rewrite(folder: Path, track: Track, name: str, make: Any) -> None:
    """Replace a block by `make(what stands in it)`."""
    create(folder, track)
    path = folder / FILE
    pattern = re.compile(
        rf"<!-- altgrad {name} (\w*) -->\n(.*?)<!-- /altgrad {name} -->", re.DOTALL
    )
    with locked(folder):
        text = _read(path)
        found = pattern.search(text) if text is not None else None
        if text is None or found is None:
            return
        digest, old = found.groups()
        block = _block(name, make(old))
        if _hash(old) != digest:
            block += f"\n\nKept from this block, which altgrad writes:\n\n{old.rstrip()}"
        if block != found[0]:
            _replace(path, text[: found.start()] + block + text[found.end() :])


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{FILE}.new")
    temporary.write_bytes(text.encode())
    temporary.replace(path)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _today() -> str:
    return datetime.date.today().isoformat()


def _cell(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
