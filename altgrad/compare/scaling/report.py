"""The report over sizes: one page of HTML and one of Markdown, from the rungs' folders only."""

import html
from pathlib import Path

from altgrad.compare.report import has_charts, text_table
from altgrad.compare.scaling.conclusion import ScalingConclusion
from altgrad.compare.scaling.tables import SECTIONS
from altgrad.compare.scaling.trend import forecast_words, words_of
from altgrad.runs import write_atomically
from altgrad.runs.printable import printable


def verdict_lines(c: ScalingConclusion) -> list[str]:
    """What a person wants to read first: each arm's trend, its forecast, and the check of it."""
    names = (c.rungs[0][0].name, c.rungs[-1][0].name)
    lines = []
    for t in c.trends:
        said = [words_of(t, names, c.rules), *forecast_words(t, c.target.name, names[1])]
        lines += [f"{t.arm}: {line}" for line in said]
    return lines


def headline(c: ScalingConclusion) -> str:
    """One sentence over all arms."""
    names = (c.rungs[0][0].name, c.rungs[-1][0].name)
    said = [words_of(t, names, c.rules).partition("; ")[0] for t in c.trends]
    return "; ".join(f"{t.arm}: {words}" for t, words in zip(c.trends, said, strict=True))


def rules_in_words(c: ScalingConclusion) -> str:
    """What was fixed before the runs."""
    q = c.question
    direction = "higher" if q.higher_is_better else "lower"
    budgets = {
        "tokens_per_parameter": f"{q.ladder.tokens_per_parameter} tokens for each parameter",
        "flops_per_run": f"{q.ladder.flops_per_run} FLOPs a run",
    }
    budget = next((w for n, w in budgets.items() if getattr(q.ladder, n)), "equal steps")
    return (
        f"Outcome: {q.primary}, {direction} is better. Budget of a rung: {budget}. A change over "
        f"the ladder of less than {q.delta:g} does not matter. Chance of a false trend at most "
        f"{q.alpha:g} over all arms. Size: {q.ladder.fit_over} of the control, embeddings included."
    )


def notes(c: ScalingConclusion) -> list[str]:
    """What a reader should know though it forbids nothing."""
    repeated = [r for r, _ in c.rungs if r.epochs > 1]
    found = [f"{r.name} read its text {r.epochs:.1f} times" for r in repeated]
    edges = [
        f"{rung.name}: the {t['edge']} {t['setting']} tried won for {t['arm']}: a narrow grid"
        for rung, part in c.rungs
        for t in part.record.tuning
        if t["edge"]
    ]
    tuned = bool(c.question.tuning.setting)
    untuned = (
        []
        if tuned
        else [
            "no rate was tuned for a rung (tune=optim.lr): unless optim.width_rule makes rates "
            "travel, one rate need not suit every size, and a trend may be the rates'"
        ]
    )
    parts = [f"{rung.name}: {note}" for rung, part in c.rungs for note in part.fairness.notes]
    return [*found, *edges, *untuned, *parts]


def write_reports(c: ScalingConclusion) -> list[Path]:
    """`report.md` and, with the extra `report`, `report.html`."""
    text = c.folder / "report.md"
    write_atomically(text, printable(markdown(c)))
    if not has_charts():
        return [text]
    page = c.folder / "report.html"
    write_atomically(page, html_page(c))
    return [page, text]


def markdown(c: ScalingConclusion) -> str:
    """The whole page."""
    lines = [f"# {c.question.question}", "", f"**{headline(c)}**", ""]
    lines += [*(f"- {line}" for line in verdict_lines(c)), "", rules_in_words(c), ""]
    for title, rows, remark in SECTIONS:
        if table := text_table(rows(c)):
            lines += [f"## {title}", "", *([remark, ""] if remark else []), *table, ""]
    lines += [f"- {note}" for note in notes(c)]
    lines += ["", "## Reproduce", "", "```", c.record.command, "```", ""]
    return "\n".join(lines)


def html_page(c: ScalingConclusion) -> str:
    """The whole file, with its plots inside."""
    from altgrad.compare.report.html import fill_page, section
    from altgrad.compare.scaling.charts import ScalingCharts

    charts = ScalingCharts(c)
    specs = {"plot0": charts.differences(), "plot1": charts.outcomes()}
    titles = (
        (
            "Difference over size",
            "Point and bar: mean difference and its interval on a rung; ticks: "
            "seeds; the line: the trend; dashed: the forecast. Grey: changes that do not matter.",
        ),
        (f"{c.question.primary} over size", "A point a run; the curve is the fitted law."),
    )
    parts = [
        f'<h2>{html.escape(title)}</h2><p class="remark">{html.escape(remark)}</p>'
        f'<div class="plot" id="{name}"></div>'
        for name, (title, remark) in zip(specs, titles, strict=True)
    ]
    parts += [section(title, rows(c), remark) for title, rows, remark in SECTIONS]
    parts += [f'<p class="remark">{html.escape(note)}</p>' for note in notes(c)]
    parts.append(f"<h2>Reproduce</h2><pre>{html.escape(c.record.command)}</pre>")
    colours = dict(zip(charts.arms, charts.colours, strict=True))
    verdicts = "".join(
        f'<li style="--colour: {colours[line.partition(":")[0]]}"><b>{html.escape(line)}</b></li>'
        for line in verdict_lines(c)
    )
    return fill_page(
        title=f"{headline(c)} - altgrad",
        question=c.question.question,
        headline=headline(c),
        verdicts=verdicts,
        rules=rules_in_words(c),
        body="\n".join(p for p in parts if p),
        specs=specs,
        datasets={},
    )
