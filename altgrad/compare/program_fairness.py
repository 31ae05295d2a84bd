"""What can be said of the fairness of arms that are programs, and what cannot.

How a program draws its data, and from which generator, is its own matter: a change may move every
random number after it, and then equal seeds pair nothing. That is seen in the outcomes alone.
"""

from pathlib import Path
from typing import Any

import numpy as np

from altgrad.compare.fairness import Check, Fairness, Unfair
from altgrad.runs import RunFolder, read_json, read_metrics, read_settings

Runs = dict[str, dict[int, Path]]


def check_program_runs(runs: Runs) -> Fairness:
    """The statement over finished runs, from their folders alone.

    Raises:
        Unfair: the arms were measured in different ways, or the seed does not reach the program.
    """
    settings = {
        a: read_settings(RunFolder(_first(r)).config, programs=True) for a, r in runs.items()
    }
    statement = Fairness()
    add = statement.checks.append
    add(Check("seeds", ", ".join(map(str, next(iter(runs.values()))))))
    add(Check("metric", _same("metric", settings)))
    add(Check("seed given by", _same("seed_by", settings) or "{seed} in the command"))
    add(Check("steps", _same("steps", settings, may_differ=True) or "as the command says"))
    add(_same_machine(runs, statement.notes))
    add(Check("initial weights", "not known: the program's own"))
    add(Check("order of the data", "not known: the program's own; see the correlation below"))
    _refuse_idle_seeds(runs)
    return statement


def _first(by_seed: dict[int, Path]) -> Path:
    return next(iter(by_seed.values()))


def _same(name: str, settings: dict[str, dict[str, Any]], *, may_differ: bool = False) -> str:
    values = {str(s.get(name) or "") for s in settings.values()}
    if len(values) > 1 and not may_differ:
        raise Unfair(f"the arms differ in {name}: {', '.join(sorted(values))}.")
    return ", ".join(sorted(values))


def _same_machine(runs: Runs, notes: list[str]) -> Check:
    found = [r for by_seed in runs.values() for r in by_seed.values()]
    known = [read_json(f.environment) for f in map(RunFolder, found) if f.environment.is_file()]
    for name in ("python", "torch", "numpy", "cpu", "threads"):
        values = sorted({str(e[name]) for e in known if name in e})
        if len(values) > 1:
            notes.append(f"the runs were made with different {name}: {'; '.join(values)}")
    versions = {n: known[0][n] for n in ("python", "torch", "numpy") if known and n in known[0]}
    return Check("code beside the folder's", ", ".join(f"{n} {v}" for n, v in versions.items()))


def _refuse_idle_seeds(runs: Runs) -> None:
    """Runs of all seeds that say the same numbers are one run, and its spread is no spread."""
    said = [[_numbers(run) for run in by_seed.values()] for by_seed in runs.values()]
    if all(len(row) > 1 and row[0] and len(set(row)) == 1 for row in said):
        raise Unfair(
            "all seeds of each arm gave the same numbers to the last digit: the seed does not "
            "reach the program. Put {seed} where its command takes one, or write seed_by=torch or "
            "seed_by=env:NAME."
        )


def _numbers(run: Path) -> str:
    lines = [sorted(line.items()) for line in read_metrics(RunFolder(run).metrics)]
    return repr(lines) if lines else ""


def pairing_notes(control: str, outcomes: dict[str, np.ndarray]) -> list[str]:
    """For each arm, how far it goes along with the control over the seeds.

    outcomes: arm -> `(seeds,)`, nan for a lost run.
    """
    return [
        f"{_in_words(arm, control, correlation(outcomes[control], values))} Whether the order of "
        "the program's data, or its first weights, depend on the change cannot be known from "
        "outside."
        for arm, values in outcomes.items()
        if arm != control
    ]


def correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Pearson's, over the seeds that both ended; None below three, or where one does not vary."""
    both = np.isfinite(a) & np.isfinite(b)
    x, y = a[both], b[both]
    if len(x) < 3 or not np.ptp(x) or not np.ptp(y):
        return None
    return float(np.corrcoef(x, y)[0, 1])


def _in_words(arm: str, control: str, r: float | None) -> str:
    if r is None:
        return f"{arm} and {control}: too few seeds (or no spread) to see a correlation."
    helps = "equal seeds pair the runs" if r > 0.5 else "equal seeds pair little or nothing"
    return f"{arm} and {control} correlate by {r:+.2f} over the seeds: {helps}."
