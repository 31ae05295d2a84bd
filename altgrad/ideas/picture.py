"""The picture everyone knows from such loops, with what is missing there.

Validation loss against the number of tries: every try is a point with its spread, the provisional
champion a step line, the reckoned champion a bar with its interval; findings are named, barnacles
struck through. As `ideas.png`, in the terminal, and as a page to point at (`report.html`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from altgrad.ideas.state import State
from altgrad.ideas.table import head, last_words_of_reckonings
from altgrad.runs.plots import COLOURS

COLOUR = {
    "finding": COLOURS[2],
    "nominated": COLOURS[0],
    "parked": COLOURS[4],
    "barnacle": "#999999",
    "kept": COLOURS[5],
    "no gain": "#bbbbbb",
    "lost": COLOURS[1],
    "crashed": COLOURS[1],
    "refused": COLOURS[1],
}
WIDTH, HEIGHT = 72, 14
LEGEND = "F finding, N nominated, b barnacle, p parked, · no gain, x no loss, - reckoned champion"
MARKS = {"finding": "F", "nominated": "N", "kept": "k", "barnacle": "b", "parked": "p"}


@dataclass(frozen=True)
class Point:
    """One try. loss: mean of its runs; nan where it had none. spread: standard error of it."""

    x: int
    id: str
    name: str
    verdict: str
    loss: float
    spread: float
    champion: float


@dataclass(frozen=True)
class Reckoned:
    """The champion after a reckoning, from the try `x` on."""

    x: int
    loss: float
    low: float
    high: float


def points(state: State) -> list[Point]:
    """Every try, with what the last reckoning that weighed it said."""
    said = last_words_of_reckonings(state)
    tries = [e for e in state.entries if e["kind"] == "try"]
    return [_point(x, e, said.get(e["id"], e)["verdict"]) for x, e in enumerate(tries, 1)]


def _point(x: int, entry: dict[str, Any], verdict: str) -> Point:
    losses = [o["outcome"] for o in entry.get("outcomes", {}).values()]
    gains = entry.get("gains", [])
    whole = [(a, g) for a, g in zip(losses, gains, strict=False) if a is not None and g is not None]
    if not whole:
        return Point(x, entry["id"], entry["name"], verdict, math.nan, 0.0, math.nan)
    loss = sum(a for a, _ in whole) / len(whole)
    champion = sum(a + g for a, g in whole) / len(whole)
    spread = entry["spread"] / math.sqrt(len(whole))
    return Point(x, entry["id"], entry["name"], verdict, loss, spread, champion)


def reckoned(state: State) -> list[Reckoned]:
    """The champion after each reckoning, with the interval of its gain on the baseline."""
    found, x = [], 0
    for entry in state.entries:
        x += entry["kind"] == "try"
        if entry["kind"] != "reckon" or entry["headline"]["gain"] is None:
            continue
        base = [v for v in entry["outcomes"]["baseline"].values() if v is not None]
        mean = sum(base) / len(base)
        gain, low, high = (entry["headline"][k] for k in ("gain", "low", "high"))
        low, high = (gain if v is None else v for v in (low, high))
        found.append(Reckoned(x, mean - gain, mean - high, mean - low))
    return found


def draw(state: State, path: Path) -> Path:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11, 5.5), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    made = points(state)
    whole = [p for p in made if math.isfinite(p.loss)]
    low, high = _window(whole, reckoned(state))
    for verdict in dict.fromkeys(p.verdict for p in made):
        _draw_verdict(axes, [p for p in made if p.verdict == verdict], verdict, low, high)
    steps = [(p.x, p.champion) for p in whole]
    if steps:
        axes.step(*zip(*steps, strict=True), where="post", color="black", lw=1, alpha=0.6)
        axes.plot([], [], color="black", lw=1, alpha=0.6, label="provisional champion")
    _draw_reckoned(axes, reckoned(state), made[-1].x if made else 0)
    _name_changes(axes, made)
    axes.set_ylim(low, high)
    axes.set_xlabel("tries")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(state.terms.primary)
    axes.set_title("\n".join(head(state)[:3]), fontsize=8, loc="left")
    axes.legend(fontsize=7, ncols=2, loc="upper right")
    figure.savefig(path)
    return path


def _window(whole: Sequence[Point], bars: Sequence[Reckoned]) -> tuple[float, float]:
    """Where nearly everything lies: one idea that ruins the loss must not flatten the others."""
    near = sorted([p.loss for p in whole] + [p.champion for p in whole])
    if not near:
        return 0.0, 1.0
    inside = near[: max(2, int(0.92 * len(near)))] + [v for b in bars for v in (b.low, b.high)]
    room = 0.08 * (max(inside) - min(inside)) or 0.01
    return min(inside) - 2 * room, max(inside) + 3 * room


def _draw_verdict(axes: Any, found: Sequence[Point], verdict: str, low: float, high: float) -> None:
    """Above the window, or without any loss, a try is a cross at the top."""
    inside = [p for p in found if low <= p.loss <= high]
    colour = COLOUR.get(verdict, "black")
    rest = [p.x for p in found if p not in inside]
    label = f"{verdict} ({len(found)})"
    if inside:
        x, y, e = zip(*((p.x, p.loss, p.spread) for p in inside), strict=True)
        axes.errorbar(x, y, yerr=e, fmt="o", ms=5, lw=1, color=colour, label=label)
    if rest:
        at = high - 0.015 * (high - low)
        mark = "x" if verdict in ("lost", "crashed", "refused") else "^"
        axes.plot(rest, [at] * len(rest), mark, ms=5, color=colour, label=None if inside else label)


def _draw_reckoned(axes: Any, bars: Sequence[Reckoned], end: int) -> None:
    ends = [*(b.x for b in bars[1:]), end + 1][: len(bars)]
    for n, (bar, until) in enumerate(zip(bars, ends, strict=True)):
        at = [bar.x + 0.5, max(until, bar.x + 1) + 0.5]
        label = "reckoned champion, 95 %" if n == 0 else None
        axes.fill_between(at, bar.low, bar.high, color=COLOURS[2], alpha=0.25, label=label)
        axes.plot(at, [bar.loss] * 2, color=COLOURS[2], lw=2.5)


def _name_changes(axes: Any, made: Sequence[Point]) -> None:
    for point in made:
        if point.verdict in ("finding", "barnacle", "nominated", "kept"):
            struck = point.verdict == "barnacle"
            name = "".join(f"{c}\u0336" for c in point.name[:32]) if struck else point.name[:32]
            axes.annotate(
                name,
                (point.x, point.loss),
                xytext=(3, -9),
                textcoords="offset points",
                rotation=-25,
                fontsize=7,
                color=COLOUR[point.verdict],
                annotation_clip=True,
            )


# -- the terminal ---------------------------------------------------------------------------------


def chart_lines(state: State) -> list[str]:
    """The same in letters (`LEGEND`)."""
    made = points(state)
    whole = [p for p in made if math.isfinite(p.loss)]
    if not whole:
        return []
    bars = reckoned(state)
    low, high = _window(whole, bars)
    grid = [[" "] * WIDTH for _ in range(HEIGHT)]
    columns = [min(WIDTH - 1, int((p.x - 1) * WIDTH / max(len(made), 1))) for p in made]
    for bar in bars:
        start = min(WIDTH - 1, int(bar.x * WIDTH / max(len(made), 1)))
        row = grid[_row(bar.loss, low, high)]
        row[start:] = ["-"] * (WIDTH - start)
    for point, column in zip(made, columns, strict=True):
        mark = MARKS.get(point.verdict, "·") if math.isfinite(point.loss) else "x"
        grid[_row(point.loss, low, high)][column] = mark
    labels = [f"{high:.4f}", *[""] * (HEIGHT - 2), f"{low:.4f}"]
    drawn = [f"{a:>9} |{''.join(r)}" for a, r in zip(labels, grid, strict=True)]
    return [*drawn, " " * 10 + "+" + "-" * WIDTH, LEGEND]


def _row(loss: float, low: float, high: float) -> int:
    if not math.isfinite(loss):
        return 0
    return min(HEIGHT - 1, max(0, round((high - loss) / (high - low) * (HEIGHT - 1))))
