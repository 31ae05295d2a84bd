"""Ledgers of ideas: those there are. What one says is computed by the workshop (`heavy.ledger`)."""

from pathlib import Path
from typing import Any

from altgrad.runs.lines import read_jsonl
from altgrad.studio.places import NotHereError, folder_named, require_inside

FOLDER, FILE = "ideas", "ledger.jsonl"


def all_ledgers(base: Path) -> list[dict[str, Any]]:
    """Newest first: name, how many ideas were tried, how many reckonings there were."""
    paths = sorted((base / FOLDER).glob(f"*/{FILE}"), key=lambda p: p.stat().st_mtime, reverse=True)
    return [_line(path, base) for path in paths if not path.parent.is_symlink()]


def _line(path: Path, base: Path) -> dict[str, Any]:
    try:
        kinds = [entry.get("kind") for entry in read_jsonl(require_inside(path, base))]
    except NotHereError as error:
        return {"name": path.parent.name, "trouble": str(error)}
    return {
        "name": path.parent.name,
        "trouble": "",
        "tries": kinds.count("try"),
        "reckonings": kinds.count("reckon"),
    }


def ledger_folder(base: Path, name: str) -> Path:
    """Raises NotHereError."""
    folder = folder_named(base / FOLDER, name, FILE, "ledger")
    require_inside(folder / FILE, base)
    return folder
