"""Running a finished run again, from its folder alone, and saying whether it is the same."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from altgrad.training.build import build_run, read_config, recorded_hashes
from altgrad.training.config import TrainConfig
from altgrad.training.history import alterations
from altgrad.training.likeness import Likeness, compare_runs, read_numbers
from altgrad.training.reading import read_json
from altgrad.training.recorder import Listener
from altgrad.training.run_folder import RunFolder
from altgrad.training.settings import ConfigError


@dataclass(frozen=True)
class Reproduction:
    """What came of it. environment: name -> (then, now) of everything that differs."""

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
    trainer = build_run(settings_to_repeat(run, out), listeners=listeners, progress=progress)
    _require_the_same_data(run, trainer.data_dir)
    trainer.train(min(steps, trainer.config.max_steps))
    again = trainer.recorder.folder
    likeness = compare_runs(run, again.root)
    differences = compare_environments(RunFolder(run).environment, again.environment)
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


def _require_the_same_data(run: Path, data_dir: Path) -> None:
    """By reading every token: a description can outlive a changed file."""
    from altgrad.data.files import sha256_of

    for split, recorded in (recorded_hashes(run) or {}).items():
        if sha256_of(data_dir / f"{split}.bin") != recorded:
            raise ConfigError(
                f"{data_dir / split}.bin is not what {run} was trained on (its sha256 differs from "
                "data.json); bring the original data back."
            )


def compare_environments(then: Path, now: Path) -> dict[str, tuple[Any, Any]]:
    """Name -> (then, now) of what differs; packages one by one, the command left out."""
    a, b = (_flat(read_json(path)) for path in (then, now))
    names = [n for n in {**a, **b} if n != "command" and a.get(n) != b.get(n)]
    return {name: (a.get(name), b.get(name)) for name in names}


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
