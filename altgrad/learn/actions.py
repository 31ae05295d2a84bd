"""What `altgrad learn ACTION` does: values in, lines of text out, exit code last.

Every function yields lines as they become known and returns the exit code.
"""

import contextlib
import difflib
import textwrap
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from altgrad.learn import status_page
from altgrad.learn import workshop as folders
from altgrad.learn.checker import MISSING, TODO, Verdict, check_file, own_text, read_source
from altgrad.learn.isolate import run_isolated, stream_isolated
from altgrad.learn.iteration import RUN_TIMEOUT_S, beside, iterate, unit_at
from altgrad.learn.observe import Failure
from altgrad.learn.planting import plant as plant  # an action like those below
from altgrad.learn.proof import prove
from altgrad.learn.questions.bench import Ours
from altgrad.learn.questions.finding import Bench
from altgrad.learn.questions.mine import TRACK, Mine, units_for
from altgrad.learn.questions.questions import (
    draw,
    find_question,
    load_questions,
    run_experiment,
)
from altgrad.learn.questions.questions import table as table_of
from altgrad.learn.race import Examination, Outcome, RaceSettings, page, race, table
from altgrad.learn.source import is_todo_of, unit_text
from altgrad.learn.trace import trace_unit
from altgrad.learn.track import Track
from altgrad.learn.view import (
    WHAT_NEXT,
    after_passing,
    complaint,
    report,
    status_lines,
    todo_lines,
)
from altgrad.learn.workshop import Workshop
from altgrad.model.config import known
from altgrad.runs import json_text

Lines = Generator[str, None, int]
LEVELS = ("idea", "formula", "pseudocode", "solution")
TRACE_TIMEOUT_S = 20.0
RACE_TIMEOUT_S = 120.0
POLL_S = 0.3


def start(folder: str | None, track: str, *, full: bool = False) -> Lines:
    made = folders.start(Path(folder or Track(track).folder_name), Track(track), full=full)
    status_page.create(made.folder, made.track)
    given = [] if made.full else [u for u, x in made.track.lessons.items() if x.given]
    count = len(made.track.units) - len(given)
    yield f"{made.folder}/ has {made.file.name} with {count} units to write"
    if given:
        yield f"given: {', '.join(given)}; optional: {', '.join(sorted(made.optional))}"
    yield f"next: cd {made.folder} and `altgrad learn run`"
    return 0


def run(space: Workshop, *, broken: bool = False) -> Lines:
    """One training iteration with the learner's file, up to the first thing that is missing.

    broken: with the file that `break` planted instead.
    """
    if broken:
        space = space.on_planted()
    read_source(space.file)
    said: list[str] = []
    for line in _iteration(space):
        said.append(line)
        yield line
    if not broken:
        status_page.note_run(space.folder, space.track, said)
    return int(not said[-1].startswith("✓"))


def _iteration(space: Workshop) -> Iterator[str]:
    what = "one training iteration" if space.track.is_model else "what it is for, in short,"
    yield f"{what} with {space.file}"
    work = (iterate, space.track, space.file, space.optional)
    for ended in stream_isolated(*work, timeout_s=RUN_TIMEOUT_S):
        if not ended.ok:
            reason = ended.crash or f"nothing happened for {RUN_TIMEOUT_S:g} s"
            yield f"✗ stopped: {reason}"
            return
        yield from (f"   | {line}" for line in ended.printed.splitlines()[:20])
        if isinstance(ended.value, Failure):
            yield from stopped(space, ended.value)
            return
        yield str(ended.value)
    what = "a whole iteration" if space.track.is_model else "all of it runs"
    if space.planted:
        yield f"✓ {what}; which unit is wrong? altgrad learn break --answer UNIT"
        return
    yield f"✓ {what}; whether it is right is another question: altgrad learn check"


def stopped(space: Workshop, failure: Failure) -> Iterator[str]:
    """How the learner's file ended a run: what is still missing, or the exception and its place."""
    unit = None
    if failure.kind != "SyntaxError":
        unit = unit_at(space.track, space.file, failure.line)
    told = "{}.__init__() got an unexpected keyword"  # a dataclass whose fields are not there
    bare = next((u for u in space.track.units if told.format(u) in failure.message), None)
    if bare or (unit and "raise NotImplementedError" in failure.trace):
        yield from todo_lines(space.track, bare or unit or "", failure.line)
        return
    yield f"✗ {failure.kind}: {failure.message}" + (f"  (in {unit})" if unit else "")
    yield from failure.trace.rstrip().splitlines()
    if unit and not space.planted:
        yield f"  altgrad learn check {unit}"


def check(space: Workshop, words: list[str], *, as_json: bool = False) -> Lines:
    """Judge units (default: all); exit code 0 when all of them pass."""
    verdicts = _check_and_note(space, units_of(space, words))
    if as_json:
        yield json_text([v.to_dict() for v in verdicts], indent=2, ensure_ascii=False)
    else:
        yield from report(verdicts, space.optional)
        yield from _lessons_learnt(space, words, verdicts)
    return 0 if _all_done(space, verdicts) else 1


def _all_done(space: Workshop, verdicts: list[Verdict]) -> bool:
    """Everything passes; on the fast way what is optional may be missing."""
    return all(v.passed or (v.state == TODO and v.unit in space.optional) for v in verdicts)


def _lessons_learnt(space: Workshop, words: list[str], verdicts: list[Verdict]) -> Iterator[str]:
    """What a unit that was asked for by name and passes is for; at the end of all, what is next."""
    if len(verdicts) <= len(words):
        for verdict in (v for v in verdicts if v.passed and v.unit in space.track.lessons):
            yield from ["", *after_passing(space.track.lessons[verdict.unit])]
    if not words and _all_done(space, verdicts):
        yield from ["", *(space.track.what_next or WHAT_NEXT)]


def units_of(space: Workshop, words: list[str]) -> list[str]:
    """Units named by stage, by class, or by (part of a) name."""
    found = [unit for word in words for unit in space.track.find_all(word)]
    return list(dict.fromkeys(found)) or space.track.units


def _check_and_note(space: Workshop, units: list[str]) -> list[Verdict]:
    source = read_source(space.file)
    verdicts = list(check_file(space.track, space.file, units))
    note_verdicts(space, verdicts, source)
    return verdicts


def note_verdicts(space: Workshop, verdicts: list[Verdict], source: str) -> None:
    """Tries in the notes, ticks in STATUS.md; `source` is what the verdicts are about."""
    with space.noting():
        for verdict in verdicts:
            known_unit = verdict.unit in space.track.lessons
            if known_unit and verdict.state not in (TODO, MISSING):
                with contextlib.suppress(KeyError, SyntaxError):  # saved anew meanwhile
                    text = unit_text(source, verdict.unit)
                    space.note_attempt(verdict.unit, text, passed=verdict.passed)
    status_page.note_verdicts(space.folder, space.track, verdicts)


def watch_plainly(space: Workshop, units: list[str]) -> Lines:
    """Check at every change of the file, until Ctrl-C: for where there are no keys."""
    seen = ""
    while True:
        text = space.file.read_text(errors="replace") if space.file.is_file() else seen
        if text != seen:
            seen = text
            began = time.perf_counter()
            verdicts = _check_and_note(space, units)
            yield "\033[2J\033[H" + f"{space.file} at {time.strftime('%H:%M:%S')}"
            yield from report(verdicts, space.optional)
            yield f"({time.perf_counter() - began:.1f} s; watching, Ctrl-C ends)"
        time.sleep(POLL_S)


def hint(space: Workshop, unit: str, level: int | None) -> Lines:
    """The next hint on a unit, or the one of this strength (1 idea … 4 solution)."""
    unit = space.track.find(unit)
    with space.noting():
        record = space.record(unit)
        level = min(record.hints + 1, 3) if level is None else level
        record.hints = max(record.hints, min(level, 3))
    if level == 4:
        return (yield from solution(space, unit))
    yield f"{unit}, {LEVELS[level - 1]}: {space.track.lessons[unit].hints[level - 1]}"
    if level < 3:
        yield f"more: altgrad learn hint {unit}"
    else:
        yield f"all of it: altgrad learn solution {unit}"
    return 0


def solution(space: Workshop, unit: str) -> Lines:
    unit = space.track.find(unit)
    yield from unit_text(space.track.source, unit).rstrip().splitlines()
    with space.noting():
        space.record(unit).solution_shown = True
    return 0


def reset(space: Workshop, unit: str | None, everything: bool) -> Lines:
    """Empty one unit (or all) again; the file as it was stays beside it."""
    if (unit is None) != everything:
        raise ValueError("say which unit to empty, or --all (one of the two)")
    name = None if unit is None else space.track.find(unit)
    kept = folders.reset(space, name)
    yield f"{name or 'every unit'} is empty again; your file as it was: {kept}"
    return 0


def status(space: Workshop) -> Lines:
    yield from status_lines(space, check_file(space.track, space.file))
    return 0


def trace(space: Workshop, unit: str, *, diff: bool, broken: bool = False) -> Lines:
    """Every line of a unit with the values it makes; `broken`: of the file that `break` planted.

    With `diff` the exit code is that of `check`: 1 where the unit does not pass.
    """
    if broken and diff:
        raise ValueError("--diff would tell what is planted: trace both files and compare")
    if broken:
        space = space.on_planted()
    unit = space.track.find(unit)
    verdict = next(iter(check_file(space.track, space.file, [unit])))
    if verdict.state in (TODO, MISSING) or verdict.unit == "(file)":
        yield from complaint(verdict)
        return 1
    work = (_traced, space.track, space.file, unit, diff, verdict.passed)
    ended = run_isolated(*work, timeout_s=TRACE_TIMEOUT_S)
    if not ended.ok:
        yield f"✗ {ended.crash or f'not finished after {TRACE_TIMEOUT_S:g} s'}"
        return 1
    yield from ended.value
    return int(diff and not verdict.passed)


def _traced(track: Track, path: Path, unit: str, diff: bool, passes: bool) -> list[str]:
    return trace_unit(track, path, unit, diff=diff, passes=passes)


def diff(space: Workshop, unit: str, *, spoil: bool) -> Lines:
    """A unit beside the reference's; before it passes, only with --spoil."""
    unit = space.track.find(unit)
    verdict = next(iter(check_file(space.track, space.file, [unit])))
    if not verdict.passed and not spoil:
        raise ValueError(f"{unit} does not pass yet; --spoil shows the reference all the same")
    if not verdict.passed:
        with space.noting():
            space.record(unit).solution_shown = True
    mine = own_text(space.file, unit).splitlines()
    theirs = unit_text(space.track.source, unit).splitlines()
    lines = list(
        difflib.unified_diff(theirs, mine, "reference", space.file.name, lineterm="", n=100)
    )
    yield from lines or ["no difference"]
    return 0


def run_race(
    space: Workshop,
    settings: RaceSettings,
    page_file: str | None,
    examination: Examination | None = None,
) -> Lines:
    """The proof, then the learner's model and the reference trained side by side."""
    read_source(space.file)
    if not space.track.is_model:
        return (yield from _compared(space))
    ended = run_isolated(prove, space.track, space.file, timeout_s=RACE_TIMEOUT_S)
    if not ended.ok:
        yield f"✗ {ended.crash or 'the proof did not end'}"
        return 1
    ended_proof = ended.value
    proof = ended_proof.sentence()
    yield f"{'✓' if ended.value.holds else '✗'} {proof}"
    tokens, vocab_size = _race_tokens()
    arguments = (race, space.track, space.file, tokens, vocab_size, settings, examination)
    for ended in stream_isolated(*arguments, timeout_s=RACE_TIMEOUT_S):
        if not ended.ok:
            yield f"✗ {ended.crash or f'no step within {RACE_TIMEOUT_S:g} s'}"
            return 1
        if isinstance(ended.value, str):
            yield ended.value
    outcome: Outcome = ended.value
    yield from ["", *table(outcome), "", outcome.sentence]
    target = Path(page_file) if page_file else space.folder / "race.html"
    target.write_text(page(outcome, proof))
    holds = ended_proof.holds
    status_page.note_race(space.folder, space.track, outcome, proof, holds=holds)
    yield str(target)
    return 0 if outcome.parted_at is None else 1


def _compared(space: Workshop) -> Lines:
    """What a finished file gives, beside programs that are known to be right."""
    holds = False
    for ended in stream_isolated(beside, space.track, space.file, timeout_s=RACE_TIMEOUT_S):
        if not ended.ok or isinstance(ended.value, Failure):
            failure = ended.value if ended.ok else None
            reason = f"{failure.kind}: {failure.message}" if failure else ended.crash
            yield f"✗ {reason or f'nothing happened for {RACE_TIMEOUT_S:g} s'}"
            return 1
        if isinstance(ended.value, str):
            yield ended.value
        else:
            holds = ended.value
    return 0 if holds else 1


def _race_tokens() -> tuple[dict[str, Any], int]:
    """Tiny Shakespeare by characters."""
    from altgrad.data import DataConfig, load_metadata, load_tokens, prepare

    folder = prepare(DataConfig())
    tokens = {split: np.asarray(load_tokens(folder, split)) for split in ("train", "val")}
    return tokens, known(load_metadata(folder).vocab_size)


def training_words(space: Workshop, overrides: list[str]) -> list[str]:
    """What `altgrad train` is told for the learner's whole model, at the sizes of the race.

    Raises:
        ValueError: units are still to be written.
    """
    if not space.track.is_model:
        raise ValueError(f"the track {space.track.name} has no whole model to train")
    source = read_source(space.file)
    open_units = [u for u in space.track.units if is_todo_of(source, u)]
    if missing := [u for u in open_units if u not in space.optional]:
        raise ValueError(
            f"{len(missing)} units of {space.file} are still to be written, {missing[0]} first: "
            "altgrad learn run"
        )
    sizes = RaceSettings()
    decay = {"gpt2": "0.1", "nanochat": "0.0"}[space.track.name]
    usual = {
        "model": f"{space.file.stem}:GPT",
        "model.n_layer": sizes.n_layer,
        "model.n_head": sizes.n_head,
        "model.n_embd": sizes.n_embd,
        "model.block_size": sizes.length,
        "data.batch_size": sizes.batch_size,
        "optim": "own",
        "optim.weight_decay": decay,
        "max_steps": sizes.steps,
        "eval_interval": 100,
        "compile": "false",  # compiling would take longer than the steps
    }
    typed = {word.partition("=")[0] for word in overrides}
    if "optim" in typed:
        usual.pop("optim.weight_decay")
    return [*(f"{k}={v}" for k, v in usual.items() if k not in typed), *overrides]


def list_questions() -> Lines:
    for name, question in load_questions().items():
        yield f"{name:22} {question.question}"
    yield "altgrad learn show NAME runs its experiment"
    return 0


def show_question(
    name: str,
    *,
    seeds: int,
    folder: str,
    progress: Callable[[int, int], None] | None,
    space: Workshop | None = None,
    ask: Callable[[], str] = str,
    mine: bool = False,
) -> Lines:
    """A question, a guess, its experiment (numbers, verdict, plot), and last the usual answer.

    space: a learner's folder, in whose STATUS.md guess and result are kept. ask: for the guess;
    an empty one is none. mine: the experiment is run on the learner's own file.
    """
    question = find_question(name)
    maker = _own_models(space, name) if mine else Ours()
    yield question.question
    yield ""
    yield f"the experiment shows {question.look}; what do you expect?"
    if guess := " ".join(ask().split()):
        yield _kept(space, name, f"guess: {guess}")
    began = time.perf_counter()
    finding = run_experiment(name, Bench(_race_tokens()[0], seeds, progress, maker))
    yield from ["", *table_of(finding), "", f"measured: {finding.verdict}"]
    path = Path(folder) / f"{name}.png"
    draw(finding, question, path)
    yield f"{path} ({time.perf_counter() - began:.0f} s)"
    if space is not None:
        yield _kept(space, name, f"measured: {finding.verdict}")
    yield from ["", "the usual answer:", *textwrap.wrap(question.answer, 96)]
    return 0


def _own_models(space: Workshop | None, question: str) -> Mine:
    """Raises ValueError where there is no file of that architecture, or a unit does not pass."""
    if space is None or space.track.name != TRACK:
        raise ValueError(
            f"--mine needs a workshop of the track {TRACK}, which the questions are about: "
            "altgrad learn start, or --dir"
        )
    units = units_for(question, space.track.units)
    open_units = [v.unit for v in check_file(space.track, space.file, units) if not v.passed]
    if wrong := [u for u in open_units if u not in space.optional]:
        raise ValueError(
            f"--mine: {wrong[0]} of {space.file} does not pass yet (altgrad learn check); without "
            "--mine the experiment runs on altgrad's own model"
        )
    return Mine(space.file)


def _kept(space: Workshop | None, name: str, line: str) -> str:
    if space is None:
        return f"{line} (not kept: no workshop here, --dir says where it is)"
    return status_page.keep_under(space.folder, space.track, name, line)
