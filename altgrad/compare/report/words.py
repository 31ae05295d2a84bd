"""What a report says in sentences: headline, verdicts, and the rules that were fixed before."""

import math

from altgrad.compare.conclusion import Conclusion
from altgrad.compare.contrasts import INTERACTION, Contrast
from altgrad.compare.designs import INTERACTIONS
from altgrad.compare.question import Question
from altgrad.compare.report.contributions import ablation_headline
from altgrad.compare.report.many_arms import are_many, headline_of_many
from altgrad.compare.same_arms import ARE_THE_SAME, SAME
from altgrad.compare.verdict import BETTER, EQUIVALENT, WORSE, Evidence


def verdict_lines(conclusion: Conclusion) -> list[str]:
    """The verdicts, one line each: what a person wants to read first."""
    lines = [f"{e.arm}: {e.words}{_after(numbers_of(e))}" for e in conclusion.evidence]
    lines += same_lines(conclusion)
    return [*lines, *(f"{c.words}{_after(numbers_of(c))}" for c in conclusion.contrasts)]


def same_lines(conclusion: Conclusion) -> list[str]:
    """Arms that are one, where the control is not among them: no verdict speaks of those."""
    pairs = [pair for pair in conclusion.same_arms if conclusion.control not in pair]
    return [f"{a} and {b} {ARE_THE_SAME}" for a, b in pairs]


def _after(numbers: str) -> str:
    return f"; difference {numbers}" if numbers else ""


def contrast_is(found: Contrast) -> str:
    """What the number of a contrast is."""
    return "difference of the differences" if found.kind in INTERACTIONS else "difference"


def numbers_of(found: Evidence | Contrast) -> str:
    """`-0.3353 [-0.3479, -0.3227] over 5 seeds`; empty where nothing is known yet."""
    if not (math.isfinite(found.low) and math.isfinite(found.mean)):
        return ""
    interval = f"[{found.low:+.4f}, {found.high:+.4f}]"
    return f"{found.mean:+.4f} {interval} over {found.pairs} seeds"


def headline(conclusion: Conclusion) -> str:
    """One sentence over all arms, and over what a design contrasts them for."""
    if conclusion.question.design == "ablation":
        return ablation_headline(conclusion)
    if are_many(conclusion):
        return headline_of_many(conclusion)
    kinds: dict[str, list[str]] = {BETTER: [], WORSE: [], EQUIVALENT: [], SAME: []}
    for e in conclusion.evidence:
        kinds.get(e.verdict, []).append(e.arm)
    words = {BETTER: "better than", WORSE: "worse than", EQUIVALENT: "equivalent to"}
    words[SAME] = "the same arm as"
    said = [f"{', '.join(v)} {words[k]} {conclusion.control}" for k, v in kinds.items() if v]
    shown = [c.words for c in conclusion.contrasts if c.verdict == INTERACTION]
    said += shown if len(shown) < 2 else [f"{len(shown)} interactions are shown"]
    return (
        "; ".join(said) or f"Inconclusive: these runs decide nothing against {conclusion.control}"
    )


def rules_in_words(conclusion: Conclusion) -> str:
    """What was fixed before the runs."""
    q = conclusion.question
    looks = "judged after every seed (anytime-valid)" if q.until_decided else "judged once"
    direction = "higher" if q.higher_is_better else "lower"
    corrected = "Bonferroni" if q.until_decided else "Holm"
    correction = corrected if q.correction == "holm" else "not corrected for several arms"
    uncorrected = q.correction == "holm" and not q.until_decided and len(conclusion.evidence) > 1
    last = f"mean of the last {q.last} evaluations" if q.last > 1 else "at the last evaluation"
    return (
        f"Outcome: {q.primary}, {last}, {direction} is better. Smallest difference that matters: "
        f"{q.delta:g}. Chance of a false verdict about the outcome, and likewise about lost runs, "
        f"at most {q.alpha:g} over all arms ({correction}), {looks}. "
        f"{_spent(conclusion)}{SEVERAL if uncorrected else ''}{_known_spread(q)}"
    )


def _known_spread(question: Question) -> str:
    known = question.spread
    if not known.source:
        return ""
    return (
        f" The spread of a difference, {known.value:.4g} on {known.freedom:.3g} degrees of "
        f"freedom, is pooled with that of {known.source}, with runs of this size; verdicts "
        "rest on the new arms being as noisy, unless their own pairs visibly are noisier."
    )


def _spent(conclusion: Conclusion) -> str:
    if conclusion.question.of_programs:
        return "Each arm spends what its command says."
    return f"Equal {conclusion.question.budget}."


SEVERAL = (
    " Each interval is that of one arm alone; the verdicts are corrected for all arms. So an arm "
    "may be inconclusive although its interval excludes 0."
)
