"""The pages on architecture show the floors and the tree as they are."""

import importlib.util
import re
from pathlib import Path

from tests.architecture.imports import FILES, FLOORS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "explanation" / "architecture.md").read_text()
TREE = (DOCS / "reference" / "source-tree.md").read_text()


def test_the_floors_on_the_page_are_those_that_are_tested():
    (picture,) = re.findall(r"^```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    starts = (line[:46] for line in picture.splitlines() if line[:1].strip())
    shown = [re.findall(r"\w+", start) for start in starts]
    shown[0:1] = [[room] for room in shown[0]]  # `cli, commands` share a line
    built = [list(floor) for floor in reversed(FLOORS) if floor != ("__main__",)]
    assert shown == built


def test_the_tree_on_the_page_is_that_of_the_sources():
    spec = importlib.util.spec_from_file_location("drawing", DOCS / "draw_architecture.py")
    drawing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawing)
    assert drawing.with_tree(TREE) == TREE, "run `python docs/draw_architecture.py`"
    assert all(f" {m.rpartition('.')[2]}" in TREE for m in FILES if m.count("."))
