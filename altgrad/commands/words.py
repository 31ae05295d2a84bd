"""What the commands share: how one is added, its `KEY=VALUE` words, this program's own name."""

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from altgrad.training.printable import printable


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int | None], summary: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    return parser


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """`KEY=VALUE` words, as `altgrad train` takes them."""
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="a setting (model.n_layer=8) or a preset of a group (model=gpt2); "
        "`altgrad config` lists them",
    )
    parser.add_argument(
        "--config-dir", metavar="DIR", help="folder with further presets, as DIR/GROUP/NAME.yaml"
    )


def say(text: object, *, file: TextIO | None = None) -> None:
    """Print what may come from a file: it cannot move the cursor or change the terminal."""
    print(printable(text), file=file, flush=True)


def program() -> str:
    """This program as the person can type it again."""
    typed = sys.argv[0]
    if Path(typed).name == "__main__.py":
        return f"{shlex.quote(os.path.relpath(sys.executable))} -m altgrad"
    if shutil.which("altgrad") and Path(shutil.which("altgrad") or "").samefile(typed):
        return "altgrad"
    return shlex.quote(os.path.relpath(typed))
