"""What may be concluded about how a difference goes with size, in words.

d(N) is the difference arm - control on the rung of size N; its trend is a line over log2 N, a line
a seed (`statistics/trend.py`). The rules, fixed before any run, p-values corrected for the number
of arms:

holds      the line's change from the first rung to the last is shown to be smaller than delta
           (TOST); wins over the others, since such a change was declared not to matter
bends      a rung between is shown to lie above both ends of the ladder, or below both, by delta or
           more: it does not go one way, and no line is read off it
turns      a slope is shown, and the line's ends lie on different sides of 0, both shown
grows      a slope is shown that leads away from 0, and on which side the rungs' mean lies is shown
shrinks    the same, towards 0
moves      a slope is shown, but not on which side of 0 the difference lies
inconclusive  everything else

A forecast is made from four rungs on, and is checked by forecasting the largest rung from the
others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from altgrad.compare.designs import FEWEST_FOR_A_FORECAST
from altgrad.compare.statistics import forecast as forecasts
from altgrad.compare.statistics import paired, power_law, trend
from altgrad.compare.statistics.forecast import RESAMPLES, Forecast
from altgrad.compare.statistics.trend import Array, Estimate
from altgrad.compare.verdict import Rules, correct

GROWS, HOLDS, SHRINKS, TURNS, MOVES = "grows", "holds", "shrinks", "turns", "moves"
BENDS = "bends"
INCONCLUSIVE = "inconclusive"
FEWEST_SEEDS = 2


@dataclass(frozen=True)
class Trend:
    """One arm's difference from the control over the rungs.

    seeds: that finished on every rung, of `asked`. slope: per doubling of the size. first, last,
    middle: the line at the first and last rung, and the mean over the rungs. bend: departure from
    the line, None below three rungs. p_slope, p_same: corrected p of "no slope" and of "it changes
    by delta or more"; p_bends: of "it goes one way". means: of the rungs' differences. forecast,
    left_out: None where there are too few rungs or seeds.
    """

    arm: str
    control: str
    seeds: int
    asked: int
    slope: Estimate
    first: Estimate
    last: Estimate
    middle: Estimate
    bend: Estimate | None
    p_slope: float
    p_same: float
    p_bends: float
    means: list[float]
    verdict: str
    forecast: Forecast | None
    left_out: Forecast | None
    left_out_found: Estimate | None

    @property
    def check_holds(self) -> bool | None:
        """Whether the largest rung lay where the others said; None without a check."""
        if self.left_out is None or self.left_out_found is None:
            return None
        return self.left_out.low <= self.left_out_found.mean <= self.left_out.high

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "check_holds": self.check_holds}


@dataclass(frozen=True)
class Fit:
    """E + A·N^-α of one arm, each with its bootstrap interval over the seeds.

    curve: (size, loss) along the law, for plots.
    """

    arm: str
    floor: tuple[float, float, float]
    amplitude: tuple[float, float, float]
    exponent: tuple[float, float, float]
    curve: list[tuple[float, float]]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def judge_trends(
    sizes: Sequence[float],
    outcomes: Mapping[str, Array],
    control: str,
    rules: Rules,
    *,
    target: float | None = None,
    resamples: int = RESAMPLES,
) -> list[Trend]:
    """One trend an arm. outcomes: arm -> `(seeds, rungs)`, nan for a lost run; target: size to
    forecast."""
    others = [arm for arm in outcomes if arm != control]
    both = {arm: _complete(outcomes[control], outcomes[arm]) for arm in others}
    raw = [_p_values(sizes, arm - base, rules) for base, arm in both.values()]
    corrected = [correct(ps, rules) for ps in zip(*raw, strict=True)]
    return [
        _trend(sizes, name, control, len(outcomes[name]), both[name], ps, rules, target, resamples)
        for name, *ps in zip(others, *corrected, strict=True)
    ]


def _complete(control: Array, arm: Array) -> tuple[Array, Array]:
    """The seeds that both finished on every rung."""
    whole = np.isfinite(control).all(axis=1) & np.isfinite(arm).all(axis=1)
    return control[whole], arm[whole]


def _p_values(sizes: Sequence[float], d: Array, rules: Rules) -> tuple[float, float, float]:
    """Of "no slope", of "from the first rung to the last it changes by delta or more", and of "it
    goes one way"."""
    if len(d) < FEWEST_SEEDS:
        return 1.0, 1.0, 1.0
    slopes = trend.slopes(sizes, d)
    span = float(np.log2(sizes[-1] / sizes[0]))
    p_slope = trend.estimate(slopes, rules.alpha).p
    return p_slope, paired.tost_p(slopes * span, rules.delta), trend.both_ways_p(d, rules.delta)


UNKNOWN = Estimate(float("nan"), -float("inf"), float("inf"), 1.0)


def _trend(
    sizes: Sequence[float],
    name: str,
    control_name: str,
    asked: int,
    both: tuple[Array, Array],
    p: Sequence[float],
    rules: Rules,
    target: float | None,
    resamples: int,
) -> Trend:
    control, arm = both
    d = arm - control
    enough = len(d) >= FEWEST_SEEDS

    def of(values: Array) -> Estimate:
        return trend.estimate(values, rules.alpha)

    ends = [of(trend.heights(sizes, d, at)) if enough else UNKNOWN for at in (sizes[0], sizes[-1])]
    slope = of(trend.slopes(sizes, d)) if enough else UNKNOWN
    middle = of(d.mean(axis=1)) if enough else UNKNOWN
    ahead = behind = found = None
    if enough and len(sizes) >= FEWEST_FOR_A_FORECAST:
        how = {"alpha": rules.alpha, "resamples": resamples}
        behind, found = forecasts.left_out(sizes, control, arm, **how), of(d[:, -1])
        ahead = forecasts.forecast(sizes, control, arm, target, **how) if target else None  # type: ignore[arg-type]
    return Trend(
        arm=name,
        control=control_name,
        seeds=len(d),
        asked=asked,
        slope=slope,
        first=ends[0],
        last=ends[1],
        middle=middle,
        bend=trend.bend(sizes, d, rules.alpha) if enough else None,
        p_slope=p[0],
        p_same=p[1],
        p_bends=p[2],
        means=[float(m) for m in d.mean(axis=0)] if len(d) else [],
        verdict=_verdict(slope, ends, middle, p, rules),
        forecast=ahead,
        left_out=behind,
        left_out_found=found,
    )


def _verdict(
    slope: Estimate, ends: list[Estimate], middle: Estimate, p: Sequence[float], rules: Rules
) -> str:
    p_slope, p_same, p_bends = p
    if p_bends < rules.alpha:
        return BENDS
    if p_same < rules.alpha:
        return HOLDS
    if not p_slope < rules.alpha:
        return INCONCLUSIVE
    first, last = ends
    if first.shown and last.shown and first.mean * last.mean < 0:
        return TURNS
    if not middle.shown:
        return MOVES
    return GROWS if slope.mean * middle.mean > 0 else SHRINKS


def fit_laws(
    sizes: Sequence[float],
    outcomes: Mapping[str, Array],
    rules: Rules,
    *,
    resamples: int = RESAMPLES,
) -> list[Fit]:
    """The law of each arm, from the seeds it finished on every rung; none below four rungs."""
    if len(sizes) < FEWEST_FOR_A_FORECAST:
        return []
    whole = {arm: trend.complete_seeds(y) for arm, y in outcomes.items()}
    return [_fit(arm, sizes, y, rules, resamples) for arm, y in whole.items() if len(y) > 1]


def _fit(arm: str, sizes: Sequence[float], y: Array, rules: Rules, resamples: int) -> Fit:
    law = power_law.fit(sizes, y.mean(axis=0))
    again = power_law.fit(sizes, power_law.resampled_means(y, resamples=resamples))
    pairs = {
        "floor": (law.floor, again.floor),
        "amplitude": (law.amplitude, again.amplitude),
        "exponent": (law.exponent, again.exponent),
    }
    found = {
        name: _with_interval(float(one[0]), many, len(y), rules)
        for name, (one, many) in pairs.items()
    }
    along = np.geomspace(sizes[0], sizes[-1], 40)
    curve = [(float(n), float(v)) for n, v in zip(along, law.at(along)[0], strict=True)]
    return Fit(arm, **found, curve=curve)


def _with_interval(
    found: float, resampled: Array, seeds: int, rules: Rules
) -> tuple[float, float, float]:
    """E, A and α are none of them below 0, so neither is an interval."""
    interval = power_law.bootstrap_interval(found, resampled, seeds, rules.alpha)
    return found, max(0.0, interval.low), interval.high


# -- in words -------------------------------------------------------------------------------------


def words_of(t: Trend, names: tuple[str, str], rules: Rules) -> str:
    """The verdict in a sentence. names: of the first and the last rung."""
    if t.seeds < FEWEST_SEEDS:
        return f"inconclusive: {t.seeds} of {t.asked} seeds finished on every rung, two are needed"
    first, last = names
    ends = f"{t.first.mean:+.4f} at {first}, {t.last.mean:+.4f} at {last}"
    per = f"{numbers(t.slope)} per doubling"
    if t.verdict == BENDS:
        per = "no line describes it"
    said = {
        BENDS: f"the difference does not go one way from {first} to {last}: {_course(t)}",
        HOLDS: f"the difference holds, within {rules.delta:g} from {first} to {last} ({ends})",
        TURNS: f"the difference turns: {ends}",
        GROWS: f"the {_side(t, rules)} grows with size: {ends}",
        SHRINKS: f"the {_side(t, rules)} shrinks with size: {ends}",
        MOVES: f"the difference moves {_way(t, rules)}; its side of 0 is inconclusive: {ends}",
        INCONCLUSIVE: f"inconclusive whether the difference changes with size or holds: {ends}",
    }
    lost = f"; {t.seeds} of {t.asked} seeds finished on every rung" if t.seeds < t.asked else ""
    off = t.bend is not None and t.bend.shown and t.verdict != BENDS
    bent = "; it does not lie on a line over log size" if off else ""
    return f"{said[t.verdict]}; {per}{bent}{lost}"


def forecast_words(t: Trend, target: str, largest: str) -> list[str]:
    """The forecast, and the check of it."""
    if t.left_out is None or t.left_out_found is None:
        return []
    fits = "where the smaller rungs said" if t.check_holds else "NOT where the smaller rungs said"
    lines = [
        f"check: without {largest} the forecast for it is {_span(t.left_out)}, measured "
        f"{numbers(t.left_out_found)}: {fits}"
    ]
    if t.forecast:
        doubt = "" if t.check_holds else " (its check failed: do not lean on it)"
        if t.verdict == BENDS and t.check_holds:
            doubt = " (the difference bends: do not lean on it)"
        lines.insert(0, f"forecast for {target}: {_span(t.forecast)}{doubt}")
    return lines


def numbers(e: Estimate) -> str:
    return f"{e.mean:+.4f} [{e.low:+.4f}, {e.high:+.4f}]"


def _span(f: Forecast) -> str:
    return f"{f.mean:+.4f} [{f.low:+.4f}, {f.high:+.4f}]"


def _course(t: Trend) -> str:
    return ", ".join(f"{m:+.4f}" for m in t.means)


def _side(t: Trend, rules: Rules) -> str:
    good = (t.middle.mean > 0) == rules.higher_is_better
    return f"advantage over {t.control}" if good else f"disadvantage against {t.control}"


def _way(t: Trend, rules: Rules) -> str:
    good = (t.slope.mean > 0) == rules.higher_is_better
    return f"in favour of {t.arm if good else t.control}"
