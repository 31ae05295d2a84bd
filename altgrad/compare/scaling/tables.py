"""The tables of a report over sizes, as rows of text: shared by the HTML page and the Markdown."""

import math

from altgrad.compare.report import Table, number, p_value
from altgrad.compare.scaling.conclusion import ScalingConclusion
from altgrad.compare.scaling.trend import Trend, numbers
from altgrad.compare.statistics import paired
from altgrad.compare.statistics.forecast import Forecast
from altgrad.compare.statistics.trend import Estimate
from altgrad.compare.verdict import Evidence

Row = dict[str, str]


def rungs_table(c: ScalingConclusion) -> Table:
    """One row a rung: what it is, what each arm reached, and what is concluded there."""
    rows = []
    for i, (rung, part) in enumerate(c.rungs):
        row = {
            "rung": rung.name,
            "parameters": f"{rung.parameters:,}",
            "steps": f"{rung.steps:,}",
            "tokens": f"{rung.tokens:,}",
            "epochs": f"{rung.epochs:.2g}",
            "FLOPs": f"{rung.flops:.3g}",
            **{arm: _outcome(y[:, i].tolist()) for arm, y in c.outcomes.items()},
        }
        for e in part.evidence:
            row[_difference_of(e.arm, c)] = f"{_numbers(e)}: {e.verdict}"
        rows.append(row)
    return rows


def _difference_of(arm: str, c: ScalingConclusion) -> str:
    return "difference" if len(c.arms) == 2 else f"difference of {arm}"


def _numbers(e: Evidence) -> str:
    if not math.isfinite(e.low):
        return number(e.mean, "+.4f")
    return _span(e.mean, e.low, e.high)


def _outcome(values: list[float]) -> str:
    kept = [v for v in values if math.isfinite(v)]
    lost = f", {len(values) - len(kept)} lost" if len(kept) < len(values) else ""
    if not kept:
        return "all lost"
    t = paired.paired_t(kept)
    half = number((t.interval.high - t.interval.low) / 2)
    return number(t.mean) + (f" ± {half}" if half else "") + lost


def trends_table(c: ScalingConclusion) -> Table:
    """One row an arm: the line over log2 of the size, and every test made on it."""
    return [
        {
            "arm": t.arm,
            "verdict": t.verdict,
            "per doubling": _shown(t.slope),
            f"line at {c.rungs[0][0].name}": _shown(t.first),
            f"line at {c.rungs[-1][0].name}": _shown(t.last),
            "mean over the rungs": _shown(t.middle),
            "departure from the line": _shown(t.bend) if t.bend else "",
            "p no slope, corrected": p_value(t.p_slope),
            "p not the same, corrected": p_value(t.p_same),
            "p one way, corrected": p_value(t.p_bends),
            "seeds": f"{t.seeds} of {t.asked}",
        }
        for t in c.trends
    ]


def _shown(e: Estimate) -> str:
    return numbers(e) if math.isfinite(e.low) else number(e.mean, "+.4f")


def forecasts_table(c: ScalingConclusion) -> Table:
    """For each arm the forecast and its check, each way of going on by itself; empty without
    any."""
    largest = c.rungs[-1][0].name
    rows = []
    for t in c.trends:
        if t.left_out:
            left_out = f"{largest}, left out"
            rows += [_forecast_row(t, left_out, t.left_out, t.left_out_found)]
        if t.forecast:
            rows += [_forecast_row(t, c.target.name, t.forecast)]
    return rows


def _forecast_row(t: Trend, where: str, whole: Forecast, measured: Estimate | None = None) -> Row:
    inside = {True: "yes", False: "no", None: ""}[t.check_holds if measured else None]
    return {
        "arm": t.arm,
        "size": where,
        "forecast": _span(whole.mean, whole.low, whole.high),
        "measured": _shown(measured) if measured else "",
        "inside": inside,
        **{name: _span(*span) for name, span in whole.ways.items()},
    }


def _span(mean: float, low: float, high: float) -> str:
    return f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]"


def fits_table(c: ScalingConclusion) -> Table:
    """E + A·N^-α of each arm with its bootstrap intervals."""
    return [
        {
            "arm": f.arm,
            "E": _interval(f.floor, ".3f"),
            "A": _interval(f.amplitude, ".3g"),
            "α": _interval(f.exponent, ".3f"),
        }
        for f in c.fits
    ]


def _interval(found: tuple[float, float, float], form: str) -> str:
    middle, low, high = (format(v, form) for v in found)
    return f"{middle} [{low}, {high}]"


def tuning_table(c: ScalingConclusion) -> Table:
    """The value that won for each arm and rung."""
    return [
        {
            "rung": rung.name,
            "arm": t["arm"],
            t["setting"]: f"{float(t['value']):g}",
            "found": f"at the {t['edge']} edge: the grid may be too narrow"
            if t["edge"]
            else "inside",
        }
        for rung, part in c.rungs
        for t in part.record.tuning
    ]


def seeds_table(c: ScalingConclusion) -> Table:
    """Outcome of every run."""
    return [
        {
            "rung": rung.name,
            "seed": str(o.seed),
            **{arm: number(part.outcomes[arm][k].outcome, ".5f") or "lost" for arm in c.arms},
        }
        for rung, part in c.rungs
        for k, o in enumerate(part.outcomes[c.question.control])
    ]


def pages_table(c: ScalingConclusion) -> Table:
    """Where each rung's own report is written."""
    return [
        {"rung": rung.name, "its own report": f"altgrad report {part.folder}"}
        for rung, part in c.rungs
    ]


SECTIONS = (
    ("Rungs", rungs_table, "Each rung is an ordinary comparison: arms are compared at equal size."),
    (
        "Trend of the difference",
        trends_table,
        "A line over log2 of the size for every seed; intervals are Student's t over the seeds.",
    ),
    (
        "Forecast, and its check",
        forecasts_table,
        "The forecast is the hull of three ways to go on; the check forecasts the largest rung "
        "from the others.",
    ),
    (
        "Fitted laws",
        fits_table,
        "E + A·N^-α by least squares on the means over seeds; intervals by bootstrap over seeds.",
    ),
    ("Tuning", tuning_table, "Chosen for every arm and rung, on seeds that are not test seeds."),
    ("Every run", seeds_table, ""),
    ("Each rung", pages_table, "Curves, mechanism, fairness and environment of one rung."),
)
"""Title, rows, and a line under the title. A section without rows is left out."""
