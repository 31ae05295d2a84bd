"""Fairness, computed: from the resolved settings before the runs, from their folders after them.

Two arms may differ in the declared axis and in what follows from the budget or the tuning, and in
nothing else. The arithmetic (`precision.compute`) is never part of an axis that is wider than it:
an arm that rounds must compute in the same dtype as its control, or rounding is not what differs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from altgrad.compare.identity import WITHOUT_EFFECT, altered, covers
from altgrad.compare.question import Question
from altgrad.compare.reads import read_differences
from altgrad.runs import RunFolder, SettingsReader, read_initial, read_json
from altgrad.settings import ConfigError, nearest

if TYPE_CHECKING:
    from altgrad.compare.arm import Arm

COMPUTE = "precision.compute"


class Unfair(ConfigError):
    """Arms that cannot be compared. Names the setting, both values, and how to declare it."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: what, and what was found."""

    what: str
    found: str


@dataclass
class Fairness:
    """The fairness statement of a report.

    checks: what is equal. differing: arm -> setting -> (value of the control, value of the arm).
    notes: what a reader should know though it forbids nothing.
    """

    checks: list[Check] = field(default_factory=list)
    differing: dict[str, dict[str, tuple[Any, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def check_arms(
    arms: Sequence["Arm"], question: Question, *, budgeted: bool
) -> dict[str, dict[str, tuple[Any, Any]]]:
    """All differences from the control, every one of them declared.

    arms: the control first. budgeted: whether `max_steps` already is what the budget gives; before
    that it is a setting like any other.

    Raises:
        Unfair: naming every setting that differs and is not declared.
    """
    _check_declared([*question.axis, *question.allow])
    found = {arm.name: _effective(arms[0], arm) for arm in arms[1:]}
    for arm in arms[1:]:
        _refuse_differences_in_vain(found[arm.name], arms[0], arm)
    for name, differing in found.items():
        undeclared = {
            n: v
            for n, v in differing.items()
            if not (_may_differ(n, question) or (budgeted and n == "max_steps"))
        }
        if undeclared:
            raise Unfair(_refusal(arms[0].name, name, undeclared, question))
    return found


def _refuse_differences_in_vain(
    found: dict[str, tuple[Any, Any]], control: "Arm", arm: "Arm"
) -> None:
    """Arms that differ in nothing that one of them reads are one arm under two names."""
    if found and not read_differences(found, control, arm):
        raise Unfair(
            f"{arm.name} and {control.name} differ only in {', '.join(found)}, which neither of "
            "them reads: they are the same arm."
        )


def _effective(control: "Arm", arm: "Arm") -> dict[str, tuple[Any, Any]]:
    from altgrad.compare.arm import differences

    found = differences(control.config, arm.config)
    return {n: v for n, v in found.items() if not covers(WITHOUT_EFFECT, n)}


def _check_declared(declared: Iterable[str]) -> None:
    from altgrad.training.config import all_setting_names

    names = all_setting_names()
    for word in declared:
        if not any(n == word or n.startswith(f"{word}.") for n in names):
            raise ConfigError(f"axis or allow: {word!r} is no setting.{nearest(word, names)}")


def _may_differ(name: str, question: Question) -> bool:
    if name == COMPUTE:
        return name in [*question.axis, *question.allow]
    tuned = [question.tuning.setting] if question.tuning.setting else []
    return covers([*question.axis, *question.allow, *tuned], name)


def _refusal(
    control: str, arm: str, undeclared: dict[str, tuple[Any, Any]], question: Question
) -> str:
    listed = ", ".join(
        f"{n} ({a!r} in {control}, {b!r} in {arm})" for n, (a, b) in undeclared.items()
    )
    why = ""
    if COMPUTE in undeclared:
        why = "; arms must compute in the same dtype, so that only the declared axis differs"
    names = ",".join([*question.allow, *undeclared])
    return (
        f"{arm} is not comparable with {control}: besides the axis ({', '.join(question.axis)}) it "
        f"differs in {listed}{why}. Give all arms one value ({next(iter(undeclared))}=…), "
        f"or declare it: allow=[{names}]."
    )


# -- after the runs -------------------------------------------------------------------------------


def check_runs(runs: dict[str, dict[int, Path]], question: Question) -> Fairness:
    """The statement over finished runs, from their folders alone.

    runs: arm -> seed -> run folder, the control first.

    Raises:
        Unfair: data, code or arithmetic differ, an arm misses a seed that another has, or a run
            was altered on its way.
    """
    _same_seeds(runs, question)
    for by_seed in runs.values():
        _refuse_altered(by_seed.values())
    reader = SettingsReader()
    facts = {(a, s): _facts(p, reader) for a, by_seed in runs.items() for s, p in by_seed.items()}
    seeds = max(runs.values(), key=len)
    statement = Fairness(checks=[Check("seeds", ", ".join(map(str, seeds)))])
    for what in ("data", "code"):
        statement.checks.append(Check(what, _same(what, facts)))
    statement.checks.append(_same_start(runs))
    statement.checks.append(_same_order(facts))
    statement.checks.append(_same_evaluation(facts, question))
    statement.checks.append(_same_compute(facts, question))
    _refuse_other_budgets(facts, question)
    statement.notes += _machine_notes(facts)
    return statement


def _same_seeds(runs: dict[str, dict[int, Path]], question: Question) -> None:
    """As you go an arm may have stopped: it then has the first of the seeds, and no others."""
    control, *others = runs
    if question.until_decided:
        seeds = question.all_seeds()
        gaps = [name for name, row in runs.items() if list(row) != seeds[: len(row)]]
        if gaps:
            raise Unfair(f"{', '.join(gaps)}: some seeds before the last one did not run.")
        return
    for name in others:
        alone = set(runs[control]) ^ set(runs[name])
        if alone:
            raise Unfair(f"{control} and {name} are not paired: seeds {sorted(alone)} ran in one.")


def _refuse_altered(runs: Iterable[Path]) -> None:
    for run in runs:
        if names := altered(run):
            raise Unfair(
                f"{run} went on with something else in the middle ({', '.join(names)}); move it "
                "away and ask again, so that it is made anew."
            )


def _facts(run: Path, reader: SettingsReader) -> dict[str, Any]:
    """What one run folder says about the things that must agree."""
    folder = RunFolder(run)
    settings = reader.read(folder.config, programs=False)
    environment, data = _read(folder.environment), _read(folder.data)
    return {
        "settings": settings,
        "data": _keys(data.get("sha256")),
        "code": _keys(environment.get("code")),
        "corpus": data.get("corpus"),
        "machine": {k: environment.get(k) for k in ("cpu", "gpus", "threads", "cuda", "python")},
    }


def _read(path: Path) -> dict[str, Any]:
    """A JSON file of a run; a run that failed before it began has none."""
    return read_json(path) if path.is_file() else {}


def _keys(found: Any) -> dict[str, Any] | None:
    return found if isinstance(found, dict) else None


def _same(what: str, facts: dict[tuple[str, int], dict[str, Any]]) -> str:
    known = {key: f[what] for key, f in facts.items() if f[what]}
    if not known:
        return "the runs do not say"
    (first_key, first), *others = known.items()
    for (arm, seed), value in others:
        parts = [k for k in {*first, *value} if k in first and k in value and first[k] != value[k]]
        if parts:
            raise Unfair(
                f"{arm} (seed {seed}) and {first_key[0]} (seed {first_key[1]}) differ in their "
                f"{what} ({', '.join(sorted(parts))}); run both again with the same {what}."
            )
    return ", ".join(f"{k} {v[:12]}" for k, v in sorted(first.items()) if isinstance(v, str))


def _same_start(runs: dict[str, dict[int, Path]]) -> Check:
    """Looked up in the hashes that the runs kept of their first weights, tensor by tensor: arms of
    different networks are compared in what they share."""
    control, *others = runs
    tensors: dict[tuple[str, int], dict[str, str]] = {
        (arm, seed): (read_initial(run) or {}).get("tensors") or {}
        for arm, by_seed in runs.items()
        for seed, run in by_seed.items()
    }
    told = [key for key, found in tensors.items() if not found]
    if told:
        return Check(START, f"not recorded by {len(told)} of {len(tensors)} runs")
    pairs = [
        (a, s, tensors[control, s], tensors[a, s])
        for a in others
        for s in runs[a]
        if s in runs[control]
    ]
    different = {f"{a} (seed {s})": _unequal(x, y) for a, s, x, y in pairs if _unequal(x, y)}
    if different:
        name, names = next(iter(different.items()))
        more = f" and {len(different) - 1} more runs" if len(different) > 1 else ""
        which = f"{len(names)} tensors, the first {names[0]}"
        return Check(START, f"differs from {control}'s: {name}{more} ({which})")
    alone = any(x.keys() != y.keys() for _, _, x, y in pairs)
    return Check(START, EQUAL_WHERE_SHARED if alone else EQUAL)


START = "initial weights"
EQUAL = "equal bit for bit for the same seed"
EQUAL_WHERE_SHARED = f"{EQUAL}, in the tensors that the arms share"


def _unequal(a: dict[str, str], b: dict[str, str]) -> list[str]:
    return [name for name in a if name in b and a[name] != b[name]]


def _same_order(facts: dict[tuple[str, int], dict[str, Any]]) -> Check:
    """Batch k is a function of the seed, k and the batch's shape; unequal shapes are declared."""
    settings = [f["settings"] for f in facts.values()]
    shapes = {
        (s["data"]["batch_size"], s["accumulation"], s["model"]["block_size"], s["devices"])
        for s in settings
    }
    same = "the same batches in the same order for the same seed"
    return Check(
        "order of the data", same if len(shapes) == 1 else "differs with the batch's shape"
    )


def _same_evaluation(facts: dict[tuple[str, int], dict[str, Any]], question: Question) -> Check:
    blocks = {f["settings"]["model"]["block_size"] for f in facts.values()}
    parts = " and ".join(sorted({_evaluated(f["settings"]) for f in facts.values()}))
    found = f"{parts}, in blocks of {', '.join(map(str, sorted(blocks)))} tokens"
    if len(blocks) > 1 and not covers([*question.axis, *question.allow], "model.block_size"):
        raise Unfair(
            f"the arms evaluate in blocks of {sorted(blocks)} tokens; set model.block_size."
        )
    return Check("evaluation", found)


def _evaluated(settings: dict[str, Any]) -> str:
    limit = settings.get("eval_tokens")
    if limit is None:
        return "the whole validation split"
    return f"the first {limit:,} tokens of the validation split"


def _same_compute(facts: dict[tuple[str, int], dict[str, Any]], question: Question) -> Check:
    found = {f["settings"]["precision"]["compute"] for f in facts.values()}
    if len(found) > 1 and not _may_differ(COMPUTE, question):
        raise Unfair(
            f"the arms computed in {', '.join(sorted(found))}; set {COMPUTE} for all of them, or "
            f"declare it: allow=[{COMPUTE}]."
        )
    declared = " (declared)" if len(found) > 1 else ""
    return Check("arithmetic", ", ".join(sorted(found)) + declared)


def _refuse_other_budgets(facts: dict[tuple[str, int], dict[str, Any]], question: Question) -> None:
    """Equal tokens to within a step. FLOPs and seconds were made equal when the runs were planned,
    and stand in the record."""
    if question.budget != "tokens" or _may_differ("max_steps", question):
        return
    spent = [(arm, *_tokens(f["settings"])) for (arm, _), f in facts.items()]
    (control, total, step), *others = spent
    for arm, tokens, own_step in others:
        if abs(tokens - total) > max(step, own_step):
            raise Unfair(
                f"{arm} was planned for {tokens:,} tokens a run, {control} for {total:,}; give "
                "them one max_steps, or declare it: allow=[max_steps]."
            )


def _tokens(settings: dict[str, Any]) -> tuple[int, int]:
    """Tokens of a whole run, and of one step."""
    batch = settings["data"]["batch_size"] * settings["accumulation"] * settings["devices"]
    step = batch * settings["model"]["block_size"]
    return settings["max_steps"] * step, step


def _machine_notes(facts: dict[tuple[str, int], dict[str, Any]]) -> list[str]:
    notes = []
    machines = [f["machine"] for f in facts.values() if f["code"]]
    for name in machines[0] if machines else ():
        values = sorted({str(m[name]) for m in machines})
        if len(values) > 1:
            notes.append(f"the runs were made with different {name}: {'; '.join(values)}")
    return notes
