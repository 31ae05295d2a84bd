"""From a comparison's folder to what can be concluded. Reads run folders; starts nothing."""

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from altgrad.compare.contrasts import Contrast, judge_contrasts, weigh_contrasts
from altgrad.compare.designs import DESIGNS, cells_of
from altgrad.compare.fairness import Fairness, check_runs
from altgrad.compare.outcomes import Outcome, read_outcome
from altgrad.compare.programs.fairness import check_program_runs, pairing_notes
from altgrad.compare.question import Question
from altgrad.compare.record import Record, read_record
from altgrad.compare.same_arms import same_arms, say_the_same, void
from altgrad.compare.state import is_outcome, state_of
from altgrad.compare.statistics.anytime import Spread
from altgrad.compare.stopping import HOPELESS, Open, given_up, needed, too_noisy
from altgrad.compare.verdict import Evidence, Rules, judge
from altgrad.compare.why import Why, why
from altgrad.runs import SettingsReader, json_text, write_atomically
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

    @property
    def arms(self) -> list[str]:
        """All arms, the control first."""
        return [self.control, *(arm for arm in self.question.arms if arm != self.control)]

    @cached_property
    def why(self) -> Why:
        """What else differed and moved with the outcome; reads the runs once, when asked."""
        return why(self.runs, self.outcomes, control=self.control, primary=self.question.primary)

    def needed(self) -> dict[str, list[str]]:
        """As you go: arm -> what another seed of it would be for; arms that may stop are absent."""
        values = {arm: np.array([o.outcome for o in row]) for arm, row in self.outcomes.items()}
        asked = questions_of(self.question, self.evidence, self.contrasts)
        return needed(asked, values, rules_of(self.question), self.question.max_seeds)

    def to_dict(self) -> dict[str, Any]:
        """For programs: `altgrad compare --json` and `verdict.json`."""
        return {
            "question": self.question.to_dict(),
            "verdicts": {e.arm: e.verdict for e in self.evidence},
            "evidence": [e.to_dict() for e in self.evidence],
            "contrasts": [c.to_dict() for c in self.contrasts],
            "factors": factors_of(self.question),
            "why": self.why.to_dict(),
            "same_arms": [list(pair) for pair in self.same_arms],
            "outcomes": {a: [o.to_dict() for o in row] for a, row in self.outcomes.items()},
            "fairness": asdict(self.fairness),
            "record": asdict(self.record),
            "folder": str(self.folder),
        }


def factors_of(question: Question) -> dict[str, dict[str, str]]:
    """Of a crossed design: arm -> axis -> value; empty for others."""
    return cells_of(question) if question.design == "crossed" else {}


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
    reader = SettingsReader()
    outcomes = {
        arm: [read_outcome(arm, seed, run, question, reader) for seed, run in by_seed.items()]
        for arm, by_seed in runs.items()
    }
    fairness.notes += _time_notes(outcomes, question) + _damage_notes(outcomes, record)
    values = {arm: np.array([o.outcome for o in row]) for arm, row in outcomes.items()}
    fairness.notes += pairing_notes(question.control, values) if programs else []
    evidence, found = judge_all(question, values)
    fairness.notes += _stop_notes(question, evidence, found, values)
    same = same_arms(runs, values)
    return Conclusion(
        folder,
        question,
        record,
        runs,
        outcomes,
        [say_the_same(e, same) for e in evidence],
        void(found, same),
        fairness,
        same,
    )


def judge_all(
    question: Question, outcomes: dict[str, np.ndarray]
) -> tuple[list[Evidence], list[Contrast]]:
    """Arms against the control, and the contrasts of the design.

    outcomes: arm -> `(seeds,)`, nan for a lost run.
    """
    design, rules, control = DESIGNS[question.design], rules_of(question), question.control
    arms, planned = design.judged(question), design.contrasts(question)
    one = design.one_family
    weighed = weigh_contrasts(planned, outcomes, rules, len(planned) + len(arms) * one)
    evidence = judge(
        outcomes[control],
        {arm: outcomes[arm] for arm in arms},
        rules,
        control_name=control,
        beside=[(w.p, w.p_small) for w in weighed] if one else (),
    )
    beside = [(e.p, e.p_equivalent) for e in evidence] if one else []
    return evidence, judge_contrasts(weighed, rules, beside)


def questions_of(question: Question, evidence: list[Evidence], found: list[Contrast]) -> list[Open]:
    """Every question that was asked, with its verdict so far."""
    both = len(evidence) + len(found)
    one = DESIGNS[question.design].one_family
    arms, several = (both, both) if one else (len(evidence), len(found))
    made = [Open(e.arm, {e.arm: 1.0, e.control: -1.0}, e.verdict, arms) for e in evidence]
    return made + [Open(c.name, c.weights, c.verdict, several) for c in found]


def _stop_notes(
    question: Question,
    evidence: list[Evidence],
    found: list[Contrast],
    values: dict[str, np.ndarray],
) -> list[str]:
    """As you go: what was given up, and what is noisier than was known."""
    if not question.until_decided:
        return []
    asked, rules = questions_of(question, evidence, found), rules_of(question)
    notes = [
        f"{name} was given up after {n} seeds: less than a chance in {1 / HOPELESS:.0f} that "
        f"{question.max_seeds} would decide"
        for name, n in given_up(asked, values, rules, question.max_seeds)
    ]
    return notes + [
        f"{name}: its pairs are visibly noisier than those of {question.spread.source}; the wider "
        "interval of both is used"
        for name in too_noisy(asked, values, rules)
    ]


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
        spread=Spread(question.spread.value, question.spread.freedom),
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
    write_atomically(path, json_text(conclusion.to_dict(), indent=1) + "\n")
    return path
