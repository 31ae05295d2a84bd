"""Number formats as pictures."""

from __future__ import annotations

from pathlib import Path

from altgrad.quantization.formats import Format

_COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444", "#a6761d"]


def plot_formats(names: list[str], path: str | Path) -> Path:
    """Draw the formats on a number line and as relative spacing over magnitude; write a PNG.

    Raises `ValueError` for an unknown name and for formats too wide to draw (over 8 bits on the
    number line).
    """
    from matplotlib.figure import Figure

    formats = [Format.named(name) for name in names]
    wide = [f.name for f in formats if f.bits > 10]
    if not formats or wide:
        raise ValueError(f"a plot takes formats of up to 10 bits; got {wide or 'none at all'}")
    figure = Figure(figsize=(10, 3.6 + 0.42 * len(formats)), layout="constrained")
    line, spacing = figure.subplots(2, 1, height_ratios=[0.42 * len(formats) + 0.5, 3.0])
    _draw_number_line(line, formats)
    _draw_relative_spacing(spacing, formats)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=130)
    return target


def _draw_number_line(axes, formats: list[Format]) -> None:
    """Every number, each format scaled so that its largest is 1, as per-tensor scaling does."""
    for row, f in enumerate(formats):
        values = [value / f.max for value in f.values()]
        axes.plot(values, [row] * len(values), "|", color=_colour(row), ms=15, mew=0.8)
    axes.set_yticks(range(len(formats)), [f.name for f in formats])
    axes.set_ylim(len(formats) - 0.4, -0.6)
    axes.set_xlim(-1.02, 1.02)
    axes.set_xlabel("number / largest number of the format")
    axes.set_title("Where the numbers are", loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_relative_spacing(axes, formats: list[Format]) -> None:
    """Spacing divided by magnitude from the smallest number to the largest."""
    for row, f in enumerate(formats):
        positive = [value for value in f.values() if value > 0]
        relative = [f.ulp(value) / value for value in positive]
        style = {"color": _colour(row), "lw": 1.6, "ls": "-" if row < 8 else "--"}
        axes.step(positive, relative, where="post", label=f.name, alpha=0.9, **style)
        axes.plot(positive[-1:], relative[-1:], "o", color=_colour(row), ms=4)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xlabel("magnitude")
    axes.set_ylabel("spacing / magnitude")
    axes.set_title("How finely they divide it (a dot ends each range)", loc="left", fontsize=11)
    axes.legend(ncol=4, fontsize=8, frameon=False)
    axes.grid(alpha=0.25, lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _colour(row: int) -> str:
    return _COLOURS[row % len(_COLOURS)]
