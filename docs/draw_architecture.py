"""Makes what the pages on architecture show of the sources: `python docs/draw_architecture.py`.

The picture comes from the imports and the tree from the files and their rooms' docstrings, so that
neither can lie; `tests/architecture/test_page.py` compares the tree and the floors.
"""

import ast
import sys
import textwrap
from collections import Counter
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.architecture.imports import (  # noqa: E402
    FILES,
    FLOORS,
    PACKAGE,
    ROOMS_WITH_A_FACE,
    imports_of,
)

PAGE = ROOT / "docs" / "reference" / "source-tree.md"
PICTURE = ROOT / "docs" / "figures" / "architecture.png"
BEGIN, END = "<!-- generated: tree -->\n```text\n", "```\n<!-- end -->"
TOP = ("__main__", "cli")  # they call `commands`, no more
WIDTH, HEIGHT, GAP, RISE = 3.6, 1.5, 0.5, 1.25
COLOURS = plt.get_cmap("tab10").colors


# -- the tree -------------------------------------------------------------------------------------


def tree() -> str:
    """Every room with what it is for and its files, from the top floor down."""
    lines = [f"altgrad/{' ' * 24}{' '.join(sorted(p.name for p in PACKAGE.glob('[a-z]*.py')))}"]
    for floor in reversed(FLOORS):
        for room in floor:
            if (PACKAGE / room / "__init__.py").is_file():
                lines += _branch(PACKAGE / room, 1)
    return "\n".join(lines) + "\n"


def _branch(folder: Path, depth: int) -> list[str]:
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    purpose = docstring.split("\n")[0].split(". ")[0].rstrip(".")
    names = sorted(p.stem for p in folder.glob("*.py") if p.stem != "__init__")
    lines = [f"{'  ' * depth + folder.name + '/':<22}{purpose}"]
    indent = {"initial_indent": " " * 24, "subsequent_indent": " " * 24}
    lines += textwrap.wrap(" ".join(names), 100, **indent)
    for inside in sorted(p for p in folder.iterdir() if (p / "__init__.py").is_file()):
        lines += _branch(inside, depth + 1)
    return lines


def with_tree(page: str) -> str:
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + tree() + END + rest.partition(END)[2]


# -- the picture ----------------------------------------------------------------------------------


def rooms_on_floors() -> list[list[str]]:
    """Floors with something on them, the lowest first."""
    drawn = [[r for r in floor if lines_of(r) and r not in TOP] for floor in FLOORS]
    return [floor for floor in drawn if floor]


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


def places(floors: list[list[str]]) -> dict[str, tuple[float, float]]:
    """Room -> its lower left corner."""
    found = {}
    for level, rooms in enumerate(floors):
        width = len(rooms) * (WIDTH + GAP) - GAP
        left = -width / 2
        for i, room in enumerate(rooms):
            found[room] = (left + i * (WIDTH + GAP), level * (HEIGHT + RISE))
    return found


def draw() -> None:
    floors = rooms_on_floors()
    corners = places(floors)
    reach = max(len(rooms) for rooms in floors) * (WIDTH + GAP) / 2
    figure, axes = plt.subplots(figsize=(16, 1.75 * len(floors)))
    colour = {room: COLOURS[i % len(COLOURS)] for i, room in enumerate(sorted(corners))}
    for (source, target), files in sorted(edges().items()):
        if source in corners and target in corners:
            arrow(axes, corners, source, target, files, colour[source])
    for room, corner in corners.items():
        box(axes, room, corner, colour[room])
    axes.set_axis_off()
    axes.set_xlim(-reach - 0.3, reach + 0.3)
    axes.set_ylim(-0.2, len(floors) * (HEIGHT + RISE) - RISE + 0.2)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=100, bbox_inches="tight", facecolor="white")


def box(axes: plt.Axes, room: str, corner: tuple[float, float], colour: str) -> None:
    x, y = corner
    shape = FancyBboxPatch(
        corner, WIDTH, HEIGHT, boxstyle="round,pad=0.04", fc="white", ec=colour, lw=2, zorder=3
    )
    axes.add_patch(shape)
    inside = [r.partition(".")[2] for r in ROOMS_WITH_A_FACE if r.startswith(f"{room}.")]
    axes.text(x + 0.1, y + HEIGHT - 0.1, room, va="top", weight="bold", size=14, zorder=4)
    size = f"{lines_of(room):,} lines"
    right = {"ha": "right", "size": 9, "color": "#666", "zorder": 4}
    axes.text(x + WIDTH - 0.1, y + 0.08, size, va="bottom", **right)
    axes.text(x + 0.1, y + 0.08, "\n".join(two_columns(inside)), va="bottom", size=9.5, zorder=4)


def two_columns(names: list[str]) -> list[str]:
    return [" · ".join(names[i : i + 2]) for i in range(0, len(names), 2)]


def arrow(
    axes: plt.Axes,
    corners: dict[str, tuple[float, float]],
    source: str,
    target: str,
    files: int,
    colour: str,
) -> None:
    """From the lower edge of one room to the upper edge of another, as wide as it is used."""
    (x0, y0), (x1, y1) = corners[source], corners[target]
    far = (y0 - y1) / (HEIGHT + RISE) > 1.5  # past the floors in between
    lean = (x1 - x0) / (8 * WIDTH)  # where it leaves and enters: towards where it goes
    axes.annotate(
        "",
        xy=(x1 + WIDTH * (0.5 - lean), y1 + HEIGHT + 0.06),
        xytext=(x0 + WIDTH * (0.5 + lean), y0 - 0.06),
        arrowprops={
            "arrowstyle": "-|>",
            "color": "red" if y0 <= y1 else colour,
            "lw": 0.8 + min(files, 24) / 6,
            "alpha": 0.35 if far else 0.75,
            "connectionstyle": "arc3,rad=0.18" if far and x0 == x1 else "arc3",
        },
        zorder=2,
    )


if __name__ == "__main__":
    PAGE.write_text(with_tree(PAGE.read_text()))
    draw()
    print(PAGE, PICTURE, sep="\n")
