"""Running a finished run again, from its folder alone, and saying whether it is the same."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from altgrad.runs import GIVEN, RunFolder, alterations, changed_sources, read_initial, read_json
from altgrad.settings import ConfigError
from altgrad.training.build import build_run, read_config
from altgrad.training.config import TrainConfig
from altgrad.training.recording import Listener
from altgrad.training.run_differences import Likeness, compare_runs, read_numbers
from altgrad.training.token_hashes import require_same_tokens


@dataclass(frozen=True)
class Reproduction:
    """What came of it. environment: name -> (then, now) of everything that differs, `code/FILE` for
    outside code that is not what the run began with."""

    run: str
    again: str
    likeness: Likeness
    verdict: str
    environment: dict[str, tuple[Any, Any]]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "identical": self.likeness.identical}


def reproduce(
    run: Path,
    *,
    out: Path | None = None,
    tolerance: float = 1e-3,
    listeners: Sequence[Listener] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Reproduction:
    """Run it again into a new folder (`out`, by default a new one below `runs/`), and compare.

    A run that was stopped is run again as far as it came. `tolerance`: the largest relative
    difference of any logged number that still counts as the same.

    Raises:
        ConfigError: its settings were changed on the way, its data is not there any more, or it
            has logged nothing.
    """
    steps = max(read_numbers(run), default=0)
    if not steps:
        raise ConfigError(f"{run} has logged no step: there is nothing to reproduce.")
    settings, same_tokens = settings_to_repeat(run, out), partial(require_same_tokens, run)
    trainer = build_run(settings, listeners=listeners, progress=progress, check_data=same_tokens)
    _require_the_same_start(run, trainer.recorder.initial)
    trainer.train(min(steps, trainer.config.max_steps))
    again = trainer.recorder.folder
    likeness = compare_runs(run, again.root)
    differences = compare_environments(RunFolder(run).environment, again.environment)
    changed = changed_sources(trainer.config.to_dict(), RunFolder(run).code)
    differences |= {f"code/{file}": hashes for file, hashes in changed.items()}
    differences = _but_for_trackers(differences, run)
    return Reproduction(
        str(run), str(again.root), likeness, likeness.verdict(tolerance), differences
    )


def settings_to_repeat(run: Path, out: Path | None) -> TrainConfig:
    """The run's settings, in another place and without trackers.

    Raises:
        ConfigError: they were changed on the way, so that no single run can repeat it.
    """
    if altered := alterations(run):
        raise ConfigError(
            f"{run} went on with something else from step {min(altered.values())} on "
            f"({', '.join(altered)}): no single run repeats it."
        )
    config = read_config(run)
    config.run_dir, config.checkpoint_dir = str(out) if out else None, None
    config.tracker.names = []
    return config


def _require_the_same_start(run: Path, start: dict[str, Any] | None) -> None:
    """Weights that were given lie in no settings: only a hash of them does."""
    recorded = read_initial(run)
    given = recorded is not None and recorded["from"] == GIVEN
    if recorded and given and start and recorded["sha256"] != start["sha256"]:
        raise ConfigError(
            f"{run} started from weights that were given to it, not from those that its settings "
            "draw, so no run of its settings repeats it; build_run(config) makes runs that can be "
            "repeated."
        )


def compare_environments(then: Path, now: Path) -> dict[str, tuple[Any, Any]]:
    """Name -> (then, now) of what differs; packages one by one, the command left out."""
    a, b = (_flat(read_json(path)) for path in (then, now))
    names = [n for n in {**a, **b} if n != "command" and a.get(n) != b.get(n)]
    return {name: (a.get(name), b.get(name)) for name in names}


def _but_for_trackers(differences: dict[str, Any], run: Path) -> dict[str, Any]:
    """The second run has none, so that the code of its own ones is missing on purpose."""
    own = {f"code.{name}" for name in read_config(run).tracker.names if ":" in name}
    return {
        name: (then, now)
        for name, (then, now) in differences.items()
        if name not in own and not (own and name.startswith("code/") and now is None)
    }


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
