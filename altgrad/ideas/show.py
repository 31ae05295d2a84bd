"""Writes what is looked at into the ledger's folder."""

from pathlib import Path

from altgrad.compare.report import has_charts
from altgrad.ideas.picture import draw
from altgrad.ideas.state import State
from altgrad.runs import write_atomically


def write_pictures(state: State, folder: Path) -> list[Path]:
    """`ideas.png`, and `report.html` where the extra `report` is installed."""
    if not any(e["kind"] == "try" for e in state.entries):
        return []
    found = [draw(state, folder / "ideas.png")]
    if has_charts():
        from altgrad.ideas.page import page

        write_atomically(folder / "report.html", page(state))
        found.append(folder / "report.html")
    return found
