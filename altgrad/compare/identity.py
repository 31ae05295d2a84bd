"""When two runs are the same run: resolved settings, code version and data hash agree."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from altgrad.runs import RunFolder, alterations, read_json, read_settings

WITHOUT_EFFECT = (
    "run_dir",
    "checkpoint_dir",
    "checkpoint_interval",
    "checkpoint_minutes",
    "checkpoint_background",
    "max_checkpoints",
    "sample_tokens",
    "data.cache_dir",
    "data.path",
    "tracker",
)
"""Settings, or groups of them, that leave every number of a run as it is. `data.path` is where the
tokens lie; what they are is the data hash."""


def covers(declared: Iterable[str], name: str) -> bool:
    """Whether a declared setting or group includes the setting `name`."""
    return any(name == d or name.startswith(f"{d}.") for d in declared)


def effective_settings(values: dict[str, Any]) -> dict[str, Any]:
    """A run's nested settings without those that have no effect on its numbers."""
    kept = {k: dict(v) if isinstance(v, dict) else v for k, v in values.items()}
    for name in WITHOUT_EFFECT:
        group, _, leaf = name.partition(".")
        if leaf and isinstance(kept.get(group), dict):
            kept[group].pop(leaf, None)
        elif not leaf:
            kept.pop(name, None)
    return kept


def data_hash(splits: dict[str, str]) -> str:
    """One hash for the hashes of all splits."""
    return _digest(splits)


def run_key(values: dict[str, Any], code: dict[str, str], data: str) -> str:
    """The identity of a run, 12 characters.

    values: its nested settings, resolved. code: as `code_versions` gives it. data: `data_hash`.
    """
    return _digest([effective_settings(values), code, data])[:12]


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def altered(run: Path) -> list[str]:
    """What has an effect and was not the same throughout the run."""
    found = alterations(run)
    return [n for n in found if not any(n == w or n.startswith(f"{w}.") for w in WITHOUT_EFFECT)]


def key_of_run(run: Path) -> str | None:
    """The identity of a run from its folder alone.

    None where the folder does not say enough, or the run was altered on its way: the settings in
    the folder are then not those that all its steps were made with.
    """
    if altered(run):
        return None
    try:
        values = read_settings(RunFolder(run).config)
        environment = read_json(RunFolder(run).environment)
        data = read_json(RunFolder(run).data)
        return run_key(values, environment["code"], data_hash(data["sha256"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
