"""Tables and texts as Markdown."""

from collections.abc import Iterable


def table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_text(cell) for cell in line)} |\n" for line in lines)


def _text(cell: object) -> str:
    return f"{cell:.6g}" if isinstance(cell, float) else str(cell)


def code(text: object) -> str:
    """As code within a cell of a table; nothing for nothing."""
    shown = str(text).replace("|", "\\|")
    return f"`{shown}`" if shown else ""


def prose(text: str) -> str:
    """A sentence within a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def block(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```\n"
