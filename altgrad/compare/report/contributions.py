"""An ablation's findings, change by change: for its table and its forest plot."""

import math
from dataclasses import dataclass

from altgrad.compare.conclusion import Conclusion
from altgrad.compare.contrasts import INTERACTION, Contrast
from altgrad.compare.designs.ablation import only, second_of
from altgrad.compare.report.tables import Table, number
from altgrad.compare.verdict import BETTER, EQUIVALENT, WORSE, Evidence

ALONE, REMOVAL, TOTAL, TOGETHER = "alone", "as a removal", "everything", "together"


@dataclass(frozen=True)
class Contribution:
    """One row of the forest: a change, in which company, and its effect on the outcome."""

    change: str
    how: str
    found: Evidence | Contrast


def contributions(conclusion: Conclusion) -> list[Contribution]:
    """Everything at once first, then each change alone and as a removal, then what is left over;
    empty for other designs."""
    question = conclusion.question
    if question.design != "ablation":
        return []
    evidence = {e.arm: e for e in conclusion.evidence}
    removals = {c.name: c for c in conclusion.contrasts if c.kind == "removal"}
    rows = [Contribution("all changes", TOTAL, evidence[second_of(question)])]
    for change in question.changes if removals else ():
        rows.append(Contribution(change, ALONE, evidence[only(change)]))
        rows.append(Contribution(change, REMOVAL, removals[change]))
    over = [c for c in conclusion.contrasts if c.kind == "together"]
    return rows + [Contribution("beyond the sum of all alone", TOGETHER, c) for c in over]


def contributions_table(conclusion: Conclusion) -> Table:
    """One row a change: its settings, alone, as a removal, and whether it leans on the others."""
    question = conclusion.question
    rows = contributions(conclusion)
    found = {(row.change, row.how): row.found for row in rows}
    leans = {c.name: c for c in conclusion.contrasts if c.kind == "interaction"}
    table = []
    for change in dict.fromkeys(row.change for row in rows):
        one = found.get((change, ALONE)) or found.get((change, TOTAL))
        whole = found.get((change, REMOVAL)) or found.get((change, TOGETHER))
        table.append(
            {
                "change": change,
                "settings": " ".join(question.changes.get(change, [])),
                "alone": _numbers(one),
                "as a removal": _numbers(whole) if change in question.changes else "",
                "together": "" if change in question.changes else _numbers(whole),
                "finding": "; ".join(
                    c.words for c in (whole or one, leans.get(change)) if c is not None
                ),
                "taken together, since": question.together.get(change, ""),
            }
        )
    return table


def _numbers(found: Evidence | Contrast | None) -> str:
    if found is None or not math.isfinite(found.mean):
        return ""
    interval = f" [{found.low:+.4f}, {found.high:+.4f}]" if math.isfinite(found.low) else ""
    return f"{number(found.mean, '+.4f')}{interval}"


def ablation_headline(conclusion: Conclusion) -> str:
    """`fast: better than slow by 0.12; what matters in it: lr; …`."""
    question = conclusion.question
    b = second_of(question)
    (total,) = (e for e in conclusion.evidence if e.arm == b)
    said = [f"{b} against {conclusion.control}: {total.words}"]
    kinds = {BETTER: "what matters in it", WORSE: "what hurts in it", EQUIVALENT: "not needed"}
    for verdict, words in kinds.items():
        names = [
            c.name for c in conclusion.contrasts if (c.kind, c.verdict) == ("removal", verdict)
        ]
        said += [f"{words}: {', '.join(names)}"] if names else []
    said += [
        c.words for c in conclusion.contrasts if (c.kind, c.verdict) == (TOGETHER, INTERACTION)
    ]
    return "; ".join(said)
