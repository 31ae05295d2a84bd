"""The report as one HTML file that carries everything it needs: it opens without a network."""

import html
import json
from pathlib import Path
from string import Template
from typing import Any

from altgrad.compare.conclusion import Conclusion
from altgrad.compare.contrasts import Contrast
from altgrad.compare.report.charts import Charts, Spec
from altgrad.compare.report.contrast_charts import contribution_forest
from altgrad.compare.report.crossed_charts import effect_forest, heat_table, interaction_plots
from altgrad.compare.report.many_arms import are_many, best, shown_interactions
from altgrad.compare.report.meanings import meaning
from altgrad.compare.report.sections import SECTIONS
from altgrad.compare.report.tables import Table
from altgrad.compare.report.vega import javascript_bundle
from altgrad.compare.report.why import WHY
from altgrad.compare.report.words import (
    contrast_is,
    headline,
    numbers_of,
    rules_in_words,
    same_lines,
)
from altgrad.compare.verdict import Evidence

PAGE = Path(__file__).parent / "page.html"
LOOSE = {
    *("verdict", "finding", "found", "value", "why", "run", "control", "arm's value", "chosen"),
    *("settings", "taken together, since", "of", "arm"),
}
"""Columns whose cells may be broken into lines."""

OPEN_FIRST = ("grad_norm", "bit_stall", "grad_cos_sim", "grad_snr_db", "effective_rank", "code_use")
"""Groups of the mechanism section that are unfolded at the start; the others are one click away."""

MOST_INTERACTIONS = 3
"""Shown as cards where there are many arms."""

MOST_COLUMNS = 4
"""A table with more is shown row by row on a phone."""

REMARKS = {
    "loss": "The thick line is the mean over the seeds, the band reaches from the lowest to the "
    "highest, the thin lines are single seeds. Click an arm in the legend to see it alone.",
    "once": "There was one evaluation. Large: the mean over the seeds; ticks: one per seed.",
    "forest": "Point and bar: mean difference and its interval. Ticks: one per seed. Grey: "
    "differences that were declared not to matter.",
    "contributions": "Alone: the first configuration with this change, against it. As a removal: "
    "the second configuration against itself without it. Where both agree the change does not lean "
    "on the others. Grey: differences that were declared not to matter.",
    "effects": "Point and bar: the mean over the seeds and its interval. A main effect is the mean "
    "of all arms with the value less that of all arms with the axis' first value; an interaction "
    "is the difference of two such differences. Grey: what was declared not to matter.",
    "heat": "Mean outcome over the seeds; the darker, the better. The control is framed.",
    "interactions": "Mean outcome over the seeds and over the other axes, for each two axes. Lines "
    "that run alike: the changes add up. Lines that open, close or cross: an interaction, which "
    "the effects above judge. Dots: single seeds.",
    "mechanism": "Means over the seeds of whatever the runs have logged beside the loss. Compare "
    "an arm with the control, not with zero: the control's arithmetic rounds too. An arm that does "
    "not round logs most of these only when asked (diagnostics.every_steps=1), and the cosine and "
    "SNR of the gradient need shadow.enabled=true.",
}


def page(conclusion: Conclusion) -> str:
    """The whole file."""
    charts = Charts(conclusion)
    body, specs = _body(conclusion, charts)
    return fill_page(
        title=f"{headline(conclusion)} - altgrad",
        question=conclusion.question.question,
        headline=headline(conclusion),
        verdicts=_verdicts(conclusion, charts.colour_of),
        rules=rules_in_words(conclusion),
        body=body,
        specs=specs,
        datasets=charts.datasets,
    )


def fill_page(
    *,
    title: str,
    question: str,
    headline: str,
    verdicts: str,
    rules: str,
    body: str,
    specs: dict[str, Spec],
    datasets: dict[str, str],
) -> str:
    """A file that carries its libraries. Texts are escaped here; verdicts and body are HTML."""
    return Template(PAGE.read_text(encoding="utf-8")).substitute(
        title=html.escape(title),
        question=html.escape(question),
        headline=html.escape(headline),
        verdicts=verdicts,
        rules=html.escape(rules),
        body=body,
        bundle=javascript_bundle().replace("</script", "<\\/script"),
        specs=_script_json(specs),
        datasets=_script_json(datasets),
    )


def _verdicts(conclusion: Conclusion, colour_of: dict[str, str]) -> str:
    """A card for each verdict and contrast; of many arms the finding's alone, the rest folded."""
    found: list[Evidence | Contrast] = [*conclusion.evidence, *conclusion.contrasts]
    first = found
    if are_many(conclusion) and conclusion.question.design != "ablation":
        finding = [best(conclusion), *shown_interactions(conclusion)[:MOST_INTERACTIONS]]
        first = [f for f in found if any(f is one for one in finding)]
    primary = conclusion.question.primary
    cards = [_card(f, primary, colour_of) for f in first]
    cards += [_item("var(--ink)", line, "") for line in same_lines(conclusion)]
    rest = [_card(f, primary, colour_of) for f in found if f not in first]
    return "".join(cards) + _folded(rest, sum(f not in first for f in conclusion.evidence))


def _folded(cards: list[str], arms: int) -> str:
    if not cards:
        return ""
    kinds = [(arms, "arms"), (len(cards) - arms, "contrasts")]
    counted = " and ".join(f"{n} {what}" for n, what in kinds if n)
    told = f"The other {counted}, in a sentence each"
    listed = "".join(cards)
    return f'<li class="rest"><details><summary>{told}</summary><ul>{listed}</ul></details></li>'


def _card(found: Evidence | Contrast, primary: str, colour_of: dict[str, str]) -> str:
    numbers = numbers_of(found)
    if isinstance(found, Contrast):
        return _item("var(--ink)", found.words, f"{contrast_is(found)} {numbers}")
    detail = f"{primary}, difference {numbers}" if numbers else ""
    return _item(colour_of[found.arm], f"{found.arm}: {found.words}", detail)


def _item(colour: str, words: str, detail: str) -> str:
    span = f"<span>{html.escape(detail)}</span>" if detail else ""
    return f'<li style="--colour: {colour}"><b>{html.escape(words)}</b>{span}</li>'


def _script_json(content: Any) -> str:
    """JSON for inside a script, where `</script` would end it and `<!--<script>` would swallow
    its end: no "<" at all."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.replace("<", "\\u003c")


def _body(conclusion: Conclusion, charts: Charts) -> tuple[str, dict[str, Spec]]:
    """The sections after the verdict, and the plots by the id of their place."""
    specs: dict[str, Spec] = {}
    parts: list[str] = []

    def plot(spec: Spec | None, title: str = "", remark: str = "") -> str:
        if spec is None:
            return ""
        name = f"plot{len(specs)}"
        specs[name] = spec
        head = f"<h2>{html.escape(title)}</h2>" if title else ""
        return f'{head}{_remark(remark)}<div class="plot" id="{name}"></div>'

    by_title = {title: (rows(conclusion), remark) for title, rows, remark in SECTIONS}
    parts.append(section("Arms", *by_title.pop("Arms")))
    forest = contribution_forest(conclusion)
    parts.append(plot(forest, "What each change contributes", REMARKS["contributions"]))
    if forest is not None:
        parts.append(section("", *by_title.pop("What each change contributes")))
    else:
        parts.append(plot(charts.differences(), "Paired differences", REMARKS["forest"]))
    parts.append(plot(effect_forest(conclusion), "Effects", REMARKS["effects"]))
    parts.append(plot(heat_table(conclusion), "Every combination", REMARKS["heat"]))
    for place, spec in enumerate(interaction_plots(conclusion)):
        title, remark = ("", "") if place else ("Interactions", REMARKS["interactions"])
        parts.append(plot(spec, title, remark))
    primary = conclusion.question.primary
    once = charts.at_the_only_step(primary, primary)
    if once is not None:
        parts.append(plot(once, f"{primary} at the only evaluation", REMARKS["once"]))
    else:
        over = charts.curves(primary, primary)
        parts.append(plot(over, f"{primary} over the run", REMARKS["loss"]))
    parts.append(plot(charts.curves("loss", "training loss"), "Training loss"))
    parts.append(section(WHY, *by_title.pop(WHY)))
    parts.append(_mechanisms(charts, plot))
    parts.append(plot(charts.sensitivity(), "Sensitivity to the tuned setting"))
    parts += [section(title, rows, remark) for title, (rows, remark) in by_title.items()]
    parts += [f'<p class="remark">{html.escape(n)}</p>' for n in conclusion.fairness.notes]
    parts.append(f"<h2>Reproduce</h2><pre>{html.escape(conclusion.record.command)}</pre>")
    return "\n".join(p for p in parts if p), specs


def _mechanisms(charts: Charts, plot: Any) -> str:
    groups = charts.mechanisms()
    if not groups:
        return ""
    first = {group: place for place, group in enumerate(OPEN_FIRST)}
    ordered = sorted(groups, key=lambda g: (first.get(g, len(first)), g))
    folds = [
        f"<details{' open' if g in OPEN_FIRST else ''}><summary>{html.escape(g)}</summary>"
        + _remark(meaning(g))
        + "".join(plot(spec) for spec in groups[g])
        + "</details>"
        for g in ordered
    ]
    return f"<h2>Mechanism</h2>{_remark(REMARKS['mechanism'])}" + "".join(folds)


def section(title: str, rows: Table, remark: str) -> str:
    if not rows:
        return ""
    columns = [c for c in rows[0] if any(r.get(c) for r in rows)]
    titles = "".join(f"<th>{html.escape(c)}</th>" for c in columns)
    lines = ["".join(_cell(c, row.get(c, "")) for c in columns) for row in rows]
    table = f"<thead><tr>{titles}</tr></thead>" + "".join(f"<tr>{line}</tr>" for line in lines)
    kind = ' class="wide"' if len(columns) > MOST_COLUMNS else ""
    scroll = f'<div class="scroll"><table{kind}>{table}</table></div>'
    head = f"<h2>{html.escape(title)}</h2>{_remark(remark)}" if title else ""
    return f"{head}{scroll}"


def _cell(column: str, text: str) -> str:
    kind = "" if column in LOOSE else ' class="tight"'
    return f'<td{kind} data-name="{html.escape(column)}">{html.escape(text)}</td>'


def _remark(text: str) -> str:
    return f'<p class="remark">{html.escape(text)}</p>' if text else ""
