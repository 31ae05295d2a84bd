"""The pictures of both pages, from results/ alone, after collect.py and analysis.py.

python experiments/which_format/figures.py
"""

import csv
import math
from collections import defaultdict
from pathlib import Path

import analysis
import matplotlib
import numpy as np
from analysis import DELTA, RESULTS, Estimate, Row

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

FIGURES = Path(__file__).parents[2] / "docs" / "figures"
STORAGES = {
    "fp32": "FP32 weights:\nnothing is rounded",
    "fp16 copies": "FP32 masters, FP16\ncopies: next to nothing",
    "master": "FP32 masters,\nrounded copies",
    "kahan": "stored,\nKahan",
    "error_feedback": "stored,\nerror feedback",
    "stochastic": "stored,\nat random",
    "nearest": "stored,\nto nearest",
}
RATES = {
    "own": "embeddings and gains\nhave a rate of their own",
    "one": "one rate for everything",
}
FORMATS = ("e0m7", "e2m5", "e3m4", "e4m3", "e5m2")
SIZES = {("2 x 32", 150): "C0", ("2 x 64", 150): "C1", ("3 x 96", 150): "C2", ("2 x 32", 450): "C4"}
MARKS = {True: ("o", "third and fourth series"), False: ("s", "earlier, another processor")}
"""Whether a point is of the third or fourth series -> its mark and its words."""
COLOURS = {"adamw": "C7", "rule": "C3"}
NAMES = {"adamw": "AdamW", "rule": "the rule"}
SEEN = {
    "bit_stall_total": "share of updates lost",
    "arrived_rate_total": "what the rate was worth",
    "arrived_size_total": "length stored / wanted",
    "arrived_cosine_total": "cosine of stored and wanted",
    "upper_binades": "the rate's worth in the\ntop three binades",
    "effective_rank": "effective rank at the end",
}


def main() -> None:
    FIGURES.mkdir(exist_ok=True)
    rows = analysis.read_rows()
    gains = analysis.read_estimates(RESULTS / "gains.csv")
    save(answer(gains), "which-format-gain")
    save(over_sizes(gains), "which-format-sizes")
    save(gains_by_format(gains), "which-format-storages")
    save(mechanism(rows, read_numbers(RESULTS / "rates.csv")), "which-format-mechanism")
    save(over_mediators(read_numbers(RESULTS / "mediators.csv")), "which-format-mediators")


def save(figure: plt.Figure, name: str) -> None:
    path = FIGURES / f"{name}.png"
    figure.savefig(path, dpi=110, metadata={"Software": None})
    print(path)


def read_numbers(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# -- the answer: one rate for everything beside rates of their own --------------------------------

PLACES = {
    "fp32": "nothing rounded",
    "fp16 copies": "next to nothing rounded",
    "master": "FP32 masters, copies",
    "kahan": "Kahan",
    "error_feedback": "error feedback",
    "stochastic": "stochastic",
    "nearest": "to nearest",
}


def answer(gains: list[Estimate]) -> plt.Figure:
    """A line a cell. Left: the first series, as the gain is usually measured; right: the third and
    fourth."""
    one = [e for e in gains if e.rates == "one" and e.size == "2 x 32" and e.what == "gain"]
    own = [e for e in gains if e.processor == analysis.THIRD]
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 6.4), layout="constrained")
    _forest(left, {"": one})
    left.set_title("one rate for everything, tuned per arm", fontsize=9)
    steered = [e for e in own if e.operands == "weights"]
    apart = [e for e in own if e.operands == "matrices"]
    _forest(right, {"the tied table is steered, too": steered, "matrices alone": apart})
    right.set_title("rates of matrices and rest, searched per arm", fontsize=9)
    return figure


def _forest(axis: Axes, groups: dict[str, list[Estimate]]) -> None:
    axis.axvspan(-DELTA, DELTA, color="0.92", zorder=0)
    axis.axvline(0, color="0.4", lw=0.8)
    ticks: list[str] = []
    for title, found in groups.items():
        if title and found:
            ticks.append(title.upper())
        for e in sorted(found, key=_as_listed):
            ends = [[e.mean - e.low], [e.high - e.mean]]
            fill = "C0" if e.what == "gain" else "white"
            axis.errorbar(e.mean, len(ticks), xerr=ends, fmt="o", ms=5, capsize=2, color="C0",
                          mfc=fill)  # fmt: skip
            ticks.append(_cell(e))
    axis.set_yticks(range(len(ticks)), ticks, fontsize=8)
    axis.set_ylim(len(ticks) - 0.4, -0.6)
    axis.locator_params(axis="x", nbins=5)
    axis.set_xlabel("gain in nats; grey: too small to matter", fontsize=8)


def _as_listed(e: Estimate) -> tuple:
    return e.size, e.steps, list(PLACES).index(e.storage), e.what, e.format


def _cell(e: Estimate) -> str:
    size = "" if (e.size, e.steps) == ("2 x 32", 150) else f", {e.size}, {e.steps} steps"
    placebo = "" if e.what == "gain" else f", placebo: {e.what.removeprefix('gain of ')}"
    return f"{e.format.upper()}, {PLACES[e.storage]}{size}{placebo} ({e.seeds} seeds)"


# -- gain over size -------------------------------------------------------------------------------

LADDERS = {
    ("nearest", "weights"): "stored to nearest",
    ("nearest", "matrices"): "stored to nearest, table apart",
    ("fp32", "weights"): "FP32, nothing rounded",
}


def over_sizes(gains: list[Estimate]) -> plt.Figure:
    """E3M4 after 150 steps, each arm at the rates searched for it; a line a kind of weights."""
    own = [e for e in gains if e.processor == analysis.THIRD and e.what == "gain"]
    own = [e for e in own if (e.format, e.steps) == ("e3m4", 150)]
    sizes = sorted({e.size for e in own})
    figure, axis = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    axis.axhspan(-DELTA, DELTA, color="0.92", zorder=0)
    axis.axhline(0, color="0.4", lw=0.8)
    for i, (kind, words) in enumerate(LADDERS.items()):
        found = sorted((e for e in own if (e.storage, e.operands) == kind), key=lambda e: e.size)
        x = [math.log2(int(e.size.split(" x ")[1])) + 0.03 * (i - 1) for e in found]
        mean = np.array([e.mean for e in found])
        ends = np.array([[e.mean - e.low, e.high - e.mean] for e in found]).T
        axis.errorbar(x, mean, ends, fmt="o-", ms=5, lw=1, capsize=3, color=f"C{i}", label=words)
    axis.set_xticks([math.log2(int(s.split(" x ")[1])) for s in sizes], sizes)
    axis.set_xlabel("layers x width (by the logarithm of the width)")
    axis.set_ylabel("gain of the rule, nats")
    axis.legend(fontsize=8, loc="upper left")
    return figure


# -- gain by format, per storage ------------------------------------------------------------------


def gains_by_format(gains: list[Estimate]) -> plt.Figure:
    """A row per way to set rates, a column per storage."""
    shown = [e for e in gains if e.what == "gain" and e.operands == "weights"]
    there = [s for s in STORAGES if any(e.storage == s for e in shown)]
    figure, axes = plt.subplots(
        2, len(there), sharex=True, sharey="row", squeeze=False, layout="constrained",
        figsize=(1.75 * len(there) + 1.4, 6.2),
    )  # fmt: skip
    for row, (rates, words) in zip(axes, RATES.items(), strict=True):
        row[0].set_ylabel(f"{words}\ngain, nats (above 0: the rule helps)", fontsize=8)
        for axis, storage in zip(row, there, strict=True):
            _gains_in(axis, [e for e in shown if (e.storage, e.rates) == (storage, rates)])
    for axis, storage in zip(axes[0], there, strict=True):
        axis.set_title(STORAGES[storage], fontsize=9)
    known = {
        label: handle
        for axis in axes.flat
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(known.values(), known, loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _gains_in(axis: Axes, found: list[Estimate]) -> None:
    axis.axhline(0, color="0.4", lw=0.8)
    axis.axhspan(-DELTA, DELTA, color="0.92", zorder=0)
    if not found:
        axis.text(0.5, 0.5, "not run", transform=axis.transAxes, ha="center", color="0.5")
    for i, (size, steps) in enumerate(SIZES):
        for third in MARKS:
            own = [e for e in found if (e.size, e.steps) == (size, steps)]
            own = [e for e in own if (e.processor == analysis.THIRD) == third]
            _points(axis, own, 0.16 * (i - 1) + (0 if third else 0.08))
    axis.set_xticks(range(len(FORMATS)), [f.upper() for f in FORMATS], rotation=60, fontsize=8)
    axis.set_xlim(-0.6, len(FORMATS) - 0.4)


def _points(axis: Axes, own: list[Estimate], shift: float) -> None:
    """Of one size, length and series: hollow where an earlier one."""
    if not own:
        return
    mark, words = MARKS[own[0].processor == analysis.THIRD]
    colour = SIZES[own[0].size, own[0].steps]
    x = [FORMATS.index(e.format) + shift for e in own]
    mean = np.array([e.mean for e in own])
    ends = np.array([[e.mean - e.low, e.high - e.mean] for e in own]).T
    axis.errorbar(
        x, mean, ends, fmt=mark, ms=4, color=colour, capsize=2, elinewidth=1,
        mfc=colour if mark == "o" else "white",
        label=f"layers x width {own[0].size}, {own[0].steps} steps, {words}",
    )  # fmt: skip


# -- mechanism ------------------------------------------------------------------------------------


def mechanism(rows: list[Row], rates: list[Row]) -> plt.Figure:
    figure, axes = plt.subplots(1, 3, figsize=(11.5, 3.9), layout="constrained")
    rows = [r for r in rows if r["part"] not in analysis.APART and r["rates"] == "one"]
    base = [r for r in rows if (r["layers"], r["width"], r["steps"]) == ("2", "32", "150")]
    _over_others(axes[0], rates)
    _binades(axes[1], base)
    _lost(axes[2], base)
    return figure


def _over_others(axis: Axes, rates: list[Row]) -> None:
    """The gain over the rate that embeddings and gains were given, the same for both arms."""
    lines: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in (r for r in rates if r["processor"] != analysis.THIRD):
        lines[row["storage"], row["format"], row["size"]].append(row)
    for i, ((storage, name, size), found) in enumerate(lines.items()):
        x = [float(r["other_lr"]) * 1.04**i for r in found]
        mean, low, high = (np.array([float(r[n]) for r in found]) for n in ("mean", "low", "high"))
        words = STORAGES[storage].split(":")[0].replace("stored,\n", "")
        label = f"{name.upper()}, {words}, {size}"
        ends = [mean - low, high - mean]
        axis.errorbar(x, mean, ends, fmt="o-", ms=4, lw=1, capsize=2, label=label)
    axis.axhline(0, color="0.4", lw=0.8)
    axis.axhspan(-DELTA, DELTA, color="0.92", zorder=0)
    axis.set_xscale("log")
    axis.set_xticks([0.009, 0.027, 0.081, 0.243], ["0.009", "0.027", "0.081", "0.243"], fontsize=8)
    axis.minorticks_off()
    axis.set_xlabel("rate of embeddings and gains, both arms")
    axis.set_ylabel("gain, nats")
    axis.set_title("gain over the embeddings' rate, set by hand", fontsize=9)
    axis.legend(fontsize=7)


def _binades(axis: Axes, rows: list[Row]) -> None:
    """What the rate was worth, over how far below the largest weight a weight lies."""
    for storage, line in {"nearest": "-", "stochastic": ":"}.items():
        for arm in COLOURS:
            own = [r for r in analysis.tested(rows) if r["storage"] == storage]
            own = [r for r in own if r["format"] == "e3m4" and analysis.arm_of(r) == arm]
            if own:
                mean = [_mean(own, f"binade_rate_{b}") for b in range(8)]
                axis.plot(range(8), mean, line, marker="o", ms=4, color=COLOURS[arm],
                          label=f"{NAMES[arm]}, {STORAGES[storage].split(chr(10))[1]}")  # fmt: skip
    axis.axhline(1, color="0.6", lw=0.8)
    axis.set_xlabel("powers of two below the largest weight")
    axis.set_ylabel("what the learning rate was worth")
    axis.set_ylim(0.4, 1.45)  # room for the legend
    axis.set_title("E3M4: where steps arrive", fontsize=9)
    axis.legend(fontsize=7)


def _mean(rows: list[Row], name: str) -> float:
    values = [float(r[name]) for r in rows if r[name]]
    return sum(values) / len(values) if values else math.nan


def _lost(axis: Axes, rows: list[Row]) -> None:
    """Loss over the share of lost updates, each rate tried a point."""
    marks = {"nearest": "o", "stochastic": "x", "kahan": "^", "error_feedback": "s"}
    found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for r in rows:
        arm = analysis.arm_of(r)
        asked = r["seed"] == "1001" and r["storage"] in marks and r["format"] == "e3m4"
        if asked and arm in COLOURS and r["val_loss"] and r["width"] == "32":
            point = float(r["bit_stall_total"]), float(r["val_loss"])
            found[r["storage"], arm].append(point)
    for (storage, arm), points in found.items():
        line = "-" if storage == "nearest" else ":"
        x, y = zip(*sorted(points, key=lambda p: p[0]), strict=True)
        axis.plot(x, y, line, marker=marks[storage], ms=5, color=COLOURS[arm], lw=1,
                  label=f"{NAMES[arm]}, {storage.replace('_', ' ')}")  # fmt: skip
    axis.set_xlabel("share of updates lost")
    axis.set_title("E3M4: loss over lost updates, a point a rate", fontsize=9)
    low, high = axis.get_ylim()
    axis.set_ylim(low, high + 0.3 * (high - low))  # room for the legend
    axis.legend(fontsize=7, ncols=2, loc="upper left")


# -- gain over every mediator ---------------------------------------------------------------------


def over_mediators(cells: list[Row]) -> plt.Figure:
    base = {"size": "2 x 32", "steps": "150", "operands": "weights"}
    cells = [c for c in cells if base.items() <= c.items()]
    figure, axes = plt.subplots(2, 3, figsize=(11, 6.4), sharey=True, layout="constrained")
    for axis, (name, words) in zip(axes.flat, SEEN.items(), strict=True):
        _over(axis, cells, name)
        axis.set_xlabel(f"{words}: rule - AdamW", fontsize=8)
    for axis in axes[:, 0]:
        axis.set_ylabel("gain, nats")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def _over(axis: Axes, cells: list[Row], name: str) -> None:
    """Filled: embeddings have a rate of their own; hollow: one rate for everything."""
    everything: list[tuple[float, float]] = []
    for i, storage in enumerate(STORAGES):
        own = [c for c in cells if c["storage"] == storage]
        if own:  # the legend names what was run, nothing else
            axis.plot([], [], "o", color=f"C{i}", label=STORAGES[storage].replace("\n", " "))
        for cell in own:
            change = float(cell[f"{name}_rule"]) - float(cell[f"{name}_adamw"])
            fill = f"C{i}" if cell["rates"] == "own" else "none"
            axis.plot(change, float(cell["gain"]), "o", ms=6, mec=f"C{i}", mfc=fill)
            everything += [(change, float(cell["gain"]))] if math.isfinite(change) else []
    axis.axhline(0, color="0.5", lw=0.8)
    axis.axvline(0, color="0.5", lw=0.8)
    if len(everything) >= 5:
        from scipy.stats import spearmanr

        rho = spearmanr(*zip(*everything, strict=True)).statistic
        axis.set_title(f"rank correlation {rho:+.2f} over {len(everything)} cells", fontsize=8)


if __name__ == "__main__":
    main()
