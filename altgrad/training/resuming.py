"""Which stopped run to continue, and which of its settings may be different this time."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from altgrad.optim import build_schedule
from altgrad.training.config import TrainConfig, all_setting_names
from altgrad.training.run_folder import find_runs, run_status
from altgrad.training.settings import ConfigError, get_setting, refuse_unknown

PLACES = ("run_dir", "checkpoint_dir")
"""Where a run lies is not what it is: a folder that was moved is still the same run."""

UNFINISHED = ("interrupted", "failed")

Changes = dict[str, tuple[Any, Any]]


def changed_settings(old: TrainConfig, new: TrainConfig) -> Changes:
    """Full name -> (old value, new value) of every setting that differs."""
    names = [name for name in all_setting_names() if name not in PLACES]
    pairs = {name: (get_setting(old, name), get_setting(new, name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def refuse_changes(changes: Changes, allow: Iterable[str]) -> None:
    """A resumed run is the same run, unless each difference is allowed by its name or its group's.

    Raises:
        ConfigError: naming the first setting that differs, and how to allow all of them.
    """
    allow = list(allow)
    names = all_setting_names()
    groups = {name.rpartition(".")[0] for name in names} - {""}
    for word in allow:
        refuse_unknown(word, [*names, *groups], "setting in resume.allow")
    refused = {n: pair for n, pair in changes.items() if not _allowed(n, allow)}
    if refused:
        name, (old, new) = next(iter(refused.items()))
        more = f" and {len(refused) - 1} more differ" if len(refused) > 1 else ""
        listed = ",".join([*allow, *refused])
        raise ConfigError(
            f"this run has {name}={old!r}, not {new!r}{more}; if that is meant, allow it: "
            f"'resume.allow=[{listed}]'."
        )


def _allowed(name: str, allow: list[str]) -> bool:
    return any(name == word or name.startswith(f"{word}.") for word in allow)


def rate_jump(old: TrainConfig, new: TrainConfig, step: int) -> list[str]:
    """A remark if the schedule, as it is now, stands elsewhere at this step than it stood before.

    A cosine over more steps has not come down as far: the rate goes back up.
    """
    before, after = (build_schedule(c.schedule, c.max_steps)(step) for c in (old, new))
    if step == 0 or abs(after - before) < 0.01:
        return []
    way = "back up" if after > before else "down"
    return [
        f"the learning rate goes {way}, from {before:.2f} to {after:.2f} of its peak: "
        f"schedule.name={new.schedule.name} now runs over {new.max_steps:,} steps, not "
        f"{old.max_steps:,}"
    ]


def newest_unfinished(
    config: TrainConfig, *, base: str | Path = "runs", allow: Iterable[str] = ()
) -> Path | None:
    """The newest run below `base` (or in `config.run_dir`) that has these settings and stopped.

    Settings named by `allow` may differ. Runs that are going on are left alone.
    """
    from altgrad.training.build import read_config

    runs = [Path(config.run_dir)] if config.run_dir else find_runs(base)
    for run in reversed(runs):
        if not (run / "config.yaml").is_file() or run_status(run) not in UNFINISHED:
            continue
        try:
            refuse_changes(changed_settings(read_config(run), config), allow)
        except ConfigError:
            continue
        return run
    return None
