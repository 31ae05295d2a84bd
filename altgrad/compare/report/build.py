"""The report of a comparison: one page of HTML and one of Markdown, from run folders only."""

import math
from pathlib import Path

from altgrad.compare.conclusion import Conclusion
from altgrad.compare.interaction import INTERACTION, Contrast
from altgrad.compare.report import tables
from altgrad.compare.same_arms import ARE_THE_SAME, SAME
from altgrad.compare.verdict import BETTER, EQUIVALENT, WORSE, Evidence
from altgrad.runs.folder import write_atomically
from altgrad.runs.printable import printable


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


def numbers_of(found: Evidence | Contrast) -> str:
    """`-0.3353 [-0.3479, -0.3227] over 5 seeds`; empty where nothing is known yet."""
    if not (math.isfinite(found.low) and math.isfinite(found.mean)):
        return ""
    interval = f"[{found.low:+.4f}, {found.high:+.4f}]"
    return f"{found.mean:+.4f} {interval} over {found.pairs} seeds"


def headline(conclusion: Conclusion) -> str:
    """One sentence over all arms, and over the interactions of a crossed design."""
    kinds: dict[str, list[str]] = {BETTER: [], WORSE: [], EQUIVALENT: [], SAME: []}
    for e in conclusion.evidence:
        kinds.get(e.verdict, []).append(e.arm)
    words = {BETTER: "better than", WORSE: "worse than", EQUIVALENT: "equivalent to"}
    words[SAME] = "the same arm as"
    said = [f"{', '.join(v)} {words[k]} {conclusion.control}" for k, v in kinds.items() if v]
    shown = [c.words for c in conclusion.contrasts if c.verdict == INTERACTION]
    said += shown if len(shown) < 2 else [f"{len(shown)} interactions are shown"]
    return "; ".join(said) or f"Nothing is shown against {conclusion.control} yet"


def write_reports(conclusion: Conclusion) -> list[Path]:
    """`report.md` and, with the extra `report`, `report.html`."""
    from altgrad.compare.report.markdown import markdown

    text = conclusion.folder / "report.md"
    write_atomically(text, printable(markdown(conclusion)))
    if not has_charts():
        return [text]
    from altgrad.compare.report.html import page

    html = conclusion.folder / "report.html"
    write_atomically(html, page(conclusion))
    return [html, text]


def has_charts() -> bool:
    """Whether the extra `report` is installed: without it a comparison has no HTML page."""
    try:
        import altair
        import vl_convert

        return bool(altair and vl_convert)
    except ImportError:
        return False


SECTIONS = (
    ("Arms", tables.arms_table, ""),
    (
        "Interactions",
        tables.contrasts_table,
        "Does the second change do more where the first was made?",
    ),
    (
        "Every test",
        tables.statistics_table,
        "The interval of the mean and the corrected p decide: Student's t, or where it is judged "
        "after every seed, the confidence sequence. BCa and sign flips are shown for comparison.",
    ),
    ("Every run", tables.seeds_table, "One row a seed."),
    (
        "Gradients against FP32",
        tables.gradients_table,
        "Same weights, same batch; the control's own error is what an arm's is to be read beside.",
    ),
    ("Tuning", tables.tuning_table, "Chosen on seeds that are not test seeds."),
    ("Failures", tables.failures_table, "Kept and counted as outcomes."),
    ("Fairness", tables.fairness_table, "Computed from the resolved settings and the run folders."),
    ("What differs", tables.differences_table, "Everything in which an arm differs."),
    ("Environment", tables.environment_table, ""),
)
"""Title, rows, and a line under the title. A section without rows is left out."""


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
        f"Equal {q.budget}.{SEVERAL if uncorrected else ''}"
    )


SEVERAL = (
    " An interval stands for one arm, the verdicts pay for all of them: an arm may be not shown "
    "though its interval leaves out 0."
)
