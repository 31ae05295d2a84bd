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

from altgrad.ideas.labels import COLOUR, NAMED, name_changes
from altgrad.ideas.ledger import Entry
from altgrad.ideas.state import State
from altgrad.ideas.table import head, last_words_of_reckonings
from altgrad.runs.plots import COLOURS

WIDTH, HEIGHT = 72, 14
LEGEND = "F finding, N nominated, b barnacle, p parked, · no gain, x no loss, - reckoned champion"
MARKS = {"finding": "F", "nominated": "N", "kept": "k", "barnacle": "b", "parked": "p"}


@dataclass(frozen=True)
class Point:
    """One try. loss: its reign's champion less its paired gain; nan where it had no whole pair.
    spread: standard error of it. champion: the reign's, over all its seeds; nan = not run yet."""

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
    level = _champions(tries)
    return [
        _point(x, e, said.get(e["id"], e)["verdict"], level.get(e.get("reign", 0), math.nan))
        for x, e in enumerate(tries, 1)
    ]


def _champions(tries: Sequence[Entry]) -> dict[int, float]:
    """Reign -> the mean of its champion's runs. An idea is drawn by its gain on it: ideas ran on
    some of its seeds, and seeds differ by more than ideas do."""
    runs: dict[int, dict[str, float]] = {}
    for entry in tries:
        for seed, loss, gain in _pairs(entry):
            runs.setdefault(entry.get("reign", 0), {})[seed] = loss + gain
    return {reign: sum(row.values()) / len(row) for reign, row in runs.items()}


def _pairs(entry: Entry) -> list[tuple[str, float, float]]:
    """(seed, loss of the idea, its gain) of whole pairs."""
    rows = zip(entry.get("outcomes", {}).items(), entry.get("gains", []), strict=False)
    return [
        (s, o["outcome"], g) for (s, o), g in rows if o["outcome"] is not None and g is not None
    ]


def _point(x: int, entry: Entry, verdict: str, champion: float) -> Point:
    gains = [gain for _, _, gain in _pairs(entry)]
    if not gains:
        return Point(x, entry["id"], entry["name"], verdict, math.nan, 0.0, champion)
    loss = champion - sum(gains) / len(gains)
    spread = entry["spread"] / math.sqrt(len(gains))
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
    if whole:
        steps = [(p.x - 0.5, p.champion) for p in made] + [(made[-1].x + 0.5, made[-1].champion)]
        line: dict[str, Any] = {
            "color": "black",
            "lw": 1,
            "alpha": 0.6,
            "label": "provisional champion",
        }
        axes.step(*zip(*steps, strict=True), where="post", **line)
    _draw_reckoned(axes, reckoned(state), made[-1].x if made else 0)
    axes.set_ylim(low, high)
    axes.set_xlim(0, (made[-1].x if made else 0) + (4 if reckoned(state) else 1))
    axes.set_xlabel("tries")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(state.terms.primary)
    axes.set_title(_title(state), fontsize=8, loc="left")
    axes.legend(fontsize=7, ncols=5, loc="upper left", bbox_to_anchor=(0, -0.1), frameon=False)
    name_changes(figure, axes, [p for p in whole if p.verdict in NAMED and low <= p.loss <= high])
    figure.savefig(path)
    return path


def _title(state: State) -> str:
    told = [x for x in head(state) if x.startswith(("smallest gain", "champion"))]
    return "\n".join(x if len(x) < 175 else f"{x[:174]}…" for x in told)


def _window(whole: Sequence[Point], bars: Sequence[Reckoned]) -> tuple[float, float]:
    """Where nearly everything lies: one idea that ruins the loss must not flatten the others."""
    near = sorted([v for p in whole for v in (p.loss, p.champion) if math.isfinite(v)])
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
