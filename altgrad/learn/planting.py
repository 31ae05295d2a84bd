"""`altgrad learn break`: a catalogued mistake planted in a copy of the learner's own finished file.

`run --broken` and `trace --broken` look at the copy. What was planted is kept in `.broken.json` as
a salted hash of its unit and name: whoever opens that file to read their score does not read the
answer. The catalogue's mistakes are hashed in turn to find it again, so nothing else need be kept.
It hides the answer from a glance, not from somebody who computes: the catalogue itself is public.
"""

import contextlib
import difflib
import hashlib
import json
import random
import secrets
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from altgrad.learn.checker import check_file, own_text, read_source
from altgrad.learn.isolate import stream_isolated
from altgrad.learn.iteration import RUN_TIMEOUT_S, iterate
from altgrad.learn.observe import Failure
from altgrad.learn.source import body_text, replace_bodies, unit_text
from altgrad.learn.track import Variant
from altgrad.learn.workshop import Workshop

Lines = Generator[str, None, int]
NOTE = ".broken.json"
ROUND = 10  # planted mistakes to a score


def plant(space: Workshop, *, seed: int | None, answer: str | None, reveal: bool) -> Lines:
    """Put one catalogued mistake into a copy of the learner's finished file: find it."""
    note = space.folder / NOTE
    if answer is None and not reveal:
        return (yield from _plant_new(space, note, seed))
    if not note.is_file():
        raise ValueError("nothing is planted yet: `altgrad learn break` does it")
    mistake = _planted(space, note)
    right = answer is not None and space.track.find(answer) == mistake.unit
    score = _scored(note, right=right)
    if answer is not None and not right:
        yield f"no, {space.track.find(answer)} is as it should be; look again, or --reveal"
        return 1
    yield f"{'yes' if answer else 'it is'}: {mistake.unit}: {mistake.says}"
    good = own_text(space.file, mistake.unit).splitlines()
    bad = unit_text(read_source(space.on_planted().file), mistake.unit).splitlines()
    yield from list(difflib.unified_diff(good, bad, "yours", "planted", lineterm="", n=1))
    yield f"found at the first answer: {sum(score)} of {len(score)} (a round has {ROUND})"
    return 0


def _hidden(salt: str, mistake: Variant) -> str:
    """What stands in the note for a mistake; see the top of this file."""
    return hashlib.sha256(f"{salt}\n{mistake.unit}\n{mistake.name}".encode()).hexdigest()


def _scored(note: Path, *, right: bool) -> list[bool]:
    """The round so far; only the first answer to what is planted counts."""
    content = json.loads(note.read_text())
    score = _round_of(content)
    if not content.get("answered", False):
        score = [*score, right]
        note.write_text(json.dumps(content | {"answered": True, "score": score}))
    return score


def _round_of(content: Any) -> list[bool]:
    """Answers of this round; a new one begins after ten."""
    score = content.get("score", []) if isinstance(content, dict) else []
    return [x is True for x in score] if isinstance(score, list) else []


def _round_in(note: Path) -> list[bool]:
    with contextlib.suppress(ValueError, OSError, RecursionError):
        score = _round_of(json.loads(note.read_text()))
        return score if len(score) < ROUND else []
    return []


def _planted(space: Workshop, note: Path) -> Variant:
    """Which of the catalogue; raises ValueError where the note of it cannot be read."""
    try:
        content = json.loads(note.read_text())
        salt, wanted = str(content["salt"]), content["planted"]
        return next(m for m in space.track.mistakes if _hidden(salt, m) == wanted)
    except (ValueError, KeyError, TypeError, StopIteration, RecursionError):
        raise ValueError(
            f"{note} does not say what was planted; `altgrad learn break` plants anew"
        ) from None


def _plant_new(space: Workshop, note: Path, seed: int | None) -> Lines:
    """Refused until every unit passes: a planted copy of the reference would give them all away."""
    source = read_source(space.file)
    open_units = [v.unit for v in check_file(space.track, space.file) if not v.passed]
    if set(open_units) - space.optional:
        raise ValueError(
            f"{len(open_units)} units do not pass yet ({open_units[0]} …); a mistake is planted in "
            "your own file once all of them do (altgrad learn check)"
        )
    path = space.planted_file
    mistake = _one_that_shows(space, source, path, random.Random(seed))
    salt = secrets.token_hex(8)
    content = {"salt": salt, "planted": _hidden(salt, mistake), "answered": False}
    note.write_text(json.dumps(content | {"score": _round_in(note)}))
    yield f"{path} is your file with one mistake in it. Its symptoms:"
    yield from _numbers_of(space, path)
    yield f"and healthy, {space.file}:"
    yield from _numbers_of(space, space.file)
    yield "look closer: altgrad learn run --broken, altgrad learn trace UNIT --broken"
    yield "which unit is it? altgrad learn break --answer UNIT (or --reveal)"
    return 0


def _numbers_of(space: Workshop, path: Path) -> Iterator[str]:
    """What a run of the file tells in numbers, or how it ends."""
    for ended in stream_isolated(iterate, space.track, path, timeout_s=RUN_TIMEOUT_S):
        if not ended.ok or isinstance(ended.value, Failure):
            failure = ended.value if ended.ok else None
            yield f"   {failure.kind}: {failure.message}" if failure else f"   {ended.crash}"
            break
        if any(word in ended.value for word in ("loss ", "drawn", " parameters", " dB", "values ")):
            yield ended.value


def _one_that_shows(space: Workshop, source: str, path: Path, chance: random.Random) -> Variant:
    """A mistake that fits the learner's own lines, written to `path`; else one in a body of ours.

    One that the check would not notice in this file is no mistake, and another is drawn.
    """
    drawn = chance.sample(space.track.mistakes, len(space.track.mistakes))
    fits = [m for m in drawn if m.on_body(body_text(source, m.unit)) is not None]
    for mistake in [*fits, *(m for m in drawn if m not in fits)]:
        own = mistake.on_body(body_text(source, mistake.unit))
        body = own or mistake.body_in(space.track.source)
        path.write_text(replace_bodies(source, {mistake.unit: body}))
        if not any(v.passed for v in check_file(space.track, path, [mistake.unit])):
            return mistake
    raise ValueError("no catalogued mistake fits your file")
