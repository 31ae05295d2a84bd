"""`altgrad studio`: find the runs, listen, print the link, answer until Ctrl-C."""

import webbrowser
from collections.abc import Callable
from pathlib import Path
from threading import Timer
from typing import Any

from altgrad.interchange.local_server import (
    address,
    allowed_hosts,
    answer_requests,
    check_host,
    check_installed,
    listen,
)
from altgrad.settings import require
from altgrad.studio.app import Studio, make_app
from altgrad.studio.index import Index


def serve(
    runs: str | Path,
    *,
    host: str,
    port: int,
    anywhere: bool = False,
    open_browser: bool = False,
    trusted: tuple[str, ...] = (),
) -> None:
    """Answer until one SIGINT or SIGTERM. Runs that were resumed from the page go on.

    Raises:
        ConfigError: no folder of runs, an address that is not this machine's own without
            `anywhere` or cannot be had, or no starlette and uvicorn.
    """
    check_host(host, anywhere=anywhere)
    check_installed()
    base = runs_folder(Path(runs))
    listener = listen(host, port)
    studio = Studio(Index(base).open(), trusted=trusted)
    place = address(host, listener)
    link = f"{place}#token={studio.token}"

    def app(stopping: Callable[[], bool]) -> Any:
        studio.stopping = stopping
        return make_app(studio, allowed_hosts(host))

    if open_browser:
        Timer(0.3, webbrowser.open, [link]).start()
    told = f"{link}\n  shows {base}; without the token it only shows. Ctrl-C stops it"
    try:
        answer_requests(listener, app, told)
    finally:
        studio.close()


def runs_folder(path: Path) -> Path:
    """The folder, absolute; one that is not there yet is taken as empty.

    Raises:
        ConfigError: a file, or a single run.
    """
    require(not path.exists() or path.is_dir(), f"{path} is not a folder.")
    single = (path / "config.yaml").is_file()
    require(
        not single,
        f"{path} is one run; give the folder that it lies in: altgrad studio {path.parent}",
    )
    return path.resolve()
