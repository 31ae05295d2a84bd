"""Loss curves of runs: a PNG, and a small one for the terminal."""

import math
from collections.abc import Sequence
from pathlib import Path

from altgrad.runs.folder import RunFolder
from altgrad.runs.lines import read_metrics
from altgrad.runs.metric_table import metric_names, pick
from altgrad.runs.printable import printable
from altgrad.runs.reading import read_yaml

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette: told apart with any colour vision (jfly.uni-koeln.de/color)."""

GREY = "#777777"
"""Of a control."""
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 4], [10, 2], [3, 1])
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
"""With a colour each, so that neither colour vision nor a printer is needed to tell arms apart. All
have a body: a line lies hidden in the interval that it stands on."""

Curve = tuple[list[int], list[float]]


def read_curve(run: Path, name: str) -> Curve:
    """Steps and values of one metric."""
    lines = [m for m in read_metrics(RunFolder(run).metrics) if name in m]
    return [m["step"] for m in lines], [m[name] for m in lines]


def judged_by(run: Path) -> str:
    """What a run is judged by: `val_loss`, or what the metric of a program is called."""
    settings = read_yaml(RunFolder(run).config) if RunFolder(run).config.is_file() else {}
    return str(settings.get("name", "val_loss")) if "program" in settings else "val_loss"


def smooth(values: Sequence[float], *, share: int = 40) -> list[float]:
    """Without noise and without lag: at every point the line of least squares through its
    neighbours, a fortieth of the curve (or another `share`) on either side, fewer near the start,
    where it is steep.

    What is not finite is no neighbour, and has no value itself (NaN).
    """
    import numpy as np

    y = np.array(values, float)
    at, there = np.arange(len(y)), np.isfinite(y)
    half = np.minimum(len(y) // share, at // 4)
    first, last = at - half, np.minimum(at + half + 1, len(y))
    kept = np.where(there, y, 0.0)
    columns = [there, there * at, there * at**2.0, kept, kept * at]
    sums = [np.concatenate([[0.0], np.cumsum(column)]) for column in columns]
    n, x, xx, total, xy = (column[last] - column[first] for column in sums)
    n = np.maximum(n, 1)
    spread = xx - x * x / n
    slope = np.where(spread > 0.25, (xy - x * total / n) / np.maximum(spread, 0.25), 0.0)
    return np.where(there, total / n + slope * (at - x / n), np.nan).tolist()


def plot_runs(runs: Sequence[Path], path: Path) -> Path:
    """Training loss (thin, and smoothed) and validation loss (dots) of each run, as a PNG.

    Raises:
        ValueError: none of the runs has logged a finite loss.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    drawn = [_draw_run(axes, run, COLOURS[i % len(COLOURS)]) for i, run in enumerate(runs)]
    losses = [loss for run in drawn for loss in run]
    if not losses:
        raise ValueError(f"nothing to plot: no finite loss in {', '.join(map(str, runs))}.")
    if min(losses) > 0:
        axes.set_ylim(bottom=0.95 * min(losses))
    names = {judged_by(run) for run in runs}
    label = "loss (nats per token)" if names == {"val_loss"} else ", ".join(sorted(names))
    axes.set(xlabel="step", ylabel=label)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def plot_metrics(runs: Sequence[Path], patterns: Sequence[str], path: Path) -> Path:
    """Any metrics, by name or pattern: a panel for each kind (`sqnr_db/weight`), as a PNG.

    Raises:
        ValueError: a pattern that fits nothing, or nothing finite.
    """
    from matplotlib.figure import Figure

    names = pick(patterns, metric_names(runs))
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(name.rpartition("/")[0] or name, []).append(name)
    rows = -(-len(kinds) // 2)
    size = (8 if len(kinds) == 1 else 14, max(4.5, 3.6 * rows))
    figure = Figure(figsize=size, dpi=130, layout="constrained")
    panels = figure.subplots(rows, min(len(kinds), 2), squeeze=False).flatten()
    drawn = [_draw_kind(axes, runs, kinds[k], k) for axes, k in zip(panels, kinds, strict=False)]
    if not any(drawn):
        raise ValueError(f"nothing to plot: no finite value of {', '.join(patterns)}.")
    for axes in panels[len(kinds) :]:
        axes.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


LEGEND = 14
"""Lines that a legend can still tell apart."""


def _draw_kind(axes, runs: Sequence[Path], names: list[str], kind: str) -> int:
    """One metric of several runs by colour, several metrics by shade and the runs by dashes;
    returns how many finite values there were."""
    from matplotlib import colormaps

    count, shades = 0, colormaps["viridis"]
    for i, run in enumerate(runs):
        for j, name in enumerate(names):
            steps, values = _gaps(read_curve(run, name))
            colour = COLOURS[i % len(COLOURS)] if len(names) == 1 else shades(j / len(names))
            item = name.removeprefix(f"{kind}/") if len(names) > 1 else ""
            label = " ".join(filter(None, [label_of(run) if len(runs) > 1 else "", item]))
            dots = "o-" if len(steps) < 20 else "-"
            style = dots if len(names) == 1 else dots.replace("-", ("-", "--", ":", "-.")[i % 4])
            how = {"color": colour, "label": (label or label_of(run)) + _not_finite(values)}
            axes.plot(steps, values, style, markersize=3, linewidth=1.2, **how)
            count += len(_finite(values))
    axes.set_title(kind, loc="left", fontsize=10)
    axes.set_xlabel("step")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if len(runs) * len(names) <= LEGEND:
        axes.legend(frameon=False, fontsize=7)
    else:
        axes.text(
            0.99,
            0.98,
            f"{len(runs) * len(names)} curves",
            transform=axes.transAxes,
            ha="right",
            va="top",
            fontsize=8,
        )
    return count


def label_of(run: Path) -> str:
    """The run's name in a legend: a `$` starts no formula, an underscore in front hides nothing."""
    name = printable(run.name).replace("$", r"\$")
    return f" {name}" if name.startswith("_") else name


def _draw_run(axes, run: Path, colour: str) -> list[float]:
    """The finite losses that were drawn."""
    steps, losses = _gaps(read_curve(run, "loss"))
    name = judged_by(run)
    val_steps, val_losses = _gaps(read_curve(run, name))
    label = f"{label_of(run)} training{_not_finite(losses)}"
    if steps or name == "val_loss":
        axes.plot(steps, losses, color=colour, alpha=0.25, linewidth=0.8)
        axes.plot(steps, smooth(losses), color=colour, linewidth=1.6, label=label)
    known = _finite(val_losses)
    if val_steps:
        best = f", best {min(known):.4f}" if known and name == "val_loss" else ""
        said = "validation" if name == "val_loss" else name
        label = f"{label_of(run)} {said}{best}{_not_finite(val_losses)}"
        axes.plot(val_steps, val_losses, "o--", color=colour, markersize=4, label=label)
    return _finite(losses) + known


def _gaps(curve: Curve) -> Curve:
    """What has no finite value becomes NaN, which is drawn as a gap."""
    return curve[0], [v if math.isfinite(v) else math.nan for v in curve[1]]


def _finite(values: Sequence[float]) -> list[float]:
    return [v for v in values if math.isfinite(v)]


def _not_finite(values: Sequence[float]) -> str:
    missing = len(values) - len(_finite(values))
    return f" ({missing} not finite)" if missing else ""


def terminal_plot(run: Path, *, width: int = 76, height: int = 14) -> str:
    """The same for a terminal, as text; empty if nothing was logged."""
    import plotext

    steps, losses = _known(read_curve(run, "loss"))
    name = judged_by(run)
    val_steps, val_losses = _known(read_curve(run, name))
    if max(len(steps), len(val_steps)) < 2:
        return ""
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(width, height)
    if steps:
        plotext.plot(steps, smooth(losses), label="training loss", marker="braille")
    if val_steps:
        label = "validation loss" if name == "val_loss" else name
        plotext.plot(val_steps, val_losses, label=label, marker="o")
    plotext.xlabel("step")
    return plotext.build()


def _known(curve: Curve) -> Curve:
    points = [(step, value) for step, value in zip(*curve, strict=True) if math.isfinite(value)]
    return [step for step, _ in points], [value for _, value in points]
