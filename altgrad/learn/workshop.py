"""The learner's folder: what `start` writes, and what is remembered between commands.

    my_gpt.py      the file to fill in
    README.md      one page on how
    STATUS.md      the learner's own page, parts of which fill themselves (`status_page.py`)
    NOTES.md       the learner's own notes; never overwritten
    .learn.json    the track, its reference's hash, and per unit: attempts, hints, solution shown

What is done is never stored: `status` checks the file. Two terminals may work in one folder:
whoever notes something reads the notes first, under a lock. A file without its notes is taken up
with new ones; notes without their file get a new one from `start`.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from altgrad.learn.source import is_todo_of, placeholder_of, replace_bodies, skeleton
from altgrad.learn.track import TRACKS, Track

STATE = ".learn.json"


@dataclass
class UnitRecord:
    """What happened to one unit so far."""

    attempts: int = 0  # checks of a changed body that did not pass
    hints: int = 0  # the strongest shown
    solution_shown: bool = False
    body_hash: str = ""


@dataclass
class Workshop:
    """An opened learner's folder."""

    folder: Path
    track: Track
    reference_hash: str
    records: dict[str, UnitRecord] = field(default_factory=dict)
    full: bool = False  # every unit to be written, none given, none optional
    planted: bool = False  # is the file looked at the copy with a mistake that `break` planted?

    @property
    def optional(self) -> set[str]:
        """Units that need not be written on the fast way."""
        return set() if self.full else {u for u, x in self.track.lessons.items() if x.optional}

    @contextmanager
    def noting(self) -> Iterator[None]:
        """What another terminal has noted meanwhile, then what the block notes, on the disk."""
        with locked(self.folder):
            if (self.folder / STATE).is_file():
                self.records = _open(self.folder).records
            yield
            self.save()

    @property
    def file(self) -> Path:
        return self.planted_file if self.planted else self.folder / self.track.file_name

    @property
    def planted_file(self) -> Path:
        """broken_gpt.py, broken_rounding.py, …"""
        return self.folder / self.track.file_name.replace("my_", "broken_", 1)

    def on_planted(self) -> "Workshop":
        """The same, looking at the planted copy. Raises ValueError where there is none."""
        if not self.planted_file.is_file():
            raise ValueError("nothing is planted yet: `altgrad learn break` does it")
        return replace(self, planted=True)

    def record(self, unit: str) -> UnitRecord:
        return self.records.setdefault(unit, UnitRecord())

    def note_attempt(self, unit: str, body: str, *, passed: bool) -> None:
        """Count a try once, however often the same body is checked."""
        record, found = self.record(unit), _hash(body)
        if record.body_hash != found and not passed:
            record.attempts += 1
        record.body_hash = found

    def save(self) -> None:
        state: dict[str, Any] = {
            "track": self.track.name,
            "reference": self.reference_hash,
            "way": "full" if self.full else "fast",
            "units": {u: vars(r) for u, r in self.records.items()},
        }
        temporary = self.folder / f"{STATE}.new"
        temporary.write_text(json.dumps(state, indent=2) + "\n")
        temporary.replace(self.folder / STATE)

    @property
    def reference_changed(self) -> bool:
        """Has altgrad's reference changed since this folder was made?"""
        return self.reference_hash != _hash(self.track.source)


def start(folder: Path, track: Track, *, full: bool = False) -> Workshop:
    """Write a learner's folder, or the missing file of one. Raises ValueError where both are."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; choose another name for the folder")
    if any((folder / Track(name).file_name).exists() for name in TRACKS):
        raise ValueError(
            f"{folder} already holds a workshop; choose another folder, or move it away "
            f"(`altgrad learn reset UNIT --dir {folder}` empties a unit again)"
        )
    if (folder / STATE).is_file():
        workshop = _open(folder)
        workshop.file.write_text(blank(workshop.track, full=workshop.full))
        return workshop
    folder.mkdir(parents=True, exist_ok=True)
    (folder / track.file_name).write_text(blank(track, full=full))
    (folder / "README.md").write_text(_readme(track))
    if not (folder / "NOTES.md").exists():
        (folder / "NOTES.md").write_text("# Notes\n\nPredictions, answers, surprises.\n")
    workshop = Workshop(folder, track, _hash(track.source), full=full)
    workshop.save()
    return workshop


def blank(track: Track, *, full: bool) -> str:
    """The file to fill in; on the fast way the given units are there."""
    wanted = [u for u in track.units if full or not track.lessons[u].given]
    return skeleton(track.source, {unit: track.lessons[unit].todo for unit in wanted})


def reset(workshop: Workshop, unit: str | None) -> Path:
    """Empty a unit of the file again (None: all of them); returns where the file was kept.

    Raises ValueError for a file in which the unit cannot be found.
    """
    source = workshop.file.read_text() if workshop.file.is_file() else ""
    if unit is None:
        emptied = blank(workshop.track, full=workshop.full)
    else:
        emptied = _without(source, unit, workshop.track)
    kept = _next_backup(workshop.file)
    kept.write_text(source)
    workshop.file.write_text(emptied)
    return kept


def _without(source: str, unit: str, track: Track) -> str:
    todo = track.lessons[unit].todo
    try:
        if is_todo_of(source, unit):
            raise ValueError(f"{unit} is empty already")
        return replace_bodies(source, {unit: placeholder_of(source, unit, todo)})
    except (SyntaxError, KeyError):
        raise ValueError(
            f"{unit} cannot be found in {track.file_name}; `altgrad learn reset --all` begins the "
            "whole file anew and keeps yours beside it"
        ) from None


def _next_backup(file: Path) -> Path:
    """my_gpt.1.bak, my_gpt.2.bak, …"""
    taken = len(list(file.parent.glob(f"{file.stem}.*.bak")))
    names = (file.with_suffix(f".{n}.bak") for n in range(1, taken + 2))
    return next(path for path in names if not path.exists())


def find(folder: str | None) -> Workshop:
    """The workshop in `folder`; without one, here or in ./my-gpt, ./my-rounding, …

    Raises ValueError if none is, and where several lie side by side.
    """
    places = [Path(folder)] if folder else [Path(), Path("my-gpt")]
    for place in places:
        if _holds_one(place):
            break
    else:
        others = [p for t in TRACKS if (p := Path(Track(t).folder_name)) not in places]
        place = _only_one([] if folder else [p for p in others if _holds_one(p)], places)
    return _open(place) if (place / STATE).is_file() else _taken_up(place)


def _holds_one(place: Path) -> bool:
    return any((place / name).is_file() for name in (STATE, *(Track(t).file_name for t in TRACKS)))


def _only_one(found: list[Path], places: list[Path]) -> Path:
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"{' and '.join(map(str, found))} are workshops: say which with --dir")
    raise ValueError(
        f"no workshop in {' or '.join(str(p.resolve()) for p in places)}; "
        "`altgrad learn start` makes one, --dir says where it is"
    )


def _taken_up(folder: Path) -> Workshop:
    """A file whose notes are gone, or were not copied with it; its units say which track it is."""
    there = [t for t in TRACKS if (folder / Track(t).file_name).is_file()]
    text = {t: (folder / Track(t).file_name).read_text(errors="replace") for t in there}
    shares = {t: _share_of_units(text[t], Track(t)) for t in there}
    name = max(shares, key=lambda n: shares[n])
    if shares[name] < 0.5:
        raise ValueError(
            f"{folder / Track(name).file_name} has few of the units of {' or '.join(there)}; "
            "`altgrad learn start` in another folder makes a file with all of them"
        )
    workshop = Workshop(folder, Track(name), _hash(Track(name).source), full=True)
    workshop.save()
    return workshop


def _share_of_units(text: str, track: Track) -> float:
    names = [unit.rpartition(".")[2] for unit in track.units]
    return sum(f"def {n}(" in text or f"class {n}" in text for n in names) / len(names)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """flock(2) on the folder itself, which leaves no file behind; nothing where there is none."""
    handle = None
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _open(folder: Path) -> Workshop:
    try:
        state = json.loads((folder / STATE).read_text())
        track = Track(state["track"])
        records = {u: _read_record(r) for u, r in state["units"].items()}
        full = state.get("way", "full") != "fast"
        return Workshop(folder, track, state["reference"], records, full)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        kept = folder / f"{STATE}.{int(time.time())}.broken"
        raise ValueError(
            f"cannot read {folder / STATE} ({error}); move it to {kept.name}: "
            "the file beside it is then taken up with new notes"
        ) from None


def _read_record(content: dict[str, Any]) -> UnitRecord:
    """Raises TypeError for another field, or one of another type."""
    record = UnitRecord(**content)
    if any(type(v) is not type(getattr(UnitRecord, n)) for n, v in vars(record).items()):
        raise TypeError(f"{content} is no record of a unit")
    return record


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _readme(track: Track) -> str:
    stages = "\n".join(
        f"{number}. {title}: {', '.join(track.units_of(number))}"
        for number, title in track.stages.items()
    )
    title = "Your own GPT" if track.is_model else f"Your own {track.name}"
    return f"""# {title}

`{track.file_name}` has the whole structure and none of the bodies. Fill them in, in any order; each
docstring is the contract: shapes, the equation, what goes in and out.

    altgrad learn run           one training iteration with your file; stops at what is missing
    altgrad learn check         judges every unit by itself; what is wrong, where and why
    altgrad learn watch         the same at every save, with keys: hint, trace, backward, next
    altgrad learn hint UNIT     an idea; again: the formula; again: pseudocode
    altgrad learn trace UNIT    every line of your own code with its shapes and values
    altgrad learn status        what is done; `STATUS.md` has it too, with room for your answers
    altgrad learn reset UNIT    empties a unit again; your file is kept beside it

A unit is checked inside the reference, so a mistake elsewhere cannot disturb it, and any way of
computing the same numbers passes.

The stages, in the order in which a run meets them:

{stages}

{_after_all(track)}
"""


def _after_all(track: Track) -> str:
    if not track.is_model:
        return "\n".join(track.what_next)
    return """When everything is right your parts are ordinary parts of altgrad. In this folder:

    altgrad train model=nanochat model.attention=my_gpt:CausalSelfAttention"""
