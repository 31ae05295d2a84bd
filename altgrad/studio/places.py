"""Paths of files below the runs' folder: whatever a name or a link says, nothing else is read."""

from collections.abc import Iterator
from pathlib import Path

from altgrad.compare.record import plain_name
from altgrad.runs import is_inside

MOST_TEXT = 64 << 10
"""Bytes of a sample that are shown."""


class NotHereError(ValueError):
    """There is no such run, comparison or ledger here."""


def folder_named(base: Path, name: str, file: str, what: str) -> Path:
    """`base/name`, which must be a folder right there that holds `file`.

    Raises:
        NotHereError: it is not.
    """
    path = base / name
    if not plain_name(name) or path.is_symlink() or not (path / file).is_file():
        raise NotHereError(f"there is no {what} {name!r} below {base}")
    return require_inside(path, base)


def require_inside(path: Path, base: Path) -> Path:
    """Raises NotHereError where a link leads out of `base`."""
    if not is_inside(path, base):
        raise NotHereError(f"{path} leads out of {base}")
    return path


def files_of(run: Path) -> Iterator[Path]:
    """What is read of a run, where it is there."""
    names = ("config.yaml", "metrics.jsonl", "events.jsonl", "environment.json", "data.json")
    return (path for name in names if (path := run / name).exists())


def leads_out(run: Path, base: Path) -> bool:
    """Whether a file of the run is a link to somewhere else."""
    return any(path.is_symlink() and not is_inside(path, base) for path in files_of(run))


def read_text(path: Path, base: Path) -> str:
    """The beginning of a small text file.

    Raises:
        NotHereError: it is not a plain file inside `base`.
    """
    if not require_inside(path, base).is_file():
        raise NotHereError(f"{path} is not a file")
    with path.open("rb") as file:
        content = file.read(MOST_TEXT + 1)
    more = " …" if len(content) > MOST_TEXT else ""
    return content[:MOST_TEXT].decode(errors="replace") + more
