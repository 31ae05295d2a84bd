"""Plots of what is judged beside single arms: an ablation's forest."""

import math

import altair as alt

from altgrad.compare.conclusion import Conclusion
from altgrad.compare.report.charts import (
    FEW_TICKS,
    LABELS,
    ROW_HEIGHT,
    Spec,
    finish,
    ground,
    tip,
    which_way,
)
from altgrad.compare.report.contributions import ALONE, REMOVAL, TOGETHER, TOTAL, contributions
from altgrad.runs.plots import COLOURS

HOW = {
    TOTAL: ("#333333", "diamond"),
    ALONE: (COLOURS[1], "circle"),
    REMOVAL: (COLOURS[0], "square"),
    TOGETHER: ("#777777", "triangle-up"),
}
"""In which company -> colour and shape."""


def contribution_forest(conclusion: Conclusion) -> Spec | None:
    """What each change contributes alone and as a removal, and what is left over; with intervals.

    None for designs that are no ablation.
    """
    rows = [
        {
            "change": row.change,
            "how": row.how,
            "place": int(row.how in (REMOVAL, TOGETHER)),
            "mean": row.found.mean,
            "low": row.found.low,
            "high": row.found.high,
            "finding": row.found.words,
            "pairs": row.found.pairs,
        }
        for row in contributions(conclusion)
        if math.isfinite(row.found.mean) and math.isfinite(row.found.low)
    ]
    if not rows:
        return None
    changes = list(dict.fromkeys(str(row["change"]) for row in rows))
    shown = [how for how in HOW if any(row["how"] == how for row in rows)]
    data = alt.Chart(alt.Data(values=rows))
    title = which_way(conclusion, "with it − without it")
    y = alt.Y("change:N", title=None, sort=changes, axis=LABELS)
    offset = alt.YOffset("place:O", scale=alt.Scale(domain=[0, 1]))
    legend = alt.Legend(orient="top", title=None, symbolSize=120)
    colour = alt.Color(
        "how:N", scale=alt.Scale(domain=shown, range=[HOW[h][0] for h in shown]), legend=legend
    )
    shape = alt.Shape("how:N", scale=alt.Scale(domain=shown, range=[HOW[h][1] for h in shown]))
    tips = ["change:N", "how:N", "finding:N", tip("mean"), tip("low"), tip("high"), "pairs:Q"]
    axis = alt.Axis(tickCount=FEW_TICKS)
    rule = data.mark_rule(strokeWidth=3).encode(
        x=alt.X("low:Q", title=title, axis=axis), x2="high:Q", y=y, yOffset=offset, color=colour
    )
    point = data.mark_point(filled=True, size=110, opacity=1, stroke="white").encode(
        x="mean:Q", y=y, yOffset=offset, color=colour, shape=shape, tooltip=tips
    )
    return finish(alt.layer(ground(conclusion), rule, point), None, ROW_HEIGHT)
