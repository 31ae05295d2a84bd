"""What the browser is given besides data: modules of this package, the report's sheet, Vega."""

import os
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

import altgrad
from altgrad.compare.report import style_sheet
from altgrad.runs import write_atomically

STATIC = Path(__file__).parent / "static"
KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
PAGE = Path(__file__).parent / "page.html"


def static_file(name: str) -> tuple[bytes, str] | None:
    """Content and kind of a file of the page; None where there is none of this name."""
    path = STATIC / name
    known = {p.name for p in STATIC.iterdir()}
    if name not in known or path.suffix not in KINDS:
        return None
    return path.read_bytes(), KINDS[path.suffix]


@cache
def report_sheet() -> bytes:
    return style_sheet().encode()


class Vega:
    """Made once for the libraries that are installed, when a browser first wants it, by a process
    that ends: the maker of the bundle needs more memory than the page has for everything. What was
    made stays in altgrad's cache."""

    def __init__(self) -> None:
        self._made: bytes | None = None
        self._lock = Lock()

    def script(self) -> bytes | None:
        """None without the extra `report`."""
        with self._lock:
            if self._made is None and has_the_extra():
                self._made = self._kept() or _bundle()
            return self._made

    @staticmethod
    def _kept() -> bytes | None:
        """From the cache; made and put there first, where there is a place."""
        path = _cache_file()
        try:
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, _bundle().decode())
            return path.read_bytes()
        except OSError:  # a cache that cannot be written
            return None


def has_the_extra() -> bool:
    return all(find_spec(name) for name in ("altair", "vl_convert"))


def _cache_file() -> Path:
    versions = "-".join(version(name) for name in ("altair", "vl-convert-python"))
    root = Path(os.environ.get("ALTGRAD_CACHE") or "~/.cache/altgrad").expanduser()
    return root / "studio" / f"vega-{versions}.js"


def _bundle() -> bytes:
    words = [sys.executable, "-m", "altgrad.compare.report.vega"]
    return subprocess.run(words, capture_output=True, check=True, env=own_environment()).stdout


def own_environment() -> dict[str, str]:
    """Where this altgrad was imported from, a process started here finds it too."""
    root = str(Path(altgrad.__file__ or "").parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
