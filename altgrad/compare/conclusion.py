"""From a comparison's folder to what can be concluded. Reads run folders; starts nothing."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from altgrad.compare.fairness import Fairness, check_runs
from altgrad.compare.interaction import Contrast, contrasts
from altgrad.compare.outcomes import Outcome, read_outcome
from altgrad.compare.program_fairness import check_program_runs, pairing_notes
from altgrad.compare.question import Question
from altgrad.compare.record import Record, read_record
from altgrad.compare.same_arms import same_arms, say_the_same, void
from altgrad.compare.state import is_outcome, state_of
from altgrad.compare.verdict import NOT_SHOWN, Evidence, Rules, judge
from altgrad.runs import write_atomically
from altgrad.settings import ConfigError


@dataclass(frozen=True)
class Conclusion:
    """Everything a report says. outcomes: arm -> one per seed; the control comes first.

    same_arms: pairs whose last weights are equal bit for bit: one arm under two names.
    """

    folder: Path
    question: Question
    record: Record
    runs: dict[str, dict[int, Path]]
    outcomes: dict[str, list[Outcome]]
    evidence: list[Evidence]
    contrasts: list[Contrast]
    fairness: Fairness
    same_arms: list[tuple[str, str]]

    @property
    def control(self) -> str:
        return self.question.control

    def undecided(self) -> list[str]:
        """Arms, and interactions of a crossed design, about which nothing is shown yet."""
        arms = [e.arm for e in self.evidence if e.verdict == NOT_SHOWN]
        return arms + [
            f"{c.first} with {c.second}" for c in self.contrasts if c.verdict == NOT_SHOWN
        ]

    def to_dict(self) -> dict[str, Any]:
        """For programs: `altgrad compare --json` and `verdict.json`."""
        return {
            "question": self.question.to_dict(),
            "verdicts": {e.arm: e.verdict for e in self.evidence},
            "evidence": [e.to_dict() for e in self.evidence],
            "contrasts": [c.to_dict() for c in self.contrasts],
            "same_arms": [list(pair) for pair in self.same_arms],
            "outcomes": {a: [o.to_dict() for o in row] for a, row in self.outcomes.items()},
            "fairness": asdict(self.fairness),
            "record": asdict(self.record),
            "folder": str(self.folder),
        }


def conclude(folder: Path) -> Conclusion:
    """Read, check and judge a comparison whose runs have all ended.

    Raises:
        ConfigError: runs are missing, or what the folders hold cannot be compared.
    """
    question, record = read_record(folder)
    base = folder.parent.parent
    runs = {
        arm: {int(seed): base / name for seed, name in by_seed.items()}
        for arm, by_seed in record.runs.items()
    }
    _refuse_unfinished(runs, record)
    programs = question.of_programs
    fairness = check_program_runs(runs) if programs else check_runs(runs, question)
    fairness.differing = {
        arm: {n: (v[0], v[1]) for n, v in facts["differs"].items()}
        for arm, facts in record.arms.items()
        if arm != question.control
    }
    outcomes = {
        arm: [read_outcome(arm, seed, run, question) for seed, run in by_seed.items()]
        for arm, by_seed in runs.items()
    }
    fairness.notes += _time_notes(outcomes, question) + _damage_notes(outcomes, record)
    values = {arm: np.array([o.outcome for o in row]) for arm, row in outcomes.items()}
    fairness.notes += pairing_notes(question.control, values) if programs else []
    rules = rules_of(question)
    others = {arm: v for arm, v in values.items() if arm != question.control}
    evidence = judge(values[question.control], others, rules, control_name=question.control)
    in_product_order = {arm: values[arm] for arm in question.arms}
    found = contrasts(question, in_product_order, rules)
    same = same_arms(runs, values)
    return Conclusion(
        folder,
        question,
        record,
        runs,
        outcomes,
        [say_the_same(e, same) for e in evidence],
        void(found, question, same),
        fairness,
        same,
    )


def _time_notes(outcomes: dict[str, list[Outcome]], question: Question) -> list[str]:
    """With equal wall time: whether the runs took what was measured beforehand."""
    if question.budget != "time":
        return []
    taken = {a: [o.train_s for o in row if o.train_s] for a, row in outcomes.items()}
    means = {a: sum(s) / len(s) for a, s in taken.items() if s}
    if not means or max(means.values()) <= 1.1 * min(means.values()):
        return []
    listed = ", ".join(f"{arm} {seconds:.1f} s" for arm, seconds in means.items())
    return [f"the runs did not take equal time, though they were planned to: {listed}"]


def _damage_notes(outcomes: dict[str, list[Outcome]], record: Record) -> list[str]:
    """Runs that finished and yet do not count, by name."""
    damaged = [o for row in outcomes.values() for o in row if o.state == "damaged"]
    return [
        f"{o.run} counts as lost: {o.error}; to make it whole: {record.command}" for o in damaged
    ]


def rules_of(question: Question) -> Rules:
    return Rules(
        delta=question.delta,
        alpha=question.alpha,
        correction=question.correction,
        higher_is_better=question.higher_is_better,
        anytime=question.until_decided,
    )


def _refuse_unfinished(runs: dict[str, dict[int, Path]], record: Record) -> None:
    everything = [run for by_seed in runs.values() for run in by_seed.values()]
    missing = [run for run in everything if not is_outcome(run) and state_of(run) != "damaged"]
    if missing or not everything:
        raise ConfigError(
            f"the comparison is not complete: {len(missing)} of {len(everything)} runs have not "
            f"ended; go on with: {record.command}"
        )


def write_verdict(conclusion: Conclusion) -> Path:
    path = conclusion.folder / "verdict.json"
    write_atomically(path, json.dumps(conclusion.to_dict(), indent=1) + "\n")
    return path
