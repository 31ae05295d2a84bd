"""What the browser is given besides data: modules of this package, the report's sheet, Vega."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

import altgrad
from altgrad.compare.report import style_sheet

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
    """Made once, when a browser first wants it, by a process that ends: the maker of the bundle
    needs more memory than the page has for everything."""

    def __init__(self, make: Callable[[], bytes] | None = None) -> None:
        self._make = make or _bundle
        self._made: bytes | None = None
        self._lock = Lock()

    def script(self) -> bytes | None:
        """None without the extra `report`."""
        with self._lock:
            if self._made is None and has_the_extra():
                self._made = self._make()
            return self._made


def has_the_extra() -> bool:
    return all(find_spec(name) for name in ("altair", "vl_convert"))


def _bundle() -> bytes:
    words = [sys.executable, "-m", "altgrad.compare.report.vega"]
    return subprocess.run(words, capture_output=True, check=True, env=own_environment()).stdout


def own_environment() -> dict[str, str]:
    """Where this altgrad was imported from, a process started here finds it too."""
    root = str(Path(altgrad.__file__ or "").parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
