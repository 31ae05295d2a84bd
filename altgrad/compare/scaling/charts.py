"""The two plots of a report over sizes, as Vega-Lite: outcomes over size, and their differences."""

import math
from typing import Any

import altair as alt

from altgrad.compare.report.charts import Spec, finish, tip
from altgrad.compare.scaling.conclusion import ScalingConclusion
from altgrad.runs.plots import COLOURS, DASHES, GREY, SHAPES


class ScalingCharts:
    """Specs of one conclusion. Colours, dashes and shapes are those of every report."""

    def __init__(self, conclusion: ScalingConclusion) -> None:
        self.c = conclusion
        self.arms = conclusion.arms
        others = range(len(self.arms) - 1)
        self.colours = [GREY, *(COLOURS[i % len(COLOURS)] for i in others)]
        self.over = conclusion.question.ladder.fit_over

    def outcomes(self) -> Spec:
        """Every run as a point, the means joined or, where a law was fitted, the law."""
        seeds = alt.Chart(alt.Data(values=self._outcome_rows()))
        points = seeds.mark_point(size=45, opacity=0.75).encode(
            x=self._x("size"),
            y=self._y("outcome", self.c.question.primary),
            color=self._colour(),
            shape=self._scaled(alt.Shape, SHAPES),
            tooltip=["arm:N", "rung:N", "seed:N", tip("outcome")],
        )
        lines = alt.Chart(alt.Data(values=self._line_rows())).mark_line(strokeWidth=2)
        line = lines.encode(
            x=self._x("size"),
            y=self._y("value", self.c.question.primary),
            color=self._colour(),
            strokeDash=self._scaled(alt.StrokeDash, DASHES),
        )
        return finish(alt.layer(line, points), 320)

    def differences(self) -> Spec:
        """Difference on every rung with its interval, the line over the rungs, and the forecast."""
        higher = self.c.question.higher_is_better
        good, bad = ("worse", "better") if higher else ("better", "worse")
        title = f"← {good} · arm − control · {bad} →"
        delta = self.c.question.delta
        matters = alt.Chart(alt.Data(values=[{"low": -delta, "high": delta}]))
        shade = matters.mark_rect(color="#999999", opacity=0.15).encode(
            y=self._y("low", title), y2="high:Q"
        )
        zero = alt.Chart(alt.Data(values=[{"y": 0}])).mark_rule(color="#333333")
        layers: list[Any] = [shade, zero.encode(y=self._y("y", title))]
        layers += [self._seed_ticks(title), *self._intervals(title), self._trend_line(title)]
        if rows := self._forecast_rows():
            layers.append(self._forecast(rows, title))
        return finish(alt.layer(*layers), 320)

    # -- layers ---------------------------------------------------------------------------------

    def _seed_ticks(self, title: str) -> alt.Chart:
        chart = alt.Chart(alt.Data(values=self._difference_rows()))
        return chart.mark_tick(thickness=2, size=12, opacity=0.7).encode(
            x=self._x("size"),
            y=self._y("difference", title),
            color=self._colour(),
            tooltip=["arm:N", "rung:N", "seed:N", tip("difference")],
        )

    def _intervals(self, title: str) -> list[alt.Chart]:
        means = alt.Chart(alt.Data(values=self._evidence_rows()))
        tips = ["arm:N", "rung:N", "verdict:N", tip("mean"), tip("low"), tip("high")]
        rule = means.mark_rule(strokeWidth=3).encode(
            x=self._x("size"),
            y=self._y("low", title),
            y2="high:Q",
            color=self._colour(),
            tooltip=tips,
        )
        point = means.mark_point(filled=True, size=110, opacity=1).encode(
            x=self._x("size"),
            y=self._y("mean", title),
            color=self._colour(),
            shape=self._scaled(alt.Shape, SHAPES),
            tooltip=tips,
        )
        return [rule, point]

    def _trend_line(self, title: str) -> alt.Chart:
        sizes = (self.c.sizes[0], self.c.sizes[-1])
        rows = [
            {"arm": t.arm, "size": size, "value": end.mean}
            for t in self.c.trends
            for size, end in zip(sizes, (t.first, t.last), strict=True)
            if math.isfinite(end.mean)
        ]
        return (
            alt.Chart(alt.Data(values=rows))
            .mark_line(strokeWidth=1.6, opacity=0.8)
            .encode(x=self._x("size"), y=self._y("value", title), color=self._colour())
        )

    def _forecast(self, rows: list[dict[str, Any]], title: str) -> alt.Chart:
        """Dashed: what was not measured."""
        return (
            alt.Chart(alt.Data(values=rows))
            .mark_rule(strokeWidth=3, strokeDash=[5, 4])
            .encode(
                x=self._x("size"),
                y=self._y("low", title),
                y2="high:Q",
                color=self._colour(),
                tooltip=["arm:N", "what:N", tip("mean"), tip("low"), tip("high")],
            )
        )

    # -- rows -----------------------------------------------------------------------------------

    def _outcome_rows(self) -> list[dict[str, Any]]:
        return [
            {"arm": o.arm, "rung": rung.name, "size": size, "seed": o.seed, "outcome": o.outcome}
            for size, (rung, part) in zip(self.c.sizes, self.c.rungs, strict=True)
            for row in part.outcomes.values()
            for o in row
            if not o.lost
        ]

    def _line_rows(self) -> list[dict[str, Any]]:
        if self.c.fits:
            return [{"arm": f.arm, "size": n, "value": v} for f in self.c.fits for n, v in f.curve]
        means = {
            arm: [y[:, i][~_lost(y[:, i])] for i in range(y.shape[1])]
            for arm, y in self.c.outcomes.items()
        }
        return [
            {"arm": arm, "size": size, "value": float(kept.mean())}
            for arm, row in means.items()
            for size, kept in zip(self.c.sizes, row, strict=True)
            if len(kept)
        ]

    def _difference_rows(self) -> list[dict[str, Any]]:
        return [
            {
                "arm": arm,
                "rung": rung.name,
                "size": size,
                "seed": a.seed,
                "difference": a.outcome - b.outcome,
            }
            for size, (rung, part) in zip(self.c.sizes, self.c.rungs, strict=True)
            for arm in self.arms[1:]
            for a, b in zip(part.outcomes[arm], part.outcomes[self.arms[0]], strict=True)
            if not (a.lost or b.lost)
        ]

    def _evidence_rows(self) -> list[dict[str, Any]]:
        return [
            {
                "arm": e.arm,
                "rung": rung.name,
                "size": size,
                "verdict": e.words,
                "mean": e.mean,
                "low": e.low,
                "high": e.high,
            }
            for size, (rung, part) in zip(self.c.sizes, self.c.rungs, strict=True)
            for e in part.evidence
            if math.isfinite(e.mean) and math.isfinite(e.low)
        ]

    def _forecast_rows(self) -> list[dict[str, Any]]:
        return [
            {
                "arm": t.arm,
                "what": f"forecast for {self.c.target.name}",
                "size": self.c.target_size,
                "mean": t.forecast.mean,
                "low": t.forecast.low,
                "high": t.forecast.high,
            }
            for t in self.c.trends
            if t.forecast
        ]

    # -- what the plots share -------------------------------------------------------------------

    def _x(self, field: str) -> alt.X:
        axis = alt.Axis(format=".2~s", tickCount=6)
        return alt.X(
            f"{field}:Q", title=self.over, scale=alt.Scale(type="log", nice=False), axis=axis
        )

    def _y(self, field: str, title: str) -> alt.Y:
        return alt.Y(f"{field}:Q", title=title, scale=alt.Scale(zero=False, nice=True))

    def _colour(self) -> alt.Color:
        scale = alt.Scale(domain=self.arms, range=self.colours)
        where = alt.Legend(orient="top", title=None, symbolStrokeWidth=3, labelLimit=260)
        return alt.Color("arm:N", scale=scale, legend=where)

    def _scaled(self, kind: Any, values: tuple[Any, ...]) -> Any:
        chosen = [values[i % len(values)] for i in range(len(self.arms))]
        return kind("arm:N", scale=alt.Scale(domain=self.arms, range=chosen), legend=None)


def _lost(values: Any) -> Any:
    return values != values
