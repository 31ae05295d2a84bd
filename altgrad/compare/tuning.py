"""Choosing each arm's own setting fairly: the same search for all, on seeds kept for it.

Every arm gets the same number of tries. A winner at the edge of its grid says that the grid was too
narrow: it is reported as such, and with `tuning.extend` the grid grows on that side.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from altgrad.compare.arm import Arm
from altgrad.compare.question import Question, Tuning
from altgrad.settings import ConfigError, get_setting

Score = Callable[[list[tuple[Arm, float]]], list[list[float]]]
"""Outcomes per seed of each (arm at a value, value); all asked for at once run side by side."""


@dataclass
class Tuned:
    """What was tried for one arm and what won.

    outcomes: value -> outcome per tuning seed. edge: `lowest` or `highest` if the winner lies at
    an end of the values tried, else empty.
    """

    arm: str
    setting: str
    value: float
    outcomes: dict[float, list[float]]
    edge: str

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON; the outcome of a lost run becomes null."""
        kept = {
            str(value): [o if math.isfinite(o) else None for o in row]
            for value, row in self.outcomes.items()
        }
        return {**asdict(self), "outcomes": kept}


def tune(arms: list[Arm], question: Question, score: Score) -> tuple[list[Arm], list[Tuned]]:
    """The arms with the value that did best for each.

    Raises:
        ConfigError: the setting is no number, or every value of an arm was lost.
    """
    search = {"grid": _grid_search, "optuna": _optuna_search}[question.tuning.search]
    found = search(arms, question, score)
    chosen = [
        arm.with_settings({result.setting: result.value})
        for arm, result in zip(arms, found, strict=True)
    ]
    return chosen, found


def _grid_search(arms: list[Arm], question: Question, score: Score) -> list[Tuned]:
    tuning = question.tuning
    grids = {arm.name: start_grid(arm, tuning) for arm in arms}
    outcomes = _score_all([(a, v) for a in arms for v in grids[a.name]], tuning, score)
    results = [_winner(arm, question, outcomes[arm.name]) for arm in arms]
    for _ in range(tuning.extend):
        further = [(a, _beyond(r)) for a, r in zip(arms, results, strict=True) if r.edge]
        if not further:
            break
        more = _score_all(further, tuning, score)
        for arm, _ in further:
            outcomes[arm.name] |= more[arm.name]
        results = [_winner(arm, question, outcomes[arm.name]) for arm in arms]
    return results


def start_grid(arm: Arm, tuning: Tuning) -> list[float]:
    """The values tried first, ascending."""
    own = get_setting(arm.config, tuning.setting)
    if isinstance(own, bool) or not isinstance(own, int | float):
        raise ConfigError(f"tune={tuning.setting}: its value {own!r} is not a number.")
    return sorted(tuning.grid or [own * factor for factor in tuning.factors])


def _score_all(
    points: list[tuple[Arm, float]], tuning: Tuning, score: Score
) -> dict[str, dict[float, list[float]]]:
    asked = [(arm.with_settings({tuning.setting: value}), value) for arm, value in points]
    outcomes: dict[str, dict[float, list[float]]] = {}
    for (arm, value), result in zip(asked, score(asked), strict=True):
        outcomes.setdefault(arm.name, {})[value] = result
    return outcomes


def _winner(arm: Arm, question: Question, outcomes: dict[float, list[float]]) -> Tuned:
    """The value with the best mean; one lost run (nan) loses the value."""
    sign = -1.0 if question.higher_is_better else 1.0
    means = {v: sign * sum(o) / len(o) for v, o in outcomes.items()}
    finite = {v: m for v, m in means.items() if math.isfinite(m)}
    setting = question.tuning.setting
    if not finite:
        raise ConfigError(
            f"{arm.name}: all values of {setting} were lost ({sorted(outcomes)}); "
            "give another tuning.grid."
        )
    best = min(finite, key=lambda v: finite[v])
    edges = {min(outcomes): "lowest", max(outcomes): "highest"}
    return Tuned(arm.name, setting, best, dict(sorted(outcomes.items())), edges.get(best, ""))


def _beyond(result: Tuned) -> float:
    """The next value outside the grid, at the ratio of the two values at that edge."""
    values = sorted(result.outcomes)
    a, b = values[:2] if result.edge == "lowest" else values[-2:]
    return a * a / b if result.edge == "lowest" else b * b / a


def _optuna_search(arms: list[Arm], question: Question, score: Score) -> list[Tuned]:
    """Tree-structured Parzen estimator over the grid's range, the same number of trials for all.

    Source: J. Bergstra et al., Algorithms for hyper-parameter optimization, NIPS 2011; optuna.
    """
    return [_optuna_arm(arm, question, score) for arm in arms]


def _optuna_arm(arm: Arm, question: Question, score: Score) -> Tuned:
    optuna, tuning = _import_optuna(), question.tuning
    low, *_, high = start_grid(arm, tuning)
    sign = -1.0 if question.higher_is_better else 1.0
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    outcomes: dict[float, list[float]] = {}
    for _ in range(tuning.trials):
        trial = study.ask()
        value = float(f"{trial.suggest_float(tuning.setting, low, high, log=True):.3g}")
        outcomes |= _score_all([(arm, value)], tuning, score)[arm.name]
        mean = sign * sum(outcomes[value]) / tuning.seeds
        lost = not math.isfinite(mean)
        study.tell(trial, None if lost else mean, optuna.trial.TrialState.FAIL if lost else None)
    result = _winner(arm, question, outcomes)
    within = {low: "lowest", high: "highest"}
    result.edge = next(
        (e for v, e in within.items() if math.isclose(result.value, v, rel_tol=0.02)), ""
    )
    return result


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ConfigError("tuning.search=optuna needs pip install 'altgrad[sweep]'.") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
