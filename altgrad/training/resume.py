"""Which stopped run to continue, and which of its settings may be different this time."""

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from altgrad.optim import build_schedule
from altgrad.runs import checkpoint_folder, find_runs, resolve_run, run_status
from altgrad.settings import ConfigError, get_setting, refuse_unknown
from altgrad.training.config import TrainConfig, all_setting_names
from altgrad.training.loading import pick_checkpoint, read_config
from altgrad.training.machine import settle

PLACES = ("run_dir", "checkpoint_dir")
"""Where a run lies is not what it is: a folder that was moved is still the same run."""

UNFINISHED = ("interrupted", "failed", "damaged")

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


def settings_to_go_on_with(
    own: TrainConfig, wished: TrainConfig | None, run: Path
) -> tuple[TrainConfig, Changes]:
    """The settings of a resumed run, and in what they differ from its `own`.

    What a run decides for itself (device, vocabulary, base) is its own wherever `wished` leaves it
    open, so that the words a run was started with are the words it is resumed with.
    """
    config = copy.deepcopy(wished or own)
    for place, now in (("run_dir", run), ("checkpoint_dir", checkpoint_folder(run, own.to_dict()))):
        _refuse_other_place(config, own, place, Path(now))
    settle(config)
    if config.model.vocab_size is None:
        config.model.vocab_size = own.model.vocab_size
    if config.model.document_token is None and config.data.mask_documents:
        config.model.document_token = own.model.document_token
    if config.init_from is not None and own.init_from is not None:
        _take_over_base(config, own)
    config.checkpoint_dir = (
        None if own.checkpoint_dir is None else str(checkpoint_folder(run, own.to_dict()))
    )
    config.run_dir = str(run)
    return config, changed_settings(own, config)


def _refuse_other_place(config: TrainConfig, own: TrainConfig, place: str, now: Path) -> None:
    """A folder that somebody typed and that would not be written to."""
    typed = getattr(config, place)
    if typed not in (None, getattr(own, place)) and Path(typed).resolve() != now.resolve():
        raise ConfigError(
            f"{place}={typed}: this run has {place}={now}, and goes on there; leave {place} out. "
            "The folder can be moved while nothing writes it."
        )


def _take_over_base(config: TrainConfig, own: TrainConfig) -> None:
    """A base is the same if its weights are, wherever it lies and however it is called."""
    sha256 = config.finetune.base_sha256 or own.finetune.base_sha256
    try:
        base = resolve_run(config.init_from)
        if str(base.resolve()) != own.init_from:
            pick_checkpoint(base, sha256 or "best")
    except ValueError:  # gone, or another one
        same = config.init_from == own.init_from
    else:
        same = sha256 is not None or str(base.resolve()) == own.init_from
    if same:
        config.init_from, config.finetune.base_sha256 = own.init_from, sha256


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


def newest_alike(
    config: TrainConfig, *, base: str | Path = "runs", allow: Iterable[str] = ()
) -> Path | None:
    """The newest run below `base` that has these settings, stopped or ended; else None.

    Settings named by `allow` may differ. Runs that are going on are left alone.
    """
    runs = [run for run in find_runs(base) if run_status(run) != "running"]
    return next((run for run in reversed(runs) if _is_alike(run, config, allow)), None)


def _is_alike(run: Path, config: TrainConfig, allow: Iterable[str]) -> bool:
    try:
        refuse_changes(settings_to_go_on_with(read_config(run), config, run)[1], allow)
    except ConfigError:
        return False
    return True
