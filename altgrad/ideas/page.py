"""The ledger's page: the picture to point at, and the table; one file that needs no network."""

import math
from typing import Any

import altair as alt

from altgrad.compare.report.html import fill_page, section
from altgrad.ideas.labels import COLOUR, NAMED
from altgrad.ideas.picture import Point, points, reckoned
from altgrad.ideas.state import State
from altgrad.ideas.table import COLUMNS, cells_of, head, rows


def page(state: State) -> str:
    found = head(state)
    return fill_page(
        title="ideas - altgrad",
        question="Which of these ideas really help?",
        headline=next((x for x in found if x.startswith("champion against")), "not reckoned yet"),
        verdicts="",
        rules="; ".join(x for x in found if not x.startswith("champion against")),
        body='<div class="plot" id="plot0"></div>' + section("Tries", _rows(state), ""),
        specs={"plot0": chart(state)},
        datasets={},
    )


def _rows(state: State) -> list[dict[str, str]]:
    return [dict(zip(COLUMNS, cells, strict=True)) for cells in map(cells_of, rows(state))]


def _label(point: Point) -> str:
    """Named where it is worth it; struck through where a reckoning took it out."""
    if point.verdict not in NAMED:
        return ""
    struck = point.verdict == "barnacle"
    return "".join(f"{c}\u0336" for c in point.name) if struck else point.name


def chart(state: State) -> dict[str, Any]:
    """Vega-Lite: points with their spread, the champion's steps, the reckoned champion's bars."""
    made = [p for p in points(state) if math.isfinite(p.loss)]
    values = [
        {**vars(p), "low": p.loss - p.spread, "high": p.loss + p.spread, "label": _label(p)}
        for p in made
    ]
    last = made[-1].x + 1 if made else 1
    bars = [{**vars(b), "until": last} for b in reckoned(state)]
    pick = alt.selection_point(fields=["verdict"], bind="legend")
    seen = [v for v in COLOUR if any(p.verdict == v for p in made)]
    scale = alt.Scale(domain=seen, range=[COLOUR[v] for v in seen])
    x = alt.X("x:Q", title="tries")
    y = alt.Y("loss:Q", title=state.terms.primary, scale=alt.Scale(zero=False))
    shown = alt.condition(pick, alt.value(1), alt.value(0.1))
    base = alt.Chart(alt.Data(values=values))
    tips = ["id:N", "name:N", "verdict:N", alt.Tooltip("loss:Q", format=".5f")]
    dots = base.mark_circle(size=60).encode(
        x=x, y=y, color=alt.Color("verdict:N", scale=scale), tooltip=tips, opacity=shown
    )
    spread = base.mark_rule().encode(
        x=x, y="low:Q", y2="high:Q", color=alt.Color("verdict:N", scale=scale), opacity=shown
    )
    steps = base.mark_line(interpolate="step-after", color="#333").encode(x=x, y="champion:Q")
    kept = alt.Chart(alt.Data(values=bars))
    area = kept.mark_rect(opacity=0.25, color=COLOUR["finding"]).encode(
        x="x:Q", x2="until:Q", y="low:Q", y2="high:Q"
    )
    middle = kept.mark_rule(color=COLOUR["finding"], size=2.5).encode(
        x="x:Q", x2="until:Q", y="loss:Q"
    )
    names = base.mark_text(align="right", dx=-7, dy=9, fontSize=10, limit=190).encode(
        x=x, y=y, text="label:N", color=alt.Color("verdict:N", scale=scale), opacity=shown
    )
    layers = alt.layer(area, middle, steps, spread, dots.add_params(pick), names)
    layers = layers.properties(width="container", height=380).interactive()
    return dict(layers.to_dict(validate=False))
