"""What the commands share: how one is added, its `KEY=VALUE` words, this program's own name."""

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from altgrad.runs.printable import printable
from altgrad.trust import NAME, names_in


def add_command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], int | None],
    summary: str,
    **how: Any,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **how,
    )
    parser.set_defaults(command=run)
    return parser


def add_trust(parser: argparse.ArgumentParser) -> None:
    """For commands that read what someone else may have sent: runs, checkpoints, questions."""
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="CODE",
        help="run this code, package.module:Class, though only a file names it",
    )


def own_words(arguments: argparse.Namespace) -> list[str]:
    """What the user typed as settings, what `--trust` names, and the presets of `--config-dir`.

    Raises:
        ValueError: `--trust` with something that is no name of code.
    """
    named = getattr(arguments, "trust", [])
    for name in named:
        if not NAME.fullmatch(name) and name not in names_in(name):
            raise ValueError(
                f"--trust {name}: write the code's name, package.module:Class, or a command or "
                "patch as the file has it, 'program=python train.py', patch=idea.diff"
            )
    lists = (getattr(arguments, key, []) for key in ("overrides", "words"))
    words = [word for typed in lists for word in typed] + [str(getattr(arguments, "run", ""))]
    presets = Path(getattr(arguments, "config_dir", None) or os.devnull).rglob("*.yaml")
    texts = (path.read_text(errors="replace") for path in presets if path.is_file())
    return [*named, *(word for word in words if "=" in word), *texts]


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


def once(tell: Callable[[str], None]) -> Callable[[str], None]:
    """`tell`, but each line a single time: arms are composed again and again."""
    told: set[str] = set()

    def tell_once(line: str) -> None:
        if line not in told:
            told.add(line)
            tell(line)

    return tell_once


def program() -> str:
    """This program's name, as the user can type it again."""
    typed = sys.argv[0]
    if Path(typed).name == "__main__.py":
        return f"{shlex.quote(os.path.relpath(sys.executable))} -m altgrad"
    if shutil.which("altgrad") and Path(shutil.which("altgrad") or "").samefile(typed):
        return "altgrad"
    return shlex.quote(os.path.relpath(typed))
