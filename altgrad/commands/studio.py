"""`altgrad studio`: runs, comparisons and ideas as a local page."""

import argparse
from collections.abc import Callable
from typing import Any

from altgrad.commands.stopping import end_at_once
from altgrad.commands.words import add_trust

AddCommand = Callable[..., argparse.ArgumentParser]

HELP = """\
The link that it prints carries a token: with it the page can stop and resume runs, and ask a
model; without it the page only shows. It listens on this machine alone, unless --host and
--anywhere say otherwise.
"""


def add_studio_command(commands: Any, add_command: AddCommand) -> None:
    summary = "open a local page that shows runs, comparisons and ideas while they train"
    parser = add_command(commands, "studio", studio, summary)
    parser.epilog = HELP
    parser.add_argument("runs", nargs="?", default="runs", help="the folder of the runs (runs)")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    parser.add_argument(
        "--port", type=int, default=8080, help="the port; 0 takes a free one (8080)"
    )
    parser.add_argument("--anywhere", action="store_true", help="let other machines connect")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    add_trust(parser)


def studio(arguments: argparse.Namespace) -> None:
    from altgrad.studio.server import serve

    end_at_once()
    serve(
        arguments.runs,
        host=arguments.host,
        port=arguments.port,
        anywhere=arguments.anywhere,
        open_browser=arguments.open,
        trusted=tuple(arguments.trust),
    )
