"""Which code made a run's numbers: hashes of sources, for telling whether two runs are the same;
and the run's own copy of what came from outside."""

import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from altgrad.outside import Source, accept, digest, source_of
from altgrad.trust import NAME

COMPUTING_ROOMS = ("model", "quantization", "optim", "data", "training")
"""Rooms of the package whose code can change a number of a run."""

CODE_SETTINGS = (
    "model.network",
    *("model.embedding", "model.position", "model.norm", "model.attention", "model.mlp"),
    *("model.block", "model.residual"),
    *("optim.name", "schedule.name", "data.tokenizer", "tracker.names"),
    "diagnostics.own",
)
"""Settings whose value may be `package.module:name`."""


def code_versions(settings: dict[str, Any]) -> dict[str, str]:
    """`altgrad` -> hash of its computing rooms, `torch` -> its version, each name of outside code
    -> hash of its whole source (of an installed package: its version).

    settings: a run's nested settings.

    Raises:
        ValueError: there is no source for a name: such a run would have no identity.
    """
    outside = {source.target: source.version for source in sources(settings)}
    return {"altgrad": package_version(), "torch": version("torch"), **outside}


def sources(settings: dict[str, Any]) -> list[Source]:
    """What the outside names in the settings stand for. Raises as `code_versions` does."""
    return [source_of(name, setting=setting) for name, setting in _outside_names(settings)]


def accept_code(settings: dict[str, Any]) -> None:
    """Before anything is done: all outside code is there, and may be run. Runs none of it.

    Raises:
        ValueError: as `outside.load_outside`.
    """
    for name, setting in _outside_names(settings):
        accept(name, setting=setting)


@cache
def package_version() -> str:
    """Hash of the package's sources that compute, so that an edit of a report changes nothing."""
    package = Path(__file__).parents[1]
    found = [p for room in COMPUTING_ROOMS for p in (package / room).rglob("*")]
    digest = hashlib.sha256()
    for path in sorted(p for p in found if p.suffix in (".py", ".cpp")):
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def keep_sources(settings: dict[str, Any], folder: Path) -> None:
    """Copy what came from outside into `folder`, under the names it is imported by."""
    for name, content in _files(sources(settings)).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def changed_sources(settings: dict[str, Any], folder: Path) -> dict[str, tuple[Any, Any]]:
    """File -> (hash of the copy in `folder`, hash now) of each that differs; None: not there."""
    if not folder.is_dir():
        return {}
    then = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    now = _files(sources(settings))
    names = [name for name in sorted({**then, **now}) if then.get(name) != now.get(name)]
    return {name: (_hash(name, then), _hash(name, now)) for name in names}


def _hash(name: str, files: dict[str, bytes]) -> str | None:
    return digest({name: files[name]}) if name in files else None


def _files(found: Iterable[Source]) -> dict[str, bytes]:
    return {name: content for source in found for name, content in source.files.items()}


def _outside_names(settings: dict[str, Any]) -> list[tuple[str, str]]:
    """(name, setting) of each outside name."""
    found = []
    for setting in CODE_SETTINGS:
        group, _, leaf = setting.partition(".")
        value = (settings.get(group) or {}).get(leaf)
        names = value if isinstance(value, list) else [value]
        found += [(n, setting) for n in names if isinstance(n, str) and NAME.fullmatch(n)]
    return found
