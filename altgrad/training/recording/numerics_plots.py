"""`altgrad plot --numerics RUN`: what low precision did to a run, as pictures.

`numerics_histograms.png`: where weights, inputs and gradients lie within their number format.
`numerics_over_time.png`: per layer and step, what rounding lost.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from altgrad.quantization.recipe import ROLES
from altgrad.runs import RunFolder, read_metrics
from altgrad.runs.layers import AGGREGATES, OVER_TIME, layer_table, short_name
from altgrad.runs.plots import COLOURS
from altgrad.training.recording.operands import Spread

TITLES = {"weight": "weight", "input": "input", "grad_output": "gradient of the output"}


def plot_numerics(run: Path) -> list[Path]:
    """Both pictures, into the run's `figures`; of a run that rounds nothing (a bf16 control with
    a shadow) the second alone: there is no number format to lie within.

    Raises:
        ValueError: there is nothing to draw: it has logged no counts and had no shadow.
    """
    from altgrad.training.loading import read_config

    settings = read_config(run)
    if settings.precision.simulate:
        return [*plot_histograms(run), plot_over_time(run)]
    if not settings.shadow.enabled and settings.diagnostics.every_steps is None:
        raise ValueError(
            f"{run} rounds nothing and had no shadow: --numerics has nothing to draw; train it "
            "with shadow.enabled=true or diagnostics.every_steps=1"
        )
    return [plot_over_time(run)]


# -- where the operands lie -----------------------------------------------------------------------


def plot_histograms(run: Path) -> list[Path]:
    """One picture for each set of formats that layers have in common."""
    groups: dict[tuple[str, ...], list[Spread]] = {}
    spreads = spreads_of(run)
    for layer in dict.fromkeys(s.layer for s in spreads):
        of_layer = [s for s in spreads if s.layer == layer]
        groups.setdefault(tuple(s.format.name for s in of_layer), []).extend(of_layer)
    paths = []
    for i, group in enumerate(groups.values()):
        suffix = f"_{i + 1}" if i else ""
        paths.append(RunFolder(run).figures / f"numerics_histograms{suffix}.png")
        _draw_histograms(group, paths[-1])
    return paths


def spreads_of(run: Path) -> list[Spread]:
    """Of the newest checkpoint and the first validation batch.

    Raises:
        ValueError: the run rounds nothing, or has no checkpoint or tokens any more.
    """
    from altgrad.quantization import Recipe, apply_recipe
    from altgrad.training.loading import (
        kept_vocabulary,
        pick_checkpoint,
        read_config,
        stored_network,
    )
    from altgrad.training.recording.operands import first_batch, operand_spreads
    from altgrad.training.token_hashes import tokens_again

    settings = read_config(run)
    model = stored_network(settings, pick_checkpoint(run, "latest"))
    recipe = replace(settings.precision, native=False)
    apply_recipe(model, Recipe.of(recipe), seed=settings.seed)
    block = settings.model.block_size
    vocabulary = kept_vocabulary(run)
    folder = tokens_again(run, settings.data, block_size=block, vocabulary=vocabulary)
    x, y = first_batch(folder, block_size=block, batch_size=settings.data.batch_size)
    return operand_spreads(model, x, y, compute=settings.precision.compute)


def _draw_histograms(spreads: Sequence[Spread], path: Path) -> None:
    from matplotlib.figure import Figure

    roles = [r for r in ROLES if any(s.role == r for s in spreads)]
    layers = list(dict.fromkeys(s.layer for s in spreads))
    tall = 0.9 + 0.2 * max(len(layers), 6)
    figure = Figure(figsize=(4.2 * len(roles) + 1.4, 2.6 + tall), dpi=130, layout="constrained")
    axes = figure.subplots(2, len(roles), squeeze=False, height_ratios=[2.6, tall])
    image: Any = None
    for column, role in enumerate(roles):
        own = [s for s in spreads if s.role == role]
        top, below = axes[0][column], axes[1][column]
        _draw_total(top, own, role)
        image = _draw_layers(below, own, [short_name(name) for name in layers], named=column == 0)
    figure.colorbar(image, ax=list(axes[1]), label="share of the layer", shrink=0.9)
    _save(figure, path)


def _draw_total(axes: Any, own: Sequence[Spread], role: str) -> None:
    """All layers together, each with the same weight."""
    f, lowest = own[0].format, own[0].lowest
    shares = [sum(column) / len(own) for column in zip(*(s.shares for s in own), strict=True)]
    octaves = range(lowest, lowest + len(shares))
    axes.bar(octaves, [100 * s for s in shares], width=1.0, align="edge", color=COLOURS[0])
    _draw_limits(axes, own[0], named=True)
    zero = 100 * sum(s.zero for s in own) / len(own)
    title = f"{TITLES[role]}, {f.name} (exact zeros: {zero:.2g} %)"
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_ylabel("% of the numbers per octave")
    axes.set_xlim(lowest, lowest + len(shares))
    axes.set_ylim(top=axes.get_ylim()[1] * 1.35)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_limits(axes: Any, spread: Spread, *, named: bool) -> None:
    """Below half the smallest number all is rounded to zero; above the largest it saturates."""
    f = spread.format
    limits = {
        "zero": math.log2(f.smallest_subnormal / 2),
        "subnormal": math.log2(f.smallest_normal),
        "largest": math.log2(f.max),
    }
    if f.smallest_normal <= f.smallest_subnormal:
        del limits["subnormal"]
    for name, at in limits.items():
        axes.axvline(at, color=COLOURS[1], lw=1.2, ls=":" if name == "subnormal" else "-")
        if named:
            text = {"zero": "to zero", "subnormal": "subnormal", "largest": "largest"}[name]
            axes.text(
                at - 0.2,
                0.98,
                text,
                rotation=90,
                ha="right",
                va="top",
                fontsize=7,
                color=COLOURS[1],
                transform=axes.get_xaxis_transform(),
            )


def _draw_layers(axes: Any, own: Sequence[Spread], names: list[str], *, named: bool) -> Any:
    from matplotlib.colors import LogNorm

    lowest, width = own[0].lowest, len(own[0].shares)
    image = axes.imshow(
        [[max(share, 1e-5) for share in s.shares] for s in own],
        aspect="auto",
        norm=LogNorm(1e-5, 1),
        cmap="viridis",
        extent=(lowest, lowest + width, len(own), 0),
        interpolation="nearest",
    )
    _draw_limits(axes, own[0], named=False)
    axes.set_yticks([i + 0.5 for i in range(len(own))], names if named else [], fontsize=7)
    axes.set_xlabel("log2 of magnitude / scale")
    return image


# -- what was lost over time ----------------------------------------------------------------------


def plot_over_time(run: Path) -> Path:
    """Heat maps, steps to the right and layers downwards, of what the run has logged.

    Raises:
        ValueError: nothing was logged per layer.
    """
    from matplotlib.figure import Figure

    lines = list(read_metrics(RunFolder(run).metrics))
    tables = {metric: _as_array(layer_table(lines, metric)) for metric in OVER_TIME}
    found = {metric: table for metric, table in tables.items() if table is not None}
    if not found:
        raise ValueError(f"{run} has logged no counts; set diagnostics.every_steps=1 in such a run")
    shown = {metric: table for metric, table in found.items() if _says_something(table[2])}
    rows = max(-(-len(shown) // 3), 1)
    most = max((len(table[0]) for table in shown.values()), default=4)
    size = (15, rows * (1.3 + 0.17 * most))
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    panels = figure.subplots(rows, 3, squeeze=False).flatten()
    for axes, (metric, table) in zip(panels, shown.items(), strict=False):
        _draw_over_time(figure, axes, OVER_TIME[metric], *table)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    if words := _in_words(found, lines):
        figure.supxlabel("\n".join(words), fontsize=9)
    path = RunFolder(run).figures / "numerics_over_time.png"
    _save(figure, path)
    return path


def _as_array(table: Any) -> tuple[list[str], list[int], Any] | None:
    import numpy as np

    return table and (*table[:2], np.array(table[2], float))


def _says_something(values: Any) -> bool:
    """Whether any number is there, finite, and not zero."""
    return any(value != 0 for value in values.flatten() if math.isfinite(value))


def _in_words(found: dict[str, Any], lines: list[dict[str, Any]]) -> list[str]:
    """What needs no picture, and what was left out."""
    kinds: dict[str, list[str]] = {}
    for metric, (_, _, values) in found.items():
        if not _says_something(values):
            kinds.setdefault(_only(values.flatten().tolist()), []).append(OVER_TIME[metric])
    words = [f"{kind} in all layers and steps: {'; '.join(named)}" for kind, named in kinds.items()]
    return words + _without_gradient(lines)


def _only(values: list[float]) -> str:
    """The one kind of value that is there."""
    known = {v for v in values if not math.isnan(v)}
    names = {0.0: "zero", math.inf: "infinite (no error)", -math.inf: "minus infinity (no signal)"}
    return " or ".join(names[v] for v in sorted(known)) or "without a value"


def _without_gradient(lines: list[dict[str, Any]]) -> list[str]:
    """Parameters that the comparison with the shadow left out, in a line."""
    compared = [line for line in lines if "grad_snr_db/total" in line]
    of = "grad_norm_l2/"
    names = dict.fromkeys(
        short_name(key.removeprefix(of))
        for line in compared
        for key in line
        if key.startswith(of) and key.removeprefix(of) not in AGGREGATES
        if f"grad_snr_db/{key.removeprefix(of)}" not in line
    )
    if not names:
        return []
    return [f"no gradient in FP32 but rounding, left out: {', '.join(names)}"]


def _draw_over_time(
    figure: Any, axes: Any, title: str, layers: list[str], steps: list[int], values: Any
) -> None:
    from matplotlib import colormaps

    axes.patch.set(facecolor="0.85", hatch="////", edgecolor="0.65")  # no value: a skipped step
    colours = colormaps["viridis"].with_extremes(over="white", under="black")
    finite = [v for v in values.flatten().tolist() if math.isfinite(v)]
    low, high = min(finite), max(finite)
    high = high if high > low else low + 1
    image = axes.pcolormesh(
        _edges(steps),
        range(len(layers) + 1),
        values.clip(low - 1, high + 1),  # infinities would be drawn like what is missing
        cmap=colours,
        vmin=low,
        vmax=high,
    )
    axes.invert_yaxis()
    for infinity, colour in ((math.inf, "white"), (-math.inf, "black")):
        title += f" [{colour}: {infinity}]" if (values == infinity).any() else ""
    axes.set_yticks(
        [i + 0.5 for i in range(len(layers))], [short_name(n) for n in layers], fontsize=6
    )
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xlabel("step", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    figure.colorbar(image, ax=axes, pad=0.01).ax.tick_params(labelsize=7)


def _edges(steps: list[int]) -> list[float]:
    """Where one step's column ends and the next one's begins."""
    middles = [(a + b) / 2 for a, b in pairwise(steps)]
    first, last = (middles[0], middles[-1]) if middles else (steps[0] + 0.5, steps[0] - 0.5)
    return [2 * steps[0] - first, *middles, 2 * steps[-1] - last]


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
