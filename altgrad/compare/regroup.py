"""Which comparison to report on: a folder, its name, the latest - or run folders, put into arms."""

import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from altgrad.compare.question import Question
from altgrad.compare.record import Record, comparison_folder, write_record
from altgrad.programs import is_program
from altgrad.runs import RunFolder, read_settings, read_yaml, resolve_run
from altgrad.settings import ConfigError

if TYPE_CHECKING:
    from altgrad.compare.arm import Arm
    from altgrad.training.config import TrainConfig


ONE_ARM = "the runs given differ in nothing but the seed: one arm, and a comparison needs two."


def find_comparison(names: list[str], runs: str, *, axis: str = "", delta: float = 0.01) -> Path:
    """The comparison's folder, made anew from run folders if those are given.

    Raises:
        ConfigError: nothing there, or runs that make no fair comparison.
    """
    if not names:
        return _latest(Path(runs))
    for folder in (Path(names[0]), Path(runs) / "compare" / names[0]):
        if (folder / "record.json").is_file():
            return folder
    return compare_runs([resolve_run(name, runs) for name in names], axis=axis, delta=delta)


def _latest(runs: Path) -> Path:
    records = sorted(runs.glob("compare/*/record.json"), key=lambda p: p.stat().st_mtime)
    if not records:
        raise ConfigError(f"no comparison below {runs}/compare yet; make one: altgrad compare …")
    return records[-1].parent


def compare_runs(runs: list[Path], *, axis: str, delta: float = 0.01) -> Path:
    """A comparison of existing runs: those that differ in nothing but the seed are one arm.

    The first run's arm is the control. axis: setting or group in which arms may differ.

    Raises:
        ConfigError: one arm only, runs of different folders, or differences beyond the axis.
    """
    from altgrad.compare.arm import Arm, differences
    from altgrad.compare.fairness import check_arms

    if any(is_program(read_yaml(RunFolder(run).config)) for run in runs):
        return _compare_programs(runs, axis=axis, delta=delta)
    arms = _arms_of(runs)
    if len(arms) < 2:
        raise ConfigError(ONE_ARM)
    found = {n for a in arms[1:] for n in differences(arms[0][0], a[0])}
    if not axis:
        raise ConfigError(
            f"what may the arms differ in? They do in {', '.join(sorted(found))}; name it: --axis …"
        )
    named = [Arm(_name(config, arms[0][0], found), (), config) for config, _ in arms]
    seeds = sorted({seed for _, by_seed in arms for seed in by_seed})
    question = Question(
        arms={arm.name: [] for arm in named},
        axis=axis.split(","),
        seeds=seeds,
        delta=delta,
    ).complete()
    differing = check_arms(named, question, budgeted=False)
    base = _one_parent(runs)
    record = Record(
        command=f"altgrad report --axis {axis} {' '.join(r.name for r in runs)}",
        control=named[0].name,
        arms={a.name: _described(a, differing.get(a.name, {})) for a in named},
        runs={
            arm.name: {str(s): by_seed[s].name for s in sorted(by_seed)}
            for arm, (_, by_seed) in zip(named, arms, strict=True)
        },
    )
    folder = comparison_folder(question, base)
    write_record(folder, question, record)
    return folder


SHOWN = ("program", "args", "fill", "patches", "version", "metric", "name", "step", "seed_by")
"""What tells program runs apart, in the order in which a reader wants to know."""


def _compare_programs(runs: list[Path], *, axis: str, delta: float) -> Path:
    """The same of programs: an arm is what shares everything but the seed."""
    groups: dict[str, dict[int, Path]] = defaultdict(dict)
    kept: dict[str, dict[str, Any]] = {}
    for run in runs:
        values = read_settings(RunFolder(run).config, programs=True)
        common = {n: values.get(n) for n in (*SHOWN, "steps", "timeout_s", "code")}
        key = json.dumps(common, sort_keys=True)
        groups[key][values["seed"]] = run.resolve()
        kept[key] = common
    if len(groups) < 2:
        raise ConfigError(ONE_ARM)
    control, *others = kept.values()
    found = [n for n in control if any(o[n] != control[n] for o in others)]
    declared = [w for w in axis.split(",") if w]
    words = {"patch": ("patches", "version"), "cwd": ("version",)}
    allowed = {n for w in declared for n in (w, *words.get(w, ()))}
    undeclared = [n for n in found if n not in allowed]
    if undeclared:
        raise ConfigError(
            f"what may the arms differ in? They do in {', '.join(found)}; name it: --axis "
            f"{','.join([*declared, *undeclared])}"
        )
    names = {key: _program_name(kept[key], found, place) for place, key in enumerate(groups)}
    question = Question(
        arms={name: [f"program={kept[key]['program']}"] for key, name in names.items()},
        axis=declared,
        primary=control["name"],
        seeds=sorted({seed for by_seed in groups.values() for seed in by_seed}),
        delta=delta,
    ).complete()
    record = Record(
        command=f"altgrad report --axis {axis} {' '.join(r.name for r in runs)}",
        control=next(iter(names.values())),
        arms={
            name: {
                "words": [],
                "max_steps": kept[key]["steps"] or 0,
                "differs": {n: [control[n], kept[key][n]] for n in found},
            }
            for key, name in names.items()
        },
        runs={
            name: {str(s): groups[key][s].name for s in sorted(groups[key])}
            for key, name in names.items()
        },
    )
    folder = comparison_folder(question, _one_parent(runs))
    write_record(folder, question, record)
    return folder


def _program_name(settings: dict[str, Any], found: list[str], place: int) -> str:
    """By patches and arguments, as typed; two that would be called the same get their version."""
    patches = "+".join(settings["patches"].values()) or "none"
    said = {"patches": patches, "args": " ".join(settings["args"]) or "no arguments"}
    parts = [str(said.get(n, settings[n])) for n in found if n in ("program", "args", "patches")]
    return " ".join(parts) or f"version {place + 1} ({settings['version'][:8]})"


def _described(arm: "Arm", differing: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    differs = {name: list(values) for name, values in differing.items()}
    return {"words": [], "max_steps": arm.config.max_steps, "differs": differs}


def _arms_of(runs: list[Path]) -> list[tuple["TrainConfig", dict[int, Path]]]:
    """Config without its seed -> seed -> run, in the order of the first runs."""
    from altgrad.compare.identity import effective_settings
    from altgrad.training.config import TrainConfig

    groups: dict[str, tuple[TrainConfig, dict[int, Path]]] = {}
    by_key: dict[str, dict[int, Path]] = defaultdict(dict)
    for run in runs:
        values = read_settings(RunFolder(run).config)
        seed = values["seed"]
        common = {**effective_settings(values), "seed": 0}
        key = repr(sorted(common.items()))
        by_key[key][seed] = run.resolve()
        groups[key] = (TrainConfig.from_dict(common), by_key[key])
    return list(groups.values())


def _name(config: "TrainConfig", control: "TrainConfig", differing: set[str]) -> str:
    """The arm's values of what differs, names first: `muon`, `n_layer=3`."""
    from altgrad.settings import get_setting

    ordered = sorted(differing, key=lambda n: (not n.endswith(".name"), n))
    parts = [f"{n.rsplit('.', 1)[-1]}={get_setting(config, n)}" for n in ordered[:2]]
    return " ".join(p.removeprefix("name=") for p in parts)


def _one_parent(runs: list[Path]) -> Path:
    parents = {run.resolve().parent for run in runs}
    if len(parents) > 1:
        raise ConfigError(f"the runs lie in different folders: {', '.join(map(str, parents))}.")
    return parents.pop()
