"""What was altered in the middle of a run: such a run is no repetition of any other."""

import json
from pathlib import Path
from typing import Any

from altgrad.training.line_log import read_jsonl
from altgrad.training.run_folder import RunFolder

Changes = dict[str, tuple[Any, Any]]


def alterations(run: Path) -> dict[str, int]:
    """What a run went on with that it had not begun with -> the step from which on.

    Settings have their full names; `the tokens`: it read others; `code of altgrad`, `code of torch`
    and so on: the run was resumed by another version.
    """
    found: dict[str, int] = {}
    for event in read_jsonl(RunFolder(run).events):
        names = [*event.get("changed", {}), *(f"code of {part}" for part in event.get("code", {}))]
        names += ["the tokens"] if event.get("data_before") else []
        found |= {name: event.get("step", 0) for name in names if name not in found}
    return found


def code_changes(environment: Path, now: dict[str, str]) -> Changes:
    """Part -> (version that the run began with, version now) of everything that differs.

    environment: the run's `environment.json`; one that is gone or damaged tells of no change.
    """
    try:
        then = dict(json.loads(environment.read_text())["code"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    return {name: (then.get(name), now.get(name)) for name in names}
