"""An attention map for a terminal, in shades, and as a picture.

   R O M
R │██
O │▓▓██
M │░░▒▒▓▓      a row is a position that looks, a column one that is looked at
"""

from collections.abc import Sequence
from pathlib import Path

from altgrad.learn.cockpit.attention_map import AttentionMap
from altgrad.runs.printable import printable

SHADES = {"█": 0.5, "▓": 0.25, "▒": 0.1, "░": 0.03, "·": 1e-6}
"""Shade -> the smallest weight that has it; a dot for what is small: so a leak is seen."""
LEGEND = "█ from 0.5, ▓ 0.25, ▒ 0.1, ░ 0.03, · less, blank: none"


def map_lines(found: AttentionMap, heads: Sequence[int], width: int) -> list[str]:
    """The chosen heads, as many side by side as the width holds."""
    cell = 2 if _block_width(found, 2) <= width else 1
    beside = max(1, (width + 3) // (_block_width(found, cell) + 3))
    lines: list[str] = []
    for first in range(0, len(heads), beside):
        blocks = [_block(found, h, cell) for h in heads[first : first + beside]]
        wide = _block_width(found, cell)
        rows = zip(*blocks, strict=True)
        lines += ["   ".join(text.ljust(wide) for text in row).rstrip() for row in rows]
        lines.append("")
    return [*lines, LEGEND]


def _block_width(found: AttentionMap, cell: int) -> int:
    return 4 + cell * len(found.tokens)


def _block(found: AttentionMap, head: int, cell: int) -> list[str]:
    names = [_short(token) for token in found.tokens]
    weights = found.weights[head]
    title = f"layer {found.layer}, head {head}"
    top = "    " + "".join(name.ljust(cell) for name in names)
    rows = [
        f"{name:>2} │" + "".join(_shade(w) * cell for w in row)
        for name, row in zip(names, weights, strict=True)
    ]
    return [title, top, *rows]


def _shade(weight: float) -> str:
    return next((shade for shade, least in SHADES.items() if weight >= least), " ")


def _short(token: str) -> str:
    """One character for a token, a blank made visible."""
    text = printable(token).replace("\n", "⏎").replace(" ", "␣")
    return text[:1] or "?"


def draw_map(found: AttentionMap, heads: Sequence[int], path: Path) -> None:
    """The chosen heads as a PNG, one panel each, one scale from 0 to 1 for all."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = min(4, len(heads))
    lines = -(-len(heads) // columns)
    side = max(2.6, 0.16 * len(found.tokens))
    figure, axes = plt.subplots(
        lines,
        columns,
        figsize=(side * columns + 1, side * lines + 0.4),
        squeeze=False,
        layout="constrained",
    )
    names = [_short(token) for token in found.tokens]
    for panel in axes.flat[len(heads) :]:
        panel.set_visible(False)
    for panel, head in zip(axes.flat, heads, strict=False):
        image = panel.imshow(found.weights[head], vmin=0, vmax=1, cmap="Blues")
        panel.set_title(f"layer {found.layer}, head {head}", fontsize=10)
        panel.set_xticks(range(len(names)), names, fontsize=7)
        panel.set_yticks(range(len(names)), names, fontsize=7)
    axes[0][0].set(xlabel="looked at", ylabel="looks")
    figure.colorbar(image, ax=axes, shrink=0.8, label="weight")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
