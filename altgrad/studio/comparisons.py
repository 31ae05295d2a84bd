"""Comparisons: those there are, and one of them while it fills."""

from pathlib import Path
from typing import Any

from altgrad.compare.filling import Kept, read_filling
from altgrad.compare.record import read_record
from altgrad.runs import read_json
from altgrad.settings import ConfigError
from altgrad.studio.places import NotHereError, folder_named, require_inside

FOLDER = "compare"
EARLIER = ("not shown", "inconclusive")
"""What older records call a verdict, and what it is called now."""


def all_comparisons(base: Path) -> list[dict[str, Any]]:
    """Newest first: name, question, how many runs; the verdicts of those that have ended."""
    folders = sorted(
        (base / FOLDER).glob("*/record.json"), key=lambda p: p.stat().st_mtime, reverse=True
    )
    return [_line(path.parent, base) for path in folders if not path.parent.is_symlink()]


def _line(folder: Path, base: Path) -> dict[str, Any]:
    line: dict[str, Any] = {"name": folder.name, "trouble": ""}
    try:
        require_inside(folder / "record.json", base)
        question, record = read_record(folder)
    except (ConfigError, NotHereError) as error:
        return {**line, "trouble": str(error)}
    runs = sum(len(by_seed) for by_seed in record.runs.values())
    words = _verdicts(folder, base)
    return {
        **line,
        "question": question.question,
        "arms": len(record.arms),
        "runs": runs,
        "verdicts": words,
    }


def _verdicts(folder: Path, base: Path) -> list[str]:
    """What `verdict.json` says in words; nothing before it is there."""
    path = folder / "verdict.json"
    try:
        evidence = read_json(require_inside(path, base))["evidence"]
        return [f"{e['arm']}: {e['words'].replace(*EARLIER)}" for e in evidence]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def comparison(base: Path, name: str, kept: Kept | None = None) -> dict[str, Any]:
    """Everything of one comparison, as it is now. kept: as `read_filling` has it.

    Raises:
        ValueError: there is none of this name, or it is damaged.
    """
    folder = folder_named(base / FOLDER, name, "record.json", "comparison")
    content = read_filling(folder, kept).to_dict()
    return {
        **content,
        "name": name,
        "verdicts": _verdicts(folder, base),
        "report": report_file(base, name) is not None,
    }


def report_file(base: Path, name: str) -> Path | None:
    """The page that the comparison's end wrote."""
    folder = folder_named(base / FOLDER, name, "record.json", "comparison")
    path = folder / "report.html"
    return require_inside(path, base) if path.is_file() else None
