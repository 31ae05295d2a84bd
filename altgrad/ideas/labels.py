"""Names beside the points of the picture: none over another, a barnacle's struck through."""

from collections.abc import Iterator, Sequence
from typing import Any

from altgrad.runs.plots import COLOURS

COLOUR = {
    "finding": COLOURS[2],
    "nominated": COLOURS[0],
    "parked": COLOURS[4],
    "barnacle": "#777777",
    "kept": COLOURS[5],
    "no gain": "#bbbbbb",
    "lost": COLOURS[1],
    "crashed": COLOURS[1],
    "refused": COLOURS[1],
}
"""Verdict -> its colour, everywhere."""

NAMED = ("finding", "kept", "nominated", "barnacle")
"""Verdicts whose tries are named, the most important first: it gets the best place."""

LONGEST = 34
DISTANCES = (9, 18, 30, 44, 60, 80, 105, 135)
"""Points from the mark at which a free place is looked for."""


def name_changes(figure: Any, axes: Any, named: Sequence[Any]) -> None:
    """Write each name at the nearest place where it covers neither a point nor another name; where
    there is none, its id alone. Call it when everything else is drawn.

    named: points with x, loss, id, name, verdict.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import PolyCollection

    FigureCanvasAgg(figure)  # measures texts
    figure.draw_without_rendering()  # now the axes lie where they will lie
    figure.set_layout_engine("none")
    taken = [_box_around(axes, x, y) for x, y in _marks(axes)]
    taken += [b.get_window_extent() for b in axes.collections if isinstance(b, PolyCollection)]
    for point in sorted(named, key=lambda p: (NAMED.index(p.verdict), p.x)):
        text = next(filter(None, (_place(axes, point, n, taken) for n in _names(point))), None)
        if text is not None and point.verdict == "barnacle":
            _strike(figure, text, COLOUR[point.verdict])


def _names(point: Any) -> list[str]:
    short = point.name if len(point.name) <= LONGEST else f"{point.name[: LONGEST - 1]}…"
    return [f"{point.id} {short}", point.id]


def _marks(axes: Any) -> Iterator[tuple[float, float]]:
    """Data coordinates of all marks but the champion's line."""
    for line in axes.get_lines():
        if line.get_linestyle() in ("None", "") and line.get_marker() not in ("None", "_", "|"):
            yield from zip(line.get_xdata(), line.get_ydata(), strict=True)


def _box_around(axes: Any, x: float, y: float) -> Any:
    from matplotlib.transforms import Bbox

    px, py = axes.transData.transform((x, y))
    return Bbox.from_extents(px - 5, py - 5, px + 5, py + 5)


def _place(axes: Any, point: Any, name: str, taken: list[Any]) -> Any:
    """The text at the first free place, its box among the taken ones; None if there is none."""
    text = axes.annotate(
        name,
        (point.x, point.loss),
        xytext=(0, 0),
        textcoords="offset points",
        fontsize=7,
        color=COLOUR[point.verdict],
        fontweight="bold" if point.verdict == "finding" else "normal",
        arrowprops={"arrowstyle": "-", "lw": 0.5, "color": COLOUR[point.verdict], "shrinkB": 3},
    )
    text.set_in_layout(False)
    for across, up, side, level in _places():
        text.set(position=(across, up), ha=side, va=level)
        box = _extent(text)
        inside = axes.bbox.contains(box.x0, box.y0) and axes.bbox.contains(box.x1, box.y1)
        if inside and not any(box.overlaps(other) for other in taken):
            taken.append(box)
            return text
    text.remove()
    return None


def _places() -> Iterator[tuple[float, float, str, str]]:
    """Offsets in points and how the text hangs there, the nearest first; of those below and to the
    left, where a falling line leaves room."""
    for far in DISTANCES:
        for across, side in ((-1, "right"), (1, "left"), (0, "center")):
            for up, level in ((-1, "top"), (1, "bottom")):
                yield across * far * 0.7, up * far * 0.7, side, level


def _extent(text: Any) -> Any:
    """The text alone, without its line."""
    from matplotlib.text import Text

    text.update_positions(text.get_figure().canvas.get_renderer())
    return Text.get_window_extent(text).padded(1.5)


def _strike(figure: Any, text: Any, colour: str) -> None:
    from matplotlib.lines import Line2D

    box = _extent(text).transformed(figure.transFigure.inverted())
    middle = (box.y0 + box.y1) / 2
    figure.add_artist(Line2D([box.x0, box.x1], [middle, middle], color=colour, lw=0.9))
