"""A table of an earlier loop, taken over as what it is: unproven history."""

import csv
from pathlib import Path
from typing import Any

from altgrad.settings import ConfigError, require

VALUES = ("val_bpb", "val_loss", "loss", "metric", "score")
NAMES = ("description", "idea", "name", "change", "commit")
STATUS = ("status", "verdict", "outcome")


def read_history(path: Path) -> list[dict[str, Any]]:
    """Rows of a TSV or CSV table with a heading: what was tried, its number, and what became of it.

    Raises:
        ConfigError: unreadable, or without a column for the idea and one for its number.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    heading = text.partition("\n")[0]
    rows = list(csv.DictReader(text.splitlines(), delimiter="\t" if "\t" in heading else ","))
    columns = list(rows[0]) if rows else []
    name, value = _first(columns, NAMES), _first(columns, VALUES)
    require(
        bool(name and value),
        f"{path} needs a heading with one of {', '.join(NAMES)} and one of {', '.join(VALUES)}; "
        f"it has {', '.join(columns) or 'none'}.",
    )
    status = _first(columns, STATUS)
    return [
        {
            "name": (row[name] or "").strip(),
            "value": _number(row[value]),
            "status": (row.get(status) or "").strip() if status else "",
        }
        for row in rows
    ]


def _first(columns: list[str], known: tuple[str, ...]) -> str:
    lower = {str(c).strip().lower(): c for c in columns}
    return next((lower[k] for k in known if k in lower), "")


def _number(text: str | None) -> float | None:
    """None for a crash, which loops write as nothing, 0 or a word."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None
