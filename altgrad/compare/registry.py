"""Finding the run folder of a run that is wanted: the one that already holds it, or a new one."""

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
        self._placed: dict[str, Path] = {}
        self.reused: set[Path] = set()

    def place(self, config: TrainConfig | ProgramRun, data: str, label: str) -> Path:
        """The folder of the run with these settings, existing or not."""
        key = config.key if isinstance(config, ProgramRun) else _key(config, data)
        if key in self._placed:
            return self._placed[key]
        own = sorted(self.base.glob(f"*-{key}"))
        found = own[0] if own else self._elsewhere(key)
        if found is not None and state_of(found) in REUSABLE:
            self.reused.add(found)
        path = found or self.base / f"{slug(label)}-seed{config.seed}-{key}"
        self._placed[key] = path
        return path

    def _elsewhere(self, key: str) -> Path | None:
        if self._others is None:
            self._others = dict(_keys(find_runs(self.base)))
        return self._others.get(key)


def _key(config: TrainConfig, data: str) -> str:
    values = config.to_dict()
    return run_key(values, code_versions(values), data)


def _keys(runs: Iterable[Path]) -> Iterable[tuple[str, Path]]:
    for run in runs:
        if (key := key_of_run(run)) and state_of(run) in REUSABLE:
            yield key, run
