"""The plots of a report as Vega-Lite, drawn by altair: hover, filter by arm, download.

The control is grey everywhere, every other arm has one colour of Okabe and Ito's palette, one dash
and one shape, so that neither colour vision nor a printer is needed to tell arms apart.
"""

import json
from typing import Any

import altair as alt

from altgrad.compare.conclusion import Conclusion
from altgrad.compare.report.curves import (
    Row,
    band_rows,
    difference_rows,
    loss_rows,
    mechanism_rows,
    tuning_rows,
)
from altgrad.compare.why.names import AGGREGATES, natural
from altgrad.runs.plots import COLOURS, DASHES, GREY, SHAPES

ROW_HEIGHT = 46
_PAGE = "containerSize()[0]"
LABELS = alt.Axis(labelLimit=alt.ExprRef(f"isFinite({_PAGE}) ? min(460, {_PAGE} * 0.4) : 300"))
"""Names of arms get up to two fifths of the page's width before they are cut."""

FEW_TICKS = alt.ExprRef("max(2, floor(width / 110))")

Spec = dict[str, Any]


class Charts:
    """All plots of one conclusion; each method gives a Vega-Lite spec, or None without data.

    Attributes:
        datasets: name -> CSV, for plots that share their numbers: a spec with the data
            `{"name": NAME}` gets them when it is drawn.
    """

    def __init__(self, conclusion: Conclusion) -> None:
        self.conclusion = conclusion
        self.datasets: dict[str, str] = {}
        self.primary = conclusion.question.primary
        self.arms = conclusion.arms
        others = len(self.arms) - 1
        self.colours = [GREY, *(COLOURS[i % len(COLOURS)] for i in range(others))]
        self.dashes = [DASHES[i % len(DASHES)] for i in range(others + 1)]
        self.colour_of = dict(zip(self.arms, self.colours, strict=True))
        self.shapes = [SHAPES[i % len(SHAPES)] for i in range(others + 1)]

    def curves(self, name: str, title: str) -> Spec | None:
        """One metric over the steps: a thin line per seed, the mean, the range as a band."""
        rows = loss_rows(self.conclusion, name)
        if not rows:
            return None
        pick = self._legend_pick()
        x, y = (
            alt.X("step:Q", title="step", axis=alt.Axis(tickCount=FEW_TICKS, tickMinStep=1)),
            self._loss_axis("value:Q", title),
        )
        faded = alt.condition(pick, alt.value(0.45), alt.value(0.04))
        seeds = (
            alt.Chart(alt.NamedData("seeds"))
            .mark_line(strokeWidth=0.8)
            .encode(x=x, y=y, color=self._colour(), detail="seed:N", opacity=faded)
        )
        means = alt.Chart(alt.NamedData("means"))
        solid = alt.condition(pick, alt.value(1), alt.value(0.08))
        line = means.mark_line(strokeWidth=2.6).encode(
            x=x,
            y=self._loss_axis("mean:Q", title),
            color=self._colour(),
            strokeDash=self._dash(),
            opacity=solid,
        )
        tips = ["arm:N", "step:Q", tip("mean"), tip("low"), tip("high")]
        hover = _hover(means, x, self._loss_axis("mean:Q", title), tips)
        band = means.mark_area().encode(
            x=x,
            y=self._loss_axis("low:Q", title),
            y2="high:Q",
            color=self._colour(),
            opacity=alt.condition(pick, alt.value(0.16), alt.value(0.02)),
        )
        # Beside altair, which looks at every row several times.
        numbers = {"seeds": rows, "means": band_rows(rows)}
        return finish(alt.layer(band, seeds, line.add_params(pick), hover), 320) | {
            "datasets": numbers
        }

    def at_the_only_step(self, name: str, title: str) -> Spec | None:
        """A metric that every run has at one step, where a curve has nothing to draw: a row an
        arm, its mean large, its seeds as ticks. None where any run has it at more steps."""
        rows = loss_rows(self.conclusion, name)
        if not rows or len({(r["arm"], r["seed"]) for r in rows}) < len(rows):
            return None
        y = alt.Y("arm:N", title=None, sort=self.arms, axis=LABELS)
        near, few = alt.Scale(zero=False, padding=12), alt.Axis(tickCount=FEW_TICKS)
        x = alt.X("value:Q", title=title, scale=near, axis=few)
        colour = self._colour(legend=False)
        seeds = alt.Chart(alt.Data(values=rows)).mark_tick(thickness=2, size=14, yOffset=12)
        means = alt.Chart(alt.Data(values=band_rows(rows)))
        points = means.mark_point(filled=True, size=130, opacity=1).encode(
            x=alt.X("mean:Q", title=title),
            y=y,
            color=colour,
            shape=self._shape(),
            tooltip=["arm:N", "step:Q", tip("mean"), tip("low"), tip("high")],
        )
        ticks = seeds.encode(x=x, y=y, color=colour, tooltip=["arm:N", "seed:Q", tip("value")])
        return finish(alt.layer(ticks, points), None, ROW_HEIGHT)

    def differences(self) -> Spec | None:
        """Forest plot: each arm's mean paired difference with its interval, seeds as dots."""
        intervals = [
            {
                "arm": e.arm,
                "mean": e.mean,
                "low": e.low,
                "high": e.high,
                "verdict": e.words,
                "pairs": e.pairs,
            }
            for e in self.conclusion.evidence
            if e.pairs > 1 and e.low > float("-inf")
        ]
        dots = difference_rows(self.conclusion)
        if not dots:
            return None
        y = alt.Y("arm:N", title=None, sort=self.arms[1:], axis=LABELS)
        title = which_way(self.conclusion, "arm − control")
        seeds = (
            alt.Chart(alt.Data(values=dots))
            .mark_tick(thickness=2, size=14, yOffset=12)
            .encode(
                x=alt.X("difference:Q", title=title, axis=alt.Axis(tickCount=FEW_TICKS)),
                y=y,
                color=self._colour(legend=False),
                tooltip=["arm:N", "seed:Q", tip("difference")],
            )
        )
        means = alt.Chart(alt.Data(values=intervals))
        tips = ["arm:N", "verdict:N", tip("mean"), tip("low"), tip("high"), "pairs:Q"]
        rule = means.mark_rule(strokeWidth=3).encode(
            x="low:Q", x2="high:Q", y=y, color=self._colour(legend=False), tooltip=tips
        )
        # Where the interval is narrower than its point, the white edge keeps them apart.
        point = means.mark_point(filled=True, size=130, opacity=1, stroke="white").encode(
            x="mean:Q",
            y=y,
            color=self._colour(legend=False),
            shape=self._shape(),
            tooltip=tips,
        )
        return finish(alt.layer(ground(self.conclusion), rule, seeds, point), None, ROW_HEIGHT)

    def sensitivity(self) -> Spec | None:
        """Outcome over the tuned setting's values; the chosen one is large."""
        rows = tuning_rows(self.conclusion)
        if not rows:
            return None
        setting = self.conclusion.question.tuning.setting
        pick = self._legend_pick()
        chart = alt.Chart(alt.Data(values=rows))
        x = alt.X("value:Q", title=setting, scale=alt.Scale(type="log"))
        shown = alt.condition(pick, alt.value(1), alt.value(0.08))
        line = chart.mark_line(strokeWidth=2).encode(
            x=x,
            y=self._loss_axis("mean(outcome):Q", self.primary),
            color=self._colour(),
            strokeDash=self._dash(),
            opacity=shown,
        )
        points = chart.mark_point(filled=True).encode(
            x=x,
            y=self._loss_axis("outcome:Q", self.primary),
            color=self._colour(),
            shape=self._shape(),
            size=alt.condition("datum.chosen", alt.value(170), alt.value(45)),
            opacity=shown,
            tooltip=["arm:N", "value:Q", tip("outcome"), "chosen:N"],
        )
        return finish(alt.layer(line, points.add_params(pick)), 280)

    def mechanisms(self) -> dict[str, list[Spec]]:
        """Group of metrics -> its plots: over time, and layer by layer where there are layers."""
        made = {}
        for group, rows in mechanism_rows(self.conclusion).items():
            items = sorted({row["item"] for row in rows}, key=natural)
            layers = [i for i in items if i not in AGGREGATES]
            self.datasets[group] = self._as_csv(rows, items)
            specs = [self._over_time(group, items)]
            if len(layers) > 1:
                specs.append(self._by_layer(group, items, layers))
            made[group] = specs
        return made

    def _as_csv(self, rows: list[Row], items: list[str]) -> str:
        """Arms and items as numbers: their names, written out, would be most of the page."""
        arms, places = (dict(zip(n, range(len(n)), strict=True)) for n in (self.arms, items))
        lines = (f"{arms[r['arm']]},{places[r['item']]},{r['step']},{r['value']}" for r in rows)
        return "\n".join(["a,i,step,value", *lines])

    def _named(self, chart: Any, items: list[str]) -> Any:
        """The chart with the names back."""
        return chart.transform_calculate(
            arm=f"{json.dumps(self.arms)}[datum.a]", item=f"{json.dumps(items)}[datum.i]"
        )

    def _over_time(self, group: str, items: list[str]) -> Spec:
        pick = self._legend_pick()
        first = next((a for a in AGGREGATES if a in items), items[0])
        shown = alt.param(
            name="shown_item",
            value=first,
            bind=alt.binding_select(options=items, name="layer or summary: "),
        )
        x = alt.X("step:Q", title="step", axis=alt.Axis(tickCount=FEW_TICKS, tickMinStep=1))
        y = alt.Y("value:Q", title=group, scale=alt.Scale(zero=False))
        chart = (
            alt.Chart()
            .mark_line(strokeWidth=2.2)
            .encode(
                x=x,
                y=y,
                color=self._colour(),
                strokeDash=self._dash(),
                opacity=alt.condition(pick, alt.value(1), alt.value(0.08)),
            )
            .add_params(pick)
        )
        tips = ["arm:N", "item:N", "step:Q", tip("value", ".4g")]
        both = alt.layer(chart, _hover(alt.Chart(), x, y, tips), data=alt.NamedData(group))
        both = self._named(both, items)
        if len(items) > 1:
            both = both.add_params(shown).transform_filter("datum.item == shown_item")
        return finish(both, 240)

    def _by_layer(self, group: str, items: list[str], layers: list[str]) -> Spec:
        arm = alt.param(
            name="shown_arm",
            value=self.arms[-1],
            bind=alt.binding_select(options=self.arms, name="arm: "),
        )
        kept = f"datum.arm == shown_arm && indexof({json.dumps(layers)}, datum.item) >= 0"
        chart = (
            self._named(alt.Chart(alt.NamedData(group)), items)
            .mark_rect()
            .encode(
                x=alt.X("step:O", title="step", axis=alt.Axis(labelOverlap=True, labelAngle=0)),
                y=alt.Y("item:N", title=None, sort=layers, axis=LABELS),
                color=alt.Color("value:Q", title=group, scale=alt.Scale(scheme="viridis")),
                tooltip=["arm:N", "item:N", "step:O", tip("value", ".4g")],
            )
            .add_params(arm)
            .transform_filter(kept)
        )
        return finish(chart, None, 18)

    # -- what all plots share -------------------------------------------------------------------

    def _legend_pick(self) -> alt.Parameter:
        return alt.selection_point(fields=["arm"], bind="legend")

    def _colour(self, legend: bool = True) -> alt.Color:
        scale = alt.Scale(domain=self.arms, range=self.colours)
        where = alt.Legend(
            symbolOpacity=1,
            symbolStrokeWidth=3,
            symbolType="stroke",
            symbolSize=300,
            orient="top",
            title=None,
            columns=alt.ExprRef("width < 420 ? 1 : 2"),
            labelLimit=260,
        )
        return alt.Color("arm:N", scale=scale, legend=where if legend else None)

    def _dash(self) -> alt.StrokeDash:
        return alt.StrokeDash(
            "arm:N", scale=alt.Scale(domain=self.arms, range=self.dashes), legend=None
        )

    def _shape(self) -> alt.Shape:
        return alt.Shape("arm:N", scale=alt.Scale(domain=self.arms, range=self.shapes), legend=None)

    def _loss_axis(self, field: str, title: str) -> alt.Y:
        return alt.Y(field, title=title, scale=alt.Scale(zero=False, nice=True))


def which_way(conclusion: Conclusion, difference: str) -> str:
    """`← better · arm − control · worse →`: the title of an axis of differences."""
    higher = conclusion.question.higher_is_better
    left, right = ("worse", "better") if higher else ("better", "worse")
    return f"← {left}  ·  {difference}  ·  {right} →"


def ground(conclusion: Conclusion) -> Any:
    """Under differences: no difference as a line, those that do not matter in grey."""
    delta = conclusion.question.delta
    matters = alt.Chart(alt.Data(values=[{"low": -delta, "high": delta}]))
    shade = matters.mark_rect(color="#999999", opacity=0.15).encode(x="low:Q", x2="high:Q")
    zero = alt.Chart(alt.Data(values=[{"x": 0}])).mark_rule(color="#333333").encode(x="x:Q")
    return alt.layer(shade, zero)


def tip(field: str, form: str = ".5f") -> alt.Tooltip:
    return alt.Tooltip(f"{field}:Q", format=form)


def _hover(chart: alt.Chart, x: alt.X, y: alt.Y, tips: list[Any]) -> alt.Chart:
    """Invisible points to point at: a line alone shows its numbers only where it is hit exactly."""
    return chart.mark_point(size=90, opacity=0).encode(x=x, y=y, tooltip=tips)


def finish(chart: Any, height: int | None, step: int = 20) -> Spec:
    """As wide as its place on the page; letters large enough for a phone."""
    rows = {"step": step, "for": "position"}
    size = {"height": height} if height else {"height": alt.Step.from_dict(rows)}
    made = chart.properties(width="container", **size)
    made = made.configure_axis(labelFontSize=12, titleFontSize=12, labelLimit=170, gridOpacity=0.5)
    made = made.configure_legend(labelFontSize=12).configure_view(stroke="#cccccc")
    return dict(made.to_dict(validate=False))
