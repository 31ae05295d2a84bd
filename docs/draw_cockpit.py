"""The picture of the workshop's cockpit, from a real terminal: `python docs/draw_cockpit.py`.

A file with a mask that leaks is watched in a pseudo-terminal, keys are typed, and what stands on
its screen is drawn: after the check, after t, after b. The fourth panel is
`altgrad learn attention` on the same file put right and trained for 150 steps.
"""

import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HOUSE = Path(__file__).parents[1]
sys.path.insert(0, str(HOUSE))
from altgrad.learn.track import Track  # noqa: E402
from tests.learn.cockpit.screen import Screen, Session  # noqa: E402

PICTURE = Path(__file__).parent / "figures" / "cockpit.png"
COLUMNS, ROWS, POINTS = 104, 33, 7.2  # ten pixels at 100 dpi: its letters are then 6 wide
WIDTH, HEIGHT = 0.602 * POINTS, 1.3 * POINTS  # of a cell of DejaVu Sans Mono, in points
PAPER, INK = "#12161c", "#d7dce2"
COLOURS = {"31": "#ff7b72", "32": "#56d364", "33": "#e3b341", "36": "#76c7f0", "90": "#8b949e"}
TITLES = (
    "altgrad learn watch: after a save",
    "t: every line with its values, up to the first wrong one",
    "b: the gradient at every unit, beside the reference's",
    "altgrad learn attention --run --layer 1: after 150 steps",
)
LEARN = [sys.executable, "-m", "altgrad", "learn"]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        shown = [*watched(Path(folder)), attention(Path(folder))]
    draw(dict(zip(TITLES, shown, strict=True)))


def watched(folder: Path) -> list[Screen]:
    subprocess.run([*LEARN, "start", "my-gpt"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    right = Track("nanochat").source
    file = folder / "my-gpt" / "my_gpt.py"
    file.write_text(right.replace("mask = key <= query ", "mask = key <= query + 1 "))
    session = Session([*LEARN, "watch"], folder=folder, columns=COLUMNS, rows=ROWS)
    try:
        session.until("17 of 18 pass", 180)
        screens = [copied(session.screen)]
        session.type("t")
        session.until("differs from the reference")
        screens.append(copied(session.screen))
        session.type("b")
        session.until("(altgrad learn check")
        screens.append(copied(session.screen))
        session.type("q")
        session.end()
    finally:
        session.close()
    file.write_text(right)
    return screens


def attention(folder: Path) -> Screen:
    words = ["max_steps=150", "eval_interval=150", "model.n_layer=2"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*LEARN, "train", *words], cwd=folder, check=True, **quiet)
    words = [*LEARN, "attention", "first citizen:", "--run", "--layer", "1"]
    session = Session(words, folder=folder, columns=COLUMNS, rows=ROWS + 10)
    try:
        session.end(180)
        return copied(session.screen)
    finally:
        session.close()


def copied(screen: Screen) -> Screen:
    """As it is now; a shorter program's screen ends with its text."""
    made = Screen(screen.columns, ROWS)
    made.cells = [list(row) for row in screen.cells[:ROWS]]
    return made


def draw(screens: dict[str, Screen]) -> None:
    inches = ((COLUMNS + 1.5) * WIDTH / 72 / 0.495, 2 * (ROWS + 2.5) * HEIGHT / 72)
    figure = plt.figure(figsize=inches, facecolor="white")
    for place, (title, screen) in enumerate(screens.items()):
        down, across = divmod(place, 2)
        size = (0.495, 0.495 * ROWS / (ROWS + 1.5))
        axes = figure.add_axes((0.505 * across, 0.5 * (1 - down), *size), facecolor=PAPER)
        axes.set(xlim=(-1, COLUMNS + 0.5), ylim=(ROWS + 0.5, -0.5), xticks=[], yticks=[])
        axes.set_title(title, fontsize=9, loc="left", pad=3)
        for row, cells in enumerate(screen.cells):
            draw_row(axes, row, cells)
    figure.savefig(PICTURE, dpi=100)


def draw_row(axes, row: int, cells: list[tuple[str, str]]) -> None:
    column = 0
    for (style, plain), group in itertools.groupby(cells, lambda c: (c[1], c[0].isascii())):
        text = "".join(character for character, _ in group)
        codes = style.split(";")
        colour = next((COLOURS[code] for code in codes if code in COLOURS), INK)
        if "7" in codes:
            axes.barh(row + 0.5, len(text), 1.0, column, color=colour, lw=0)
            colour = PAPER
        weight = "bold" if "1" in codes else "normal"
        pieces = [(0, text)] if plain else list(enumerate(text))
        for offset, piece in pieces:
            if piece.strip():
                axes.text(
                    *(column + offset, row + 0.5, piece),
                    family="DejaVu Sans Mono",
                    size=POINTS,
                    color=colour,
                    va="center",
                    weight=weight,
                )
        column += len(text)


if __name__ == "__main__":
    main()
