"""Tables of runs for the terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from altgrad.training.line_log import read_jsonl
from altgrad.training.run_table import RunSummary

STATUS_STYLE = {"finished": "green", "running": "cyan", "interrupted": "yellow"}


def print_runs(summaries: Sequence[RunSummary], base: str) -> None:
    """All runs, oldest first."""
    console = Console(highlight=False)
    if not summaries:
        console.print(f"no runs below {base}/ yet; start one with `altgrad train`.", markup=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, justify in COLUMNS:
        table.add_column(title, justify=justify, no_wrap=True, min_width=MIN_WIDTH.get(title))
    for s in summaries:
        table.add_row(*_cells(s), style=None)
    console.print(table)


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


MIN_WIDTH = {"run": 22, "status": 11, "step": 7, "best loss": 9}
"""What a narrow terminal must not cut off."""


def _cells(s: RunSummary) -> list[str]:
    style = STATUS_STYLE.get(s.status, "red")
    return [
        s.name,
        f"[{style}]{s.status}[/]",
        f"{s.step}/{s.max_steps}",
        number(s.best_val_loss, ".4f"),
        s.precision,
        s.optimiser,
        f"{s.layers}x{s.width}",
        number(s.tokens_per_s, ",.0f"),
    ]


def number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def print_run(s: RunSummary) -> None:
    """One run: its line, its files, what happened to it."""
    console = Console(highlight=False)
    for key, value in s.to_dict().items():
        console.print(f"{key:>14}  {'' if value is None else value}", markup=False)
    console.print("events:", style="bold")
    for event in read_jsonl(Path(s.path) / "events.jsonl"):
        facts = {k: v for k, v in event.items() if k not in ("time", "event")}
        text = ", ".join(f"{k} {v}" for k, v in facts.items())
        console.print(f"{event['event']:>14}  {text}", markup=False)
