"""Which code made a run's numbers: hashes of sources, for telling whether two runs are the same."""

import hashlib
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

COMPUTING_ROOMS = ("model", "quantization", "optim", "data", "training")
"""Rooms of the package whose code can change a number of a run."""


def code_versions(settings: dict[str, Any]) -> dict[str, str]:
    """`altgrad` -> hash of its computing rooms, `torch` -> its version, outside part -> its hash.

    settings: a run's nested settings; a value `package.module:Class` is an outside part.
    """
    return {"altgrad": package_version(), "torch": version("torch"), **_outside_parts(settings)}


@cache
def package_version() -> str:
    """Hash of the package's sources that compute, so that an edit of a report changes nothing."""
    package = Path(__file__).parents[1]
    found = [p for room in COMPUTING_ROOMS for p in (package / room).rglob("*")]
    digest = hashlib.sha256()
    for path in sorted(p for p in found if p.suffix in (".py", ".cpp")):
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _outside_parts(value: Any) -> dict[str, str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return {name: version for item in value for name, version in _outside_parts(item).items()}
    module, colon, name = value.partition(":") if isinstance(value, str) else ("", "", "")
    path = _source_of(module) if colon and name.isidentifier() else None
    return {value: hashlib.sha256(path.read_bytes()).hexdigest()[:16]} if path else {}


def _source_of(module: str) -> Path | None:
    """The file a module would be loaded from, or None for what is no module (`cuda:0`)."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    path = Path(spec.origin) if spec and spec.origin else None
    return path if path and path.is_file() else None
