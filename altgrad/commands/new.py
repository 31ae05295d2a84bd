"""`altgrad new KIND FILE`: a part of one's own to begin with."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from altgrad.commands.words import program, say

NEW_HELP = """\
examples:
  altgrad new attention mine.py
  altgrad verify model.attention=mine:Attention
  altgrad train model.attention=mine:Attention

The file runs as it stands: the usual part, with the lines marked that make it yours, and what such
a part must look like at its top. docs/howto/own-part.md says how to use each kind.
"""


def add_new_command(commands: Any, add_command: Callable[..., argparse.ArgumentParser]) -> None:
    from altgrad.learn.new import KINDS

    parser = add_command(commands, "new", new, "begin a part of your own: a file that runs")
    parser.epilog = NEW_HELP
    parser.add_argument("kind", metavar="KIND", choices=list(KINDS), help=", ".join(KINDS))
    parser.add_argument("file", metavar="FILE", help="the file to write, such as mine.py")


def new(arguments: argparse.Namespace) -> None:
    from altgrad.learn.new import write_part

    path, words = write_part(arguments.kind, Path(arguments.file))
    say(f"{path}: {arguments.kind}, runs as it stands; the lines to change are marked")
    if str(path.parent) not in (".", "") and arguments.kind != "format":
        say(f"from {path.parent}:")
    for command in ("verify", "train"):
        say(f"  {program()} {command} {words}")
