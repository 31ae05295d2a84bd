"""Finding the run folder of a run that is wanted: the one that already holds it, or a new one."""

import os
from collections.abc import Iterable
from pathlib import Path

from altgrad.compare.identity import key_of_run, run_key
from altgrad.compare.record import slug
from altgrad.compare.state import state_of
from altgrad.programs import ProgramRun
from altgrad.runs import code_versions, find_runs
from altgrad.training.config import TrainConfig

REUSABLE = ("finished", "diverged")


class Registry:
    """The runs below one folder, by identity (settings, code, data).

    A run that a comparison makes is named after its arm, its seed and its identity, so that the
    same run is found again, half done or done. Runs made by `altgrad train` count once they ended.
    """

    def __init__(self, base: str | Path) -> None:
        self.base = Path(base)
        self._others: dict[str, Path] | None = None
        self._named: dict[str, Path] = {}
        self._listed_at: int | None = None
        self._placed: dict[str, Path] = {}
        self.reused: set[Path] = set()

    def place(self, config: TrainConfig | ProgramRun, data: str, label: str) -> Path:
        """The folder of the run with these settings, existing or not."""
        key = config.key if isinstance(config, ProgramRun) else _key(config, data)
        if key in self._placed:
            return self._placed[key]
        usual = self.base / f"{slug(label)}-seed{config.seed}-{key}"
        found = self._by_name(usual, key) or self._elsewhere(key)
        if found is not None and state_of(found) in REUSABLE:
            self.reused.add(found)
        path = found or usual
        self._placed[key] = path
        return path

    def _by_name(self, usual: Path, key: str) -> Path | None:
        """The first folder whose name ends in this key.

        The folder of all runs is listed again only where it changed since: a listing for every run
        would cost the square of the runs. The usual name is looked for directly, too, because a
        folder made within one tick of the file system's clock leaves no other trace.
        """
        changed_at = self.base.stat().st_mtime_ns if self.base.is_dir() else None
        if changed_at != self._listed_at:
            self._named, self._listed_at = _names(self.base), changed_at
        return self._named.get(key) or (usual if usual.exists() else None)

    def _elsewhere(self, key: str) -> Path | None:
        if self._others is None:
            self._others = dict(_keys(find_runs(self.base)))
        return self._others.get(key)


def _key(config: TrainConfig, data: str) -> str:
    values = config.to_dict()
    return run_key(values, code_versions(values), data)


def _names(base: Path) -> dict[str, Path]:
    """The folders below `base` by the last part of their names, of several the first by name."""
    names = (
        sorted((entry.name for entry in os.scandir(base)), reverse=True) if base.is_dir() else []
    )
    return {name.rpartition("-")[2]: base / name for name in names if "-" in name}


def _keys(runs: Iterable[Path]) -> Iterable[tuple[str, Path]]:
    for run in runs:
        if (key := key_of_run(run)) and state_of(run) in REUSABLE:
            yield key, run
