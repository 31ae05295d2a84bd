"""Bringing one published file here, by the first of its routes that works.

Every route ends in the same sha256 check, so it does not matter which of them worked.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from altgrad.data.download.routes import Route
from altgrad.data.errors import DataError
from altgrad.data.files import sha256_of, write_whole


@dataclass(frozen=True)
class PublishedFile:
    """A file whose content is known before it is fetched."""

    filename: str
    sha256: str
    size_bytes: int
    routes: tuple[Route, ...]


def fetch(source: PublishedFile, folder: Path) -> Path:
    """The local path of `source`, fetched into `folder` if it is not there yet.

    Raises DataError, with the reason of every route and the way by hand, when none works.
    """
    target = folder / source.filename
    if target.is_file() and sha256_of(target) == source.sha256:
        return target
    failures = [f"local cache: {_why_not_cached(target, source)}"]
    for route in source.routes:
        try:
            content = route.read()
        except DataError as error:
            failures.append(f"{route.label}: {error}")
            continue
        wrong = _why_wrong(content, source)
        if not wrong:
            write_whole(target, content)
            return target
        failures.append(f"{route.label}: {wrong}")
    raise DataError(_report(source, target, failures))


def _why_not_cached(target: Path, source: PublishedFile) -> str:
    return _why_wrong(target.read_bytes(), source) if target.is_file() else f"no file {target}"


def _why_wrong(content: bytes, source: PublishedFile) -> str:
    """Why `content` is not the published file, or nothing."""
    digest = hashlib.sha256(content).hexdigest()
    if digest == source.sha256:
        return ""
    return f"another file ({len(content):,} bytes, sha256 {digest[:16]}…)"


def _report(source: PublishedFile, target: Path, failures: list[str]) -> str:
    by_hand = (
        f"by hand: bring the file by one of these routes on any machine and put it at {target} "
        f"({source.size_bytes:,} bytes, sha256 {source.sha256})"
    )
    return "\n  ".join([f"cannot get {source.filename}; every route failed", *failures, by_hand])
