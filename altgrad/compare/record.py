"""What a comparison's folder holds: the question, and which runs belong to it.

    runs/compare/NAME/question.yaml   what is asked, complete
                      record.json     the arms, their budgets and tuning, and where their runs lie
                      verdict.json report.html report.md

The runs themselves are ordinary run folders below `runs/`.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from altgrad.compare.question import Question
from altgrad.runs import read_json, read_yaml, write_atomically
from altgrad.settings import ConfigError, from_dict, require

LAYOUT_VERSION = 1
ADDED = {"fraction": "", "interactions": 2}
"""Fields that came to questions later, with the value that changes nothing."""


@dataclass
class Record:
    """`record.json`. runs: arm -> seed -> run folder; arms: control first, words and settings that
    differ; paths are relative to the runs' folder. ladder: of design=scaling, whose runs belong to
    its rungs' own comparisons (`scaling/`)."""

    command: str
    control: str
    arms: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, dict[str, str]] = field(default_factory=dict)
    spending: list[dict[str, Any]] = field(default_factory=list)
    tuning: list[dict[str, Any]] = field(default_factory=list)
    tuning_runs: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    step_s: dict[str, float] = field(default_factory=dict)
    ladder: dict[str, Any] = field(default_factory=dict)
    layout: int = LAYOUT_VERSION


def comparison_folder(question: Question, runs: str | Path) -> Path:
    """The folder of a complete question: its name, or its arms and a hash of all of it."""
    # Fields added since are left out where they say nothing: the same question keeps its folder.
    said = {n: v for n, v in question.to_dict().items() if ADDED.get(n, ...) != v}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    name = question.name or f"{slug('-'.join(question.arms))}-{digest[:6]}"
    require(
        plain_name(name),
        f"name={name!r} must be a plain name: it is a folder below {Path(runs) / 'compare'}.",
    )
    return Path(runs) / "compare" / name


def slug(text: str, longest: int = 40) -> str:
    """`e5m2 + muon` -> `e5m2-muon`: safe as a folder's name everywhere."""
    return re.sub(r"[^A-Za-z0-9._=]+", "-", text).strip("-.")[:longest] or "arm"


def read_record(folder: Path) -> tuple[Question, Record]:
    """Question and record of a comparison's folder.

    Raises:
        ConfigError: no comparison there, or of another version.
    """
    try:
        question = from_dict(Question, read_yaml(folder / "question.yaml"))
        record = from_dict(Record, read_json(folder / "record.json"))
        _check(question, record)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{folder} is not a comparison: {error}") from error
    require(
        record.layout == LAYOUT_VERSION,
        f"{folder} has layout {record.layout}, this altgrad reads {LAYOUT_VERSION}.",
    )
    return question, record


def _check(question: Question, record: Record) -> None:
    """Raises where a report would miss something, or would read a run from another place."""
    for by_seed in record.runs.values():
        for seed, run in by_seed.items():
            int(seed)
            require(plain_name(run), f"record.json names the run {run!r}, which is no folder's.")
    named = {question.control, *question.arms, *record.runs, *record.arms}
    strangers = named ^ set(question.arms)
    require(not strangers, f"question.yaml and record.json differ in {sorted(strangers)}.")
    for facts in record.arms.values():
        for old, new in facts["differs"].values():
            json.dumps([old, new])
    for tuned in record.tuning:
        require(isinstance(tuned["outcomes"], dict), "record.json: tuning without outcomes.")
    for spent in record.spending:
        float(spent["total"])


def plain_name(name: str) -> bool:
    """Whether it names a folder right here: no path, and nothing hidden."""
    return bool(name) and name == Path(name).name and not name.startswith(".") and "\0" not in name


def write_record(folder: Path, question: Question, record: Record) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(question.to_dict(), sort_keys=False, allow_unicode=True)
    write_atomically(folder / "question.yaml", text)
    write_atomically(
        folder / "record.json", json.dumps(asdict(record), indent=1, allow_nan=False) + "\n"
    )
