"""Loss curves of runs: a PNG, and a small one for the terminal."""

from collections.abc import Sequence
from pathlib import Path

from altgrad.training.line_log import read_metrics
from altgrad.training.printable import printable
from altgrad.training.run_folder import RunFolder

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette: told apart with any colour vision (jfly.uni-koeln.de/color)."""

Curve = tuple[list[int], list[float]]


def read_curve(run: Path, name: str) -> Curve:
    """Steps and values of one metric."""
    lines = [m for m in read_metrics(RunFolder(run).metrics) if name in m]
    return [m["step"] for m in lines], [m[name] for m in lines]


def smooth(values: Sequence[float], weight: float = 0.9) -> list[float]:
    """Exponential moving average, corrected for its start."""
    average, total, result = 0.0, 0.0, []
    for value in values:
        average = weight * average + (1 - weight) * value
        total = weight * total + (1 - weight)
        result.append(average / total)
    return result


def plot_runs(runs: Sequence[Path], path: Path) -> Path:
    """Training loss (thin, and smoothed) and validation loss (dots) of each run, as a PNG.

    Raises:
        ValueError: none of the runs has logged a loss.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    drawn = [_draw_run(axes, run, COLOURS[i % len(COLOURS)]) for i, run in enumerate(runs)]
    if not any(drawn):
        raise ValueError(f"nothing to plot: no metrics in {', '.join(map(str, runs))}.")
    axes.set(xlabel="step", ylabel="loss (nats per token)")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def label_of(run: Path) -> str:
    """The run's name in a legend: a `$` starts no formula, an underscore in front hides nothing."""
    name = printable(run.name).replace("$", r"\$")
    return f" {name}" if name.startswith("_") else name


def _draw_run(axes, run: Path, colour: str) -> bool:
    steps, losses = read_curve(run, "loss")
    if not steps:
        return False
    axes.plot(steps, losses, color=colour, alpha=0.25, linewidth=0.8)
    axes.plot(steps, smooth(losses), color=colour, linewidth=1.6, label=f"{label_of(run)} training")
    val_steps, val_losses = read_curve(run, "val_loss")
    if val_steps:
        label = f"{label_of(run)} validation, best {min(val_losses):.4f}"
        axes.plot(val_steps, val_losses, "o--", color=colour, markersize=4, label=label)
    low = min([*val_losses, *losses])
    axes.set_ylim(bottom=0.95 * low if len(axes.lines) <= 3 else None)
    return True


def terminal_plot(run: Path, *, width: int = 76, height: int = 14) -> str:
    """The same for a terminal, as text; empty if nothing was logged."""
    import plotext

    steps, losses = read_curve(run, "loss")
    val_steps, val_losses = read_curve(run, "val_loss")
    if len(steps) < 2:
        return ""
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(width, height)
    plotext.plot(steps, smooth(losses), label="training loss", marker="braille")
    if val_steps:
        plotext.plot(val_steps, val_losses, label="validation loss", marker="o")
    plotext.xlabel("step")
    return plotext.build()
