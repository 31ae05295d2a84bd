"""The learner's folder: what `start` writes, and what is remembered between commands.

    my_gpt.py      the file to fill in
    README.md      one page on how
    NOTES.md       the learner's own notes; never overwritten
    .learn.json    the track, its reference's hash, and per unit: attempts, hints, solution shown

What is done is never stored: `status` checks the file.
"""

import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from altgrad.learn.source import skeleton
from altgrad.learn.track import Track

DEFAULT_FOLDER = "my-gpt"
FILE, STATE = "my_gpt.py", ".learn.json"


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

    @property
    def file(self) -> Path:
        return self.folder / FILE

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
            "units": {u: vars(r) for u, r in self.records.items()},
        }
        temporary = self.folder / f"{STATE}.new"
        temporary.write_text(json.dumps(state, indent=2) + "\n")
        temporary.replace(self.folder / STATE)

    @property
    def reference_changed(self) -> bool:
        """Has altgrad's reference changed since this folder was made?"""
        return self.reference_hash != _hash(self.track.source)


def start(folder: Path, track: Track) -> Workshop:
    """Write a learner's folder. Raises ValueError where one is already."""
    if (folder / FILE).exists() or (folder / STATE).exists():
        raise ValueError(
            f"{folder} already holds a workshop; choose another folder, or move it away"
        )
    folder.mkdir(parents=True, exist_ok=True)
    todos = {unit: track.lessons[unit].todo for unit in track.units}
    (folder / FILE).write_text(skeleton(track.source, todos))
    (folder / "README.md").write_text(_readme(track))
    if not (folder / "NOTES.md").exists():
        (folder / "NOTES.md").write_text("# Notes\n\nPredictions, answers, surprises.\n")
    workshop = Workshop(folder, track, _hash(track.source))
    workshop.save()
    return workshop


def find(folder: str | None) -> Workshop:
    """The workshop in `folder`; without one, here or in ./my-gpt. Raises ValueError if none is."""
    places = [Path(folder)] if folder else [Path(), Path(DEFAULT_FOLDER)]
    for place in places:
        if (place / STATE).is_file():
            return _open(place)
    raise ValueError(
        f"no workshop in {' or '.join(str(p.resolve()) for p in places)}; "
        "`altgrad learn start` makes one, --dir says where it is"
    )


def _open(folder: Path) -> Workshop:
    try:
        state = json.loads((folder / STATE).read_text())
        track = Track(state["track"])
        records = {u: _read_record(r) for u, r in state["units"].items()}
        return Workshop(folder, track, state["reference"], records)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        kept = folder / f"{STATE}.{int(time.time())}.broken"
        raise ValueError(
            f"cannot read {folder / STATE} ({error}); move it to {kept.name} and start in another "
            f"folder, then copy {FILE} over"
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
    return f"""# Your own GPT

`{FILE}` has the whole structure of a GPT and none of its bodies. Fill them in, in any order; each
docstring is the contract: shapes, the equation, what goes in and out.

    altgrad learn run           one training iteration with your file; stops at what is missing
    altgrad learn check         judges every unit by itself; what is wrong, where and why
    altgrad learn check --watch the same on every save
    altgrad learn hint UNIT     an idea; again: the formula; again: pseudocode
    altgrad learn trace UNIT    every line of your own code with its shapes and values
    altgrad learn status        what is done

A unit is checked inside the reference, so a mistake elsewhere cannot disturb it, and any way of
computing the same numbers passes.

The stages, in the order in which a run meets them:

{stages}

When everything is right your parts are ordinary parts of altgrad. In this folder:

    altgrad train model=nanochat model.attention=my_gpt:CausalSelfAttention
"""
