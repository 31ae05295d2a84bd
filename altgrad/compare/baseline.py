"""The control arm, frozen: a small committed record of a run, and the run that still reproduces it.

`freeze` stores what a run was (settings, data, code) and what it reached; `verify` runs the same
settings again and fails unless the validation loss is within the tolerance of the record's target
and the seeds lie close enough together. So a change that harms the default is seen at once.
"""

import glob
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from altgrad.compare.arm import change_settings
from altgrad.compare.identity import data_hash, effective_settings
from altgrad.compare.launching import LAUNCHERS, Launch, Report, Wanted, complete, take_launch_words
from altgrad.compare.record import plain_name
from altgrad.runs import (
    RunFolder,
    accept_code,
    read_json,
    read_settings,
    resolve_run,
    summarise_run,
    what_is_lost,
    write_atomically,
)
from altgrad.settings import ConfigError, from_dict, nearest, require
from altgrad.training.config import TrainConfig

SHIPPED = Path(__file__).parent / "baselines"
OWN_RECORDS = Path("experiments/baselines")
LAYOUT_VERSION = 1


@dataclass
class Baseline:
    """One record. Losses are validation losses, nats per token.

    settings: nested, without seed and place. runs: seed -> last and best loss, steps; nothing for a
    seed whose target was published by others (see `note`). target: the loss that must be held,
    within the share `tolerance`; `spread`: largest allowed share between the seeds. data: hash of
    the tokens. environment: what it was made on, for the curious. data_path: `data.path` as the
    runs had it; null for a corpus by name.
    """

    name: str
    settings: dict[str, Any]
    runs: dict[str, dict[str, float]]
    target: float
    tolerance: float
    spread: float
    data: str
    environment: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    data_path: str | None = None
    layout: int = LAYOUT_VERSION


def freeze_baseline(
    name: str,
    runs: Sequence[Path],
    *,
    into: Path = OWN_RECORDS,
    target: float | None = None,
    tolerance: float = 0.05,
    spread: float = 0.01,
) -> Path:
    """Write the record of finished runs that differ in nothing but the seed.

    Raises:
        ConfigError: a run has not finished, or the runs are not the same.
    """
    require(plain_name(name), f"{name!r} must be a plain name; --into says the folder.")
    folders = [resolve_run(run) for run in runs]
    settings = _common_settings(folders)
    losses = {str(read_settings(RunFolder(r).config)["seed"]): _losses(r) for r in folders}
    require(len(losses) == len(folders), "two of the runs have the same seed.")
    record = Baseline(
        name=name,
        settings=settings,
        runs=losses,
        target=target if target is not None else fmean(x["best_val_loss"] for x in losses.values()),
        tolerance=tolerance,
        spread=spread,
        data=_data_of(folders[0]),
        environment=_environment_of(folders[0]),
        data_path=read_settings(RunFolder(folders[0]).config)["data"]["path"],
    )
    failures = _judge(record, {s: x["best_val_loss"] for s, x in losses.items()})
    require(not failures, f"these runs do not hold the baseline themselves: {'; '.join(failures)}.")
    into.mkdir(parents=True, exist_ok=True)
    path = into / f"{name}.json"
    write_atomically(path, json.dumps(asdict(record), indent=1, allow_nan=False) + "\n")
    return path


ROOM = 2 / 3
"""Of the allowed spread, what the frozen seeds may use up before it is told. With other sums in the
products (one thread for two) the range of five seeds went from 0.91 to 1.02 % of the target."""


def narrow_spread(path: Path) -> str:
    """A remark on a record that other sums in the same run could break; "" where there is room."""
    record = _read(path)
    losses = {s: r["best_val_loss"] for s, r in record.runs.items() if "best_val_loss" in r}
    spread = _spread(record, losses) if losses else 0.0  # a record of what others reached
    if spread <= ROOM * record.spread:
        return ""
    return (
        f"its seeds lie {spread:.2%} apart, and {record.spread:.2%} is allowed: on other machines "
        f"it may fail for that alone; freeze it with --spread {2 * spread:.2g}"
    )


def _spread(record: Baseline, losses: dict[str, float]) -> float:
    """How far apart the seeds lie, of the target; 0 of one seed."""
    return (max(losses.values()) - min(losses.values())) / record.target


def _common_settings(runs: Sequence[Path]) -> dict[str, Any]:
    found = []
    for run in runs:
        values = effective_settings(read_settings(RunFolder(run).config))
        values.pop("seed")
        found.append(values)
    require(
        all(f == found[0] for f in found),
        "the runs differ in more than the seed; a baseline is one configuration.",
    )
    return found[0]


def _losses(run: Path) -> dict[str, float]:
    summary = summarise_run(run)
    if summary.status != "finished" or summary.best_val_loss is None or summary.val_loss is None:
        lost = f" ({what_is_lost(run)})" if summary.status == "damaged" else ""
        raise ConfigError(f"{run} is {summary.status}{lost}; a baseline is made of finished runs.")
    return {
        "val_loss": summary.val_loss,
        "best_val_loss": summary.best_val_loss,
        "steps": summary.step,
        "train_s": round(summary.train_s or 0.0, 1),
    }


def _data_of(run: Path) -> str:
    return data_hash(read_json(RunFolder(run).data).get("sha256") or {})


def _environment_of(run: Path) -> dict[str, Any]:
    environment = read_json(RunFolder(run).environment)
    wanted = ("python", "torch", "cuda", "gpus", "cpu", "threads", "platform", "code")
    git = environment.get("git")
    commit = git.get("commit") if isinstance(git, dict) else None
    return {**{k: environment.get(k) for k in wanted}, "commit": commit}


# -- verify ---------------------------------------------------------------------------------------


def find_baseline(name: str) -> Baseline:
    """A record by file, or by name among the project's own and the shipped ones.

    Raises:
        ConfigError: there is none.
    """
    for path in (Path(name), OWN_RECORDS / f"{name}.json", SHIPPED / f"{name}.json"):
        if path.is_file():
            return _read(path)
    names = [p.stem for folder in (OWN_RECORDS, SHIPPED) for p in sorted(folder.glob("*.json"))]
    raise ConfigError(
        f"baseline {name!r} is not known.{nearest(name, names)} Allowed: {', '.join(names)}."
    )


def _read(path: Path) -> Baseline:
    try:
        record = from_dict(Baseline, read_json(path))
    except TypeError as error:
        raise ConfigError(f"{path} is not a baseline: {error}.") from None
    require(record.layout == LAYOUT_VERSION, f"{path} has layout {record.layout}.")
    return record


def list_baselines() -> list[str]:
    """One line for each record that can be verified here."""
    paths = [p for folder in (OWN_RECORDS, SHIPPED) for p in sorted(folder.glob("*.json"))]
    records = [_read(path) for path in paths]
    return [_line(record) for record in records]


def _line(r: Baseline) -> str:
    note = f"; {r.note}" if r.note else ""
    work = f"{r.settings['max_steps']} steps, seeds {', '.join(r.runs)}"
    return f"{r.name}: validation loss {r.target:.4f} ± {r.tolerance:.0%}, {work}{note}"


def verify_baseline(
    name: str,
    words: Sequence[str] = (),
    *,
    seeds: int | None = None,
    report: Report | None = None,
) -> tuple[bool, list[str]]:
    """Run the record's settings again and compare.

    words: where to run (`jobs=2`), and what the machine decides (`device=`, `compile=`,
    `precision.compute=`). seeds: how many of the record's seeds.

    Returns:
        whether it holds, and lines that say what was found.

    Raises:
        ConfigError: unknown record, other data, a word that would change what is verified.
    """
    record = find_baseline(name)
    launch, others = take_launch_words(words)
    launch.check(list(LAUNCHERS))
    chosen = list(record.runs)[:seeds]
    wanted = _wanted(record, chosen, launch, others)
    complete(wanted, launch, report)
    found = {seed: _verified_loss(w.run) for seed, w in zip(chosen, wanted, strict=True)}
    lines = [_found(seed, loss, record.runs[seed]) for seed, loss in found.items()]
    failures = _judge(record, found)
    lines += [f"fails: {failure}" for failure in failures]
    if not failures:
        lines.append(f"holds: within {record.tolerance:.0%} of {record.target:.4f}")
    return not failures, lines


def _found(seed: str, loss: float, recorded: dict[str, float]) -> str:
    was = f", recorded {recorded['best_val_loss']:.4f}" if recorded else ""
    return f"seed {seed}: best validation loss {loss:.4f}{was}"


MACHINE_SETTINGS = ("device", "compile", "precision.compute", "data.cache_dir", "data.path")


def _wanted(
    record: Baseline, seeds: Sequence[str], launch: Launch, words: Sequence[str]
) -> list[Wanted]:
    from altgrad.compare.settle import settle

    config = TrainConfig.from_dict(record.settings)
    changes = _machine_words(words)
    if record.data_path and "data.path" not in changes:
        changes["data.path"] = _found_text(record)
    config = change_settings(config, changes)
    accept_code(config.to_dict())
    settled, data = settle(config, elsewhere=launch.elsewhere)
    own = f"the text that was {record.data_path}" if record.data_path else "the same corpus"
    place = config.data.path or config.data.name
    require(
        data == record.data,
        f"{place} is not the record's data (hash {data}, recorded {record.data}): it takes {own}, "
        "and the same tokenizer; say where it is with data.path=…",
    )
    base = Path(launch.runs) / "baselines"
    base.mkdir(parents=True, exist_ok=True)
    return [
        Wanted(
            f"{record.name} seed {seed}",
            change_settings(settled, {"seed": int(seed)}),
            _new_folder(base, f"{record.name}-seed{seed}"),
        )
        for seed in seeds
    ]


def _found_text(record: Baseline) -> str:
    """Where the text lay when the record was made, if it still does."""
    path = str(record.data_path)
    if path == "-" or not glob.glob(str(Path(path).expanduser())):
        raise ConfigError(
            f"{record.name} was frozen on a text of your own, {path}, which is not here; "
            "say where it is: data.path=…"
        )
    return path


def _machine_words(words: Sequence[str]) -> dict[str, Any]:
    import yaml

    made = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or key not in MACHINE_SETTINGS:
            raise ConfigError(
                f"{word!r}: a baseline is verified as it is recorded; only "
                f"{', '.join(MACHINE_SETTINGS)} and where it runs (jobs=, launcher=) may be given."
            )
        made[key] = yaml.safe_load(text)
    return made


def _new_folder(base: Path, name: str) -> Path:
    """Verifying means running: a folder that no earlier verification has used."""
    number = 1
    while (base / f"{name}-{number:03d}").exists():
        number += 1
    return base / f"{name}-{number:03d}"


def _verified_loss(run: Path) -> float:
    loss = summarise_run(run).best_val_loss
    return float("nan") if loss is None else loss


def _judge(record: Baseline, losses: dict[str, float]) -> list[str]:
    """What does not hold, in words; nothing if all does."""
    low, high = (record.target * (1 + s * record.tolerance) for s in (-1, 1))
    failures = [
        f"seed {seed} has {loss:.4f}, outside {low:.4f} to {high:.4f}"
        for seed, loss in losses.items()
        if not low <= loss <= high
    ]
    spread = _spread(record, losses)
    if len(losses) > 1 and not spread <= record.spread:
        failures.append(f"the seeds spread by {spread:.2%}, allowed {record.spread:.2%}")
    return failures
