"""What a run's folder says of its past: its first and last weights, and what was altered between
(such a run is no repetition of any other)."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from altgrad.runs.folder import RunFolder
from altgrad.runs.lines import read_events
from altgrad.runs.reading import read_json

Changes = dict[str, tuple[Any, Any]]

GIVEN = "given"
"""`from` in `weights.json`: the person brought the initial weights."""


def alterations(run: Path) -> dict[str, int]:
    """What a run went on with that it had not begun with -> the step from which on.

    Settings have their full names; `the tokens`: it read others; `code of altgrad`, `code of torch`
    and so on: the run was resumed by another version.
    """
    found: dict[str, int] = {}
    for event in read_events(RunFolder(run).events):
        changed, code = (_named(event.get(kind)) for kind in ("changed", "code"))
        names = [*changed, *(f"code of {part}" for part in code)]
        names += ["the tokens"] if event.get("data_before") else []
        found |= {name: event.get("step", 0) for name in names if name not in found}
    return found


def _named(what: object) -> Iterable[str]:
    return what if isinstance(what, dict) else ()


def code_changes(environment: Path, now: dict[str, str]) -> Changes:
    """Part -> (version that the run began with, version now) of everything that differs.

    environment: the run's `environment.json`; one that is gone or damaged tells of no change.
    """
    try:
        then = dict(read_json(environment)["code"])
    except (ValueError, KeyError, TypeError):
        return {}
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    return {name: (then.get(name), now.get(name)) for name in names}


def read_initial(run: Path) -> dict[str, Any] | None:
    """`weights.json` of a run; None where it does not say (older runs, killed before it began)."""
    try:
        content = read_json(RunFolder(run).weights)
        return content if isinstance(content["tensors"], dict) else None
    except (ValueError, KeyError):
        return None


def last_weights(run: Path) -> str | None:
    """sha256 of a run's weights when it ended last; None where it does not say."""
    found = [e["weights"] for e in read_events(RunFolder(run).events) if e.get("weights")]
    return found[-1] if found else None
