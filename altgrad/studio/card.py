"""What the table knows of one run: small enough that ten thousand of them cost little."""

import json
import os
from pathlib import Path
from typing import Any

from altgrad.runs import (
    RunFolder,
    SettingsReader,
    describe_precision,
    read_events,
    run_status,
    said_status,
)
from altgrad.studio.places import leads_out
from altgrad.studio.progress import Progress

PLACES = ("run_dir", "checkpoint_dir")
"""Settings that say where a run lies, not what it is."""

GROWING = ("metrics.jsonl", "events.jsonl")


class Settings:
    """The settings of many runs: names and values that repeat are kept once."""

    def __init__(self) -> None:
        self.reader = SettingsReader()
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._values: dict[str, str] = {}

    def flat(self, tree: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names (`optim.lr`) and, in their order, values as they are typed."""
        pairs = [(name, value) for name, value in _flat(tree) if name not in PLACES]
        names = tuple(name for name, _ in pairs)
        values = tuple(self._values.setdefault(v, v) for _, v in pairs)
        return self._names.setdefault(names, names), values


def _flat(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found = []
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            found += _flat(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", as_typed(value)))
    return found


def as_typed(value: Any) -> str:
    """`null`, `true`, `[a, b]`, `0.001`: as a person would type it."""
    if isinstance(value, str):
        return value
    return json.dumps(value, default=str, ensure_ascii=False)


class Card:
    """One run. `read` fills it in; `follow` looks for what is new.

    Attributes:
        began: when its settings were written, seconds since 1970. trouble: why it cannot be read,
            or empty. checked: whether a finished run's metrics were held against their record.
    """

    __slots__ = (
        *("path", "began", "status", "max_steps", "names", "values", "words", "progress"),
        *("alerts", "trouble", "checked", "is_read", "_seen"),
    )

    def __init__(self, path: Path, began: float) -> None:
        self.path, self.began = path, began
        self.status, self.trouble = "", ""
        self.max_steps, self.alerts = 0, 0
        self.names: tuple[str, ...] = ()
        self.values: tuple[str, ...] = ()
        self.words = path.name.lower()
        self.progress = Progress(RunFolder(path).metrics)
        self.checked = self.is_read = False
        self._seen: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        return self.path.name

    def read(self, settings: Settings, base: Path) -> None:
        """Everything, for the first time; what is damaged says so and is no run."""
        self.is_read = True
        try:
            if leads_out(self.path, base):
                raise ValueError(f"a file of it is a link out of {base}")
            tree = settings.reader.read(RunFolder(self.path).config)
            self.names, self.values = settings.flat(tree)
            self.max_steps = tree["max_steps"]
            self.words = _words(self.path.name, tree)
            self.follow()
        except (ValueError, KeyError, TypeError, OSError) as error:
            self.status, self.trouble = "damaged", " ".join(str(error).split())

    def follow(self) -> bool:
        """Whether anything changed since the last look."""
        if self.trouble:
            return False
        seen, status = self._now(), self.status
        if seen == self._seen and status != "running":
            return False
        if seen != self._seen:
            self.progress.follow()
            events = read_events(RunFolder(self.path).events)
            self.alerts = sum(e["event"] == "alert" for e in events)
            self.checked = False
        if not self.checked:
            self.status = said_status(self.path)
        changed = seen != self._seen or status != self.status
        self._seen = seen
        return changed

    def check(self) -> bool:
        """Hold a finished run's metrics against their record; whether that changed its status."""
        before, self.checked = self.status, True
        if before == "finished":
            self.status = run_status(self.path)
        return self.status != before

    def setting(self, name: str) -> str | None:
        try:
            return self.values[self.names.index(name)]
        except ValueError:
            return None

    def settings(self) -> dict[str, str]:
        return dict(zip(self.names, self.values, strict=True))

    def _now(self) -> tuple[float, ...]:
        found: list[float] = []
        for name in GROWING:
            try:
                state = os.stat(self.path / name)
                found += [state.st_ino, state.st_size, state.st_mtime_ns]
            except OSError:
                found.append(-1)
        return tuple(found)


def _words(name: str, tree: dict[str, Any]) -> str:
    """What the filter looks in, lower case."""
    model, data = tree["model"], tree["data"]
    facts = (
        name,
        describe_precision(tree["precision"]),
        tree["optim"]["name"],
        f"{model['n_layer']}x{model['n_embd']}",
        data["path"] or data["name"],
    )
    return " ".join(map(str, facts)).lower()
