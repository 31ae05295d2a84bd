"""From the folders of a ladder to what can be concluded. Reads; starts nothing."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from altgrad.compare.conclusion import Conclusion, conclude, rules_of
from altgrad.compare.question import Question
from altgrad.compare.record import Record, plain_name, read_record
from altgrad.compare.scaling.plan import Rung, Target
from altgrad.compare.scaling.trend import Fit, Trend, fit_laws, judge_trends
from altgrad.compare.statistics.trend import Array
from altgrad.compare.verdict import Rules
from altgrad.runs import json_text, plain, write_atomically
from altgrad.settings import ConfigError, from_dict, require


@dataclass(frozen=True)
class ScalingConclusion:
    """Everything a report of design=scaling says. rungs: smallest first, with each one's
    conclusion.

    outcomes: arm -> `(seeds, rungs)`, the control first; nan for a lost run.
    """

    folder: Path
    question: Question
    record: Record
    rungs: list[tuple[Rung, Conclusion]]
    target: Target
    outcomes: dict[str, Array]
    trends: list[Trend]
    fits: list[Fit]

    @property
    def rules(self) -> Rules:
        return rules_of(self.question)

    @property
    def arms(self) -> list[str]:
        """The control first."""
        return list(self.outcomes)

    @property
    def sizes(self) -> list[float]:
        return [rung.size(self.question.ladder.fit_over) for rung, _ in self.rungs]

    @property
    def target_size(self) -> float:
        return self.target.size(self.question.ladder.fit_over)

    def to_dict(self) -> dict[str, Any]:
        """For programs: `altgrad compare --json` and `verdict.json`."""
        return plain(
            {
                "question": self.question.to_dict(),
                "verdicts": {t.arm: t.verdict for t in self.trends},
                "trends": [t.to_dict() for t in self.trends],
                "fits": [f.to_dict() for f in self.fits],
                "rungs": [
                    {
                        **asdict(rung),
                        "verdicts": {e.arm: e.verdict for e in part.evidence},
                        "evidence": [e.to_dict() for e in part.evidence],
                        "outcomes": {a: y[:, i].tolist() for a, y in self.outcomes.items()},
                    }
                    for i, (rung, part) in enumerate(self.rungs)
                ],
                "target": asdict(self.target),
                "record": asdict(self.record),
                "folder": str(self.folder),
            }
        )


def conclude_scaling(folder: Path, *, resamples: int = 2000) -> ScalingConclusion:
    """Read, check and judge a comparison over sizes whose runs have all ended.

    Raises:
        ConfigError: runs are missing, or what the folders hold is no ladder.
    """
    question, record = read_record(folder)
    rungs, target = _read_ladder(folder, question, record)
    parts = [(rung, conclude(folder.parent / rung.folder)) for rung in rungs]
    for rung, part in parts:
        require(
            list(part.question.arms) == list(question.arms),
            f"{part.folder} is not the rung {rung.name} of {folder}: it has other arms.",
        )
    arms = [question.control, *(a for a in question.arms if a != question.control)]
    outcomes = {a: np.array([[o.outcome for o in p.outcomes[a]] for _, p in parts]).T for a in arms}
    sizes = [rung.size(question.ladder.fit_over) for rung in rungs]
    rules = rules_of(question)
    at = target.size(question.ladder.fit_over)
    trends = judge_trends(sizes, outcomes, question.control, rules, target=at, resamples=resamples)
    fits = fit_laws(sizes, outcomes, rules, resamples=resamples)
    return ScalingConclusion(folder, question, record, parts, target, outcomes, trends, fits)


def _read_ladder(folder: Path, question: Question, record: Record) -> tuple[list[Rung], Target]:
    """What `record.json` says of the rungs, checked: it may have come from anywhere."""
    try:
        rungs = [from_dict(Rung, facts) for facts in record.ladder["rungs"]]
        target = from_dict(Target, record.ladder["target"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{folder}/record.json holds no ladder: {error}") from error
    require(
        [rung.name for rung in rungs] == question.ladder.names(),
        f"{folder}: question.yaml and record.json name other rungs.",
    )
    sizes = [rung.size(question.ladder.fit_over) for rung in rungs]
    require(
        all(math.isfinite(n) and n > 0 for n in sizes) and sizes == sorted(set(sizes)),
        f"{folder}/record.json: the rungs do not grow.",
    )
    for rung in rungs:
        require(
            plain_name(rung.folder), f"record.json names {rung.folder!r}, which is no folder's."
        )
    return rungs, target


def write_verdict(conclusion: ScalingConclusion) -> Path:
    path = conclusion.folder / "verdict.json"
    write_atomically(path, json_text(conclusion.to_dict(), indent=1) + "\n")
    return path
