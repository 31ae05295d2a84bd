"""Tuning of a nominated idea, and of the champion just the same, so that neither is unfair.

An idea that was nominated at the champion's rate may have another best one, and so may the
champion: both get the same factors of their own value, on the seeds they were screened on. The idea
is then judged again, best against best. Every run is paid from the ledger's hours.
"""

from dataclasses import replace
from typing import Any

from altgrad.compare.arm import Arm
from altgrad.compare.question import Tuning
from altgrad.compare.tuning import Tuned, tune
from altgrad.ideas.bench import Bench, Outcomes
from altgrad.settings import get_setting


def tune_both(
    bench: Bench, arms: list[Arm], seeds: list[int], tuning: Tuning
) -> tuple[list[Arm], list[Tuned], Outcomes]:
    """Champion and idea at the values that did best for each; what was tried, and its runs.

    Raises:
        ConfigError: the setting of an arm is no number.
    """
    tried: Outcomes = {}

    def score(points: list[tuple[Arm, float]]) -> list[list[float]]:
        named = [replace(a, name=f"{a.name} {tuning.setting}={v:g}") for a, v in points]
        for (arm, _), renamed in zip(points, named, strict=True):
            bench.hashes[renamed.name] = bench.hashes[arm.name]
        found = bench.run(named, seeds)
        tried.update(found)
        return [[found[a.name][s].outcome for s in seeds] for a in named]

    question = replace(bench.question({a.name: () for a in arms}), tuning=tuning)
    chosen, results = tune(arms, question, score)
    return chosen, results, tried


def words_of_tuned(before: Arm, after: Arm, setting: str) -> tuple[str, ...]:
    """The word that makes of an arm the tuned one; none where its own value won."""
    value = get_setting(after.config, setting)
    return () if value == get_setting(before.config, setting) else (f"{setting}={value!r}",)


def said(results: list[Tuned]) -> list[dict[str, Any]]:
    """As the ledger keeps it: the champion's, then the idea's."""
    return [r.to_dict() for r in results]
