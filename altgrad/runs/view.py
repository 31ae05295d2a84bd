"""Tables of runs for the terminal."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from altgrad.runs.lines import read_events
from altgrad.runs.printable import printable
from altgrad.runs.summary import RunSummary

STATUS_STYLE = {"finished": "green", "running": "cyan", "interrupted": "yellow"}


COLUMNS: tuple[tuple[str, Literal["left", "right"]], ...] = (
    ("run", "left"),
    ("status", "left"),
    ("step", "right"),
    ("best loss", "right"),
    ("precision", "left"),
    ("optim", "left"),
    ("model", "left"),
    ("tokens/s", "right"),
)

ALWAYS = 2
"""Columns that the narrowest terminal gets."""

WIDE = 1000
"""Of a pipe or a file."""


def print_runs(summaries: Sequence[RunSummary], base: str) -> None:
    """All runs, oldest first; a narrow terminal gets fewer columns, a pipe or a file all."""
    console = make_console()
    if not summaries:
        console.print(f"no runs below {base}/ yet; start one with `altgrad train`.", markup=False)
        return
    rows = [_cells(s) for s in summaries]
    shown = columns_that_fit(rows, console.width)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, justify in COLUMNS[:shown]:
        table.add_column(title, justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*row[:shown])
    console.print(table)


def make_console() -> Console:
    """Lines are as long as they need to be where nobody's terminal cuts them."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDE)


def columns_that_fit(rows: Sequence[Sequence[str]], width: int) -> int:
    """How many of `COLUMNS`, from the left; the first two always."""
    used, gap = 0, 2
    for place, (title, _) in enumerate(COLUMNS):
        cells = [Text.from_markup(row[place]).cell_len for row in rows]
        used += max([len(title), *cells]) + gap
        if used - gap > width and place >= ALWAYS:
            return place
    return len(COLUMNS)


def _cells(s: RunSummary) -> list[str]:
    style = STATUS_STYLE.get(s.status, "red")
    return [
        _plain(s.name),
        f"[{style}]{s.status}[/]",
        f"{s.step}/{s.max_steps}" if s.max_steps else str(s.step),
        number(s.best_val_loss, ".4f"),
        _plain(s.program or s.precision),
        _plain(s.optimiser),
        "" if s.program else f"{s.layers}x{s.width}",
        number(s.tokens_per_s, ",.0f"),
    ]


def _plain(text: str) -> str:
    """Brackets in a name are no colours."""
    return escape(printable(text))


def number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def without_unit(name: str) -> str:
    """`wall_s` -> `wall`: the value says its unit itself."""
    return re.sub(r"(?<!_per)_(s|bytes|j)$", "", name)


def in_words(name: str, value: Any) -> str:
    """A value for a person: its unit out of the name, five digits of what has no end."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{without_unit(k)} {in_words(k, v)}" for k, v in value.items())
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if name.endswith("_bytes"):
        return f"{value / 2**20:,.0f} MiB"
    if name.endswith("_per_s"):
        return f"{value:,.0f}"
    if name.endswith("_j"):
        return f"{value:,.0f} J"
    if name.endswith("_s"):
        return f"{value:.2g} s" if value < 10 else duration(value)
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def print_run(s: RunSummary) -> None:
    """One run: its line, its files, what happened to it."""
    console = make_console()
    for key, value in s.to_dict().items():
        text = f"{without_unit(key):>14}  {in_words(key, value)}"
        console.print(printable(text), markup=False)
    console.print("events:", style="bold")
    for event in read_events(Path(s.path) / "events.jsonl"):
        facts = {k: v for k, v in event.items() if k not in ("time", "event")}
        text = ", ".join(f"{without_unit(k)} {in_words(k, v)}" for k, v in facts.items())
        console.print(printable(f"{event['event']:>14}  {text}"), markup=False)


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 05 min`."""
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60:02d} s"
    return f"{total // 3600} h {total % 3600 // 60:02d} min"
