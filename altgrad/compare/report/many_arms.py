"""What is said first where naming every arm would make a paragraph: the best arm, how many of the
others are what, and whether the axes of a crossed design interact. The tables name them all."""

from collections import Counter

from altgrad.compare.conclusion import Conclusion
from altgrad.compare.contrasts import INTERACTION, NO_INTERACTION, Contrast
from altgrad.compare.designs import INTERACTIONS
from altgrad.compare.same_arms import SAME
from altgrad.compare.verdict import BETTER, EQUIVALENT, INCONCLUSIVE, WORSE, Evidence

MOST_NAMED = 4
"""Arms beside the control that a headline names one by one."""

KINDS = (BETTER, EQUIVALENT, WORSE, SAME, INCONCLUSIVE)


def are_many(conclusion: Conclusion) -> bool:
    return len(conclusion.evidence) > MOST_NAMED


def best(conclusion: Conclusion) -> Evidence | None:
    """The largest gain of those that were shown to be better."""
    shown = [e for e in conclusion.evidence if e.verdict == BETTER]
    return max(shown, key=lambda e: abs(e.mean)) if shown else None


def headline_of_many(conclusion: Conclusion) -> str:
    """`muon + fp32 gains most: better than adamw + fp32 by 1.1325 (3 more …); …`."""
    first, control = best(conclusion), conclusion.control
    others = [e for e in conclusion.evidence if e is not first]
    if first is None:
        return _joined(
            f"None of {len(others)} arms is shown to be better than {control}: {_counted(others)}",
            interactions_in_words(conclusion),
        )
    said = f"{first.arm} gains most: better than {control} by {abs(first.mean):.4f}"
    near = _near(first, others, conclusion.question.delta)
    of_others = f"of the other {len(others)} arms {_counted(others)}"
    return _joined(said + near, of_others, interactions_in_words(conclusion))


def _joined(*said: str) -> str:
    return "; ".join(s for s in said if s)


def _near(first: Evidence, others: list[Evidence], delta: float) -> str:
    """The largest of many estimates does not prove its arm beats the next: say who is close."""
    close = sum(e.verdict == BETTER and abs(e.mean - first.mean) < delta for e in others)
    return f" ({close} more within {delta:g} of it)" if close else ""


def _counted(evidence: list[Evidence]) -> str:
    found = Counter(e.verdict for e in evidence)
    return ", ".join(f"{found[kind]} {kind}" for kind in KINDS if found[kind])


def interactions_in_words(conclusion: Conclusion) -> str:
    """The largest interaction that is shown and how many more; or that there is none, if it is."""
    asked = [c for c in conclusion.contrasts if c.kind in INTERACTIONS and c.verdict != SAME]
    shown = shown_interactions(conclusion)
    if shown:
        more = f" ({len(shown) - 1} more of {len(asked)} interactions shown)"
        return shown[0].words + (more if len(shown) > 1 else "")
    if asked and all(c.verdict == NO_INTERACTION for c in asked):
        axes = " and ".join(conclusion.question.axes) or "the changes"
        return f"{axes} do not interact, within {conclusion.question.delta:g}"
    return f"none of {len(asked)} interactions is shown" if asked else ""


def shown_interactions(conclusion: Conclusion) -> list[Contrast]:
    """The largest first."""
    shown = [c for c in conclusion.contrasts if c.verdict == INTERACTION]
    return sorted(shown, key=lambda c: -abs(c.mean))
