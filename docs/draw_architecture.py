"""Draws docs/figures/architecture.png from the imports: `python docs/draw_architecture.py`."""

import sys
from collections import Counter
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.architecture.imports import FILES, FLOORS, ROOMS_WITH_A_FACE, imports_of  # noqa: E402

PICTURE = ROOT / "docs" / "figures" / "architecture.png"
WIDTH, HEIGHT, GAP = 3.0, 1.35, 0.9
PLACES: dict[str, tuple[float, float]] = {}


def lines_of(room: str) -> int:
    paths = [p for m, p in FILES.items() if f"{m}.".startswith(f"{room}.")]
    return sum(len(p.read_text().splitlines()) for p in paths)


def edges() -> Counter[tuple[str, str]]:
    """(from room, to room) -> how many files of the one import something of the other."""
    found: Counter[tuple[str, str]] = Counter()
    for module in FILES:
        room = module.split(".")[0]
        for other in {name.split(".")[0] for name in imports_of(module)} - {room}:
            found[room, other] += 1
    return found


def draw() -> None:
    floors = [[r for r in floor if lines_of(r)] for floor in FLOORS]
    floors = [floor for floor in floors if floor and floor != ["__main__"]]
    figure, axes = plt.subplots(figsize=(15, 2.1 * len(floors)))
    for level, rooms in enumerate(floors):
        left = -len(rooms) * (WIDTH + GAP) / 2
        for index, room in enumerate(rooms):
            PLACES[room] = (left + index * (WIDTH + GAP) + GAP / 2, level * (HEIGHT + GAP))
    for (source, target), files in edges().items():
        if source in PLACES and target in PLACES:
            arrow(axes, source, target, files)
    for room, corner in PLACES.items():
        box(axes, room, corner)
    axes.set_axis_off()
    reach = len(FLOORS[1]) * (WIDTH + GAP) / 2
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-0.3, len(floors) * (HEIGHT + GAP) - GAP + 0.3)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=110, bbox_inches="tight", facecolor="white")


def box(axes: plt.Axes, room: str, corner: tuple[float, float]) -> None:
    x, y = corner
    axes.add_patch(
        FancyBboxPatch(
            corner, WIDTH, HEIGHT, boxstyle="round,pad=0.06", fc="#f3f6fa", ec="#36506c", zorder=3
        )
    )
    inside = [r.partition(".")[2] for r in ROOMS_WITH_A_FACE if r.startswith(f"{room}.")]
    axes.text(x + 0.1, y + HEIGHT - 0.12, room, va="top", weight="bold", size=13, zorder=4)
    size = f"{lines_of(room):,} lines"
    axes.text(x + 0.1, y + HEIGHT - 0.5, size, va="top", size=8.5, color="#666", zorder=4)
    axes.text(x + 0.1, y + 0.08, "\n".join(two_columns(inside)), va="bottom", size=9, zorder=4)


def two_columns(names: list[str]) -> list[str]:
    return [" · ".join(names[i : i + 2]) for i in range(0, len(names), 2)]


def arrow(axes: plt.Axes, source: str, target: str, files: int) -> None:
    """From the lower edge of one room to the upper edge of another, as wide as it is used."""
    (x0, y0), (x1, y1) = PLACES[source], PLACES[target]
    axes.annotate(
        "",
        xy=(x1 + WIDTH / 2, y1 + HEIGHT + 0.06),
        xytext=(x0 + WIDTH / 2, y0 - 0.06),
        arrowprops={
            "arrowstyle": "-|>",
            "color": "#b3542a" if y0 <= y1 else "#7f94ab",
            "lw": 0.5 + min(files, 24) / 8,
            "alpha": 0.55,
        },
        zorder=2,
    )


if __name__ == "__main__":
    draw()
    print(PICTURE)
