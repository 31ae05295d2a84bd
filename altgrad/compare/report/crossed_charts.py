"""Plots of a crossed design: its effects, its combinations as a heat table, two axes at a time."""

import itertools
import math
from typing import Any

import altair as alt

from altgrad.compare.conclusion import Conclusion, factors_of
from altgrad.compare.designs import MAIN
from altgrad.compare.designs.design import label
from altgrad.compare.report.charts import (
    FEW_TICKS,
    LABELS,
    Spec,
    finish,
    ground,
    tip,
    which_way,
)
from altgrad.compare.report.crossed import arms_with, mean_outcome, outcome_by_seed
from altgrad.runs.plots import COLOURS, DASHES, GREY, SHAPES

KINDS = {MAIN: (COLOURS[0], "circle"), "interaction": (COLOURS[1], "square")}
NAMED = ("#333333", "diamond")
EFFECT_HEIGHT, CELL_HEIGHT, PLOT_HEIGHT = 30, 34, 260


def effect_forest(conclusion: Conclusion) -> Spec | None:
    """Main effects, interactions and named contrasts with their intervals."""
    if not factors_of(conclusion.question):
        return None
    rows = [
        {
            "effect": c.name,
            "kind": c.kind,
            "finding": c.words,
            "pairs": c.pairs,
            "mean": c.mean,
            "low": c.low,
            "high": c.high,
        }
        for c in conclusion.contrasts
        if math.isfinite(c.mean) and math.isfinite(c.low)
    ]
    if not rows:
        return None
    shown = list(dict.fromkeys(str(row["kind"]) for row in rows))
    colours, shapes = zip(*(KINDS.get(kind, NAMED) for kind in shown), strict=True)
    data = alt.Chart(alt.Data(values=rows))
    legend = alt.Legend(orient="top", title=None, symbolSize=120)
    colour = alt.Color("kind:N", scale=alt.Scale(domain=shown, range=list(colours)), legend=legend)
    shape = alt.Shape("kind:N", scale=alt.Scale(domain=shown, range=list(shapes)))
    y = alt.Y("effect:N", title=None, sort=[str(row["effect"]) for row in rows], axis=LABELS)
    x = alt.X("low:Q", title=which_way(conclusion, "effect"), axis=alt.Axis(tickCount=FEW_TICKS))
    tips = ["effect:N", "finding:N", tip("mean"), tip("low"), tip("high"), "pairs:Q"]
    rule = data.mark_rule(strokeWidth=3).encode(x=x, x2="high:Q", y=y, color=colour)
    point = data.mark_point(filled=True, size=110, opacity=1, stroke="white").encode(
        x="mean:Q", y=y, color=colour, shape=shape, tooltip=tips
    )
    return finish(alt.layer(ground(conclusion), rule, point), None, EFFECT_HEIGHT)


def heat_table(conclusion: Conclusion) -> Spec | None:
    """Every combination as a cell with its number: the last axis across, the others down."""
    question, cells = conclusion.question, factors_of(conclusion.question)
    if not cells:
        return None
    *before, last = question.axes
    rows: list[dict[str, Any]] = [
        {
            "row": " + ".join(label(axis, own[axis]) for axis in before),
            "column": own[last],
            "arm": arm,
            "outcome": mean_outcome(conclusion, [arm]),
            "control": arm == conclusion.control,
        }
        for arm, own in cells.items()
    ]
    rows = [row for row in rows if math.isfinite(row["outcome"])]
    if not rows:
        return None
    values = sorted(row["outcome"] for row in rows)
    data = alt.Chart(alt.Data(values=rows))
    scale = alt.Scale(scheme="viridis", reverse=question.higher_is_better)
    across = alt.X("column:N", title=last, sort=question.axes[last], axis=_across())
    down = alt.Y("row:N", title=None, sort=list(dict.fromkeys(r["row"] for r in rows)), axis=LABELS)
    colour = alt.Color("outcome:Q", title=question.primary, scale=scale)
    tips = ["arm:N", tip("outcome")]
    cell = data.mark_rect().encode(x=across, y=down, color=colour, tooltip=tips)
    frame = data.mark_rect(filled=False, stroke="#d00000", strokeWidth=3).encode(x=across, y=down)
    # Letters in white on the dark half of the colours, in black on the light one.
    middle = (values[0] + values[-1]) / 2
    dark = f"datum.outcome {'>' if question.higher_is_better else '<'} {middle}"
    text = data.mark_text(fontSize=13).encode(
        x=across,
        y=down,
        text=alt.Text("outcome:Q", format=".4f"),
        color=alt.condition(dark, alt.value("white"), alt.value("black")),
    )
    return finish(alt.layer(cell, frame.transform_filter("datum.control"), text), None, CELL_HEIGHT)


def _across() -> alt.Axis:
    return alt.Axis(labelAngle=0, orient="top")


def interaction_plots(conclusion: Conclusion) -> list[Spec]:
    """For each two axes: the mean outcome over the one, a line for each value of the other."""
    if not factors_of(conclusion.question):
        return []
    made = (_two_axes(conclusion, a, b) for a, b in itertools.combinations(_axes(conclusion), 2))
    return [spec for spec in made if spec is not None]


def _axes(conclusion: Conclusion) -> list[str]:
    """The axis with the most values first: it is the one to run along."""
    axes = conclusion.question.axes
    return sorted(axes, key=lambda axis: -len(axes[axis]))


def _two_axes(conclusion: Conclusion, along: str, apart: str) -> Spec | None:
    question = conclusion.question
    values = itertools.product(question.axes[along], question.axes[apart])
    seeds: list[dict[str, Any]] = [
        {"along": x, "line": label(apart, y), "seed": seed, "outcome": outcome}
        for x, y in values
        for seed, outcome in outcome_by_seed(
            conclusion, arms_with(conclusion, {along: x, apart: y})
        ).items()
    ]
    if not seeds:
        return None
    lines = [label(apart, value) for value in question.axes[apart]]
    colours = [GREY, *(COLOURS[i % len(COLOURS)] for i in range(len(lines) - 1))]
    data = alt.Chart(alt.Data(values=seeds))
    x = alt.X("along:N", title=along, sort=question.axes[along], axis=alt.Axis(labelAngle=0))
    scale = alt.Scale(domain=lines, range=colours)
    legend = alt.Legend(orient="top", title=apart, symbolOpacity=1, symbolDash=[1, 0])
    colour = alt.Color("line:N", scale=scale, legend=legend)
    dashes = [DASHES[i % len(DASHES)] for i in range(len(lines))]
    dash = alt.StrokeDash("line:N", scale=alt.Scale(domain=lines, range=dashes), legend=None)
    shapes = [SHAPES[i % len(SHAPES)] for i in range(len(lines))]
    shape = alt.Shape("line:N", scale=alt.Scale(domain=lines, range=shapes), legend=None)
    axis = alt.Scale(zero=False, nice=True)
    mean = alt.Y("mean(outcome):Q", title=question.primary, scale=axis)
    line = data.mark_line(strokeWidth=2.4).encode(x=x, y=mean, color=colour, strokeDash=dash)
    tips = ["along:N", "line:N", alt.Tooltip("mean(outcome):Q", format=".5f")]
    point = data.mark_point(filled=True, size=110, opacity=1, stroke="white").encode(
        x=x, y=mean, color=colour, shape=shape, tooltip=tips
    )
    each = data.mark_circle(size=18, opacity=0.45, xOffset=9).encode(
        x=x,
        y=alt.Y("outcome:Q", title=question.primary, scale=axis),
        color=colour,
        tooltip=["along:N", "line:N", "seed:Q", tip("outcome")],
    )
    return finish(alt.layer(line, each, point), PLOT_HEIGHT)
