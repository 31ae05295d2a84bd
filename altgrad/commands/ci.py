"""`altgrad ci`: a workflow file for one's own repository, and the checks that it runs."""

import argparse
import json
import os
import shlex
from collections.abc import Callable, Iterator
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from altgrad.commands.words import add_trust, program, say
from altgrad.settings import ConfigError

AddCommand = Callable[..., argparse.ArgumentParser]
Compose = Callable[..., Any]

WORKFLOW = Path(".github/workflows/altgrad.yml")
SUMMARY = "GITHUB_STEP_SUMMARY"
"""The environment variable in which GitHub names the file of a job's summary, in Markdown."""

CI_HELP = """\
examples:
  altgrad ci init model.attention=mine:Attention
  altgrad ci init model.attention=mine:Attention --baseline mine
  altgrad ci check model.attention=mine:Attention --baseline mine

A baseline is frozen once and committed: altgrad baseline freeze mine RUN
"""


def add_ci_command(
    commands: Any, add_command: AddCommand, add_overrides: Callable, compose: Compose
) -> None:
    parser = add_command(commands, "ci", _help, "check your own repository whenever it changes")
    parser.epilog = CI_HELP
    parser.set_defaults(parser=parser)
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    starting = add_command(actions, "init", init, "write a workflow file for GitHub")
    starting.add_argument(
        "--install", default="altgrad", metavar="WHAT", help="what pip installs: a name or a wheel"
    )
    starting.add_argument("--file", default=str(WORKFLOW), help=f"the file to write ({WORKFLOW})")
    summary = "what the workflow runs: verify, over-fit one batch, a baseline again"
    checking = add_command(actions, "check", partial(check, compose), summary)
    add_trust(checking)
    for action in (starting, checking):
        add_overrides(action)
        action.add_argument("--baseline", metavar="NAME", help="a frozen baseline that must hold")


def _help(arguments: argparse.Namespace) -> None:
    arguments.parser.print_help()


# -- the workflow file ----------------------------------------------------------------------------


def init(arguments: argparse.Namespace) -> None:
    path = Path(arguments.file)
    if path.exists():
        raise ConfigError(f"{path} is there already; remove it, or say --file")
    words = _words(arguments)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_workflow(words, arguments.install), encoding="utf-8")
    say(f"{path}: checks {words or 'the default network'} on every push; the same here:")
    say(f"  {program()} ci check {words}".rstrip())


def _words(arguments: argparse.Namespace) -> str:
    """What `check` is asked, as it is typed in a shell."""
    words = list(arguments.overrides)
    for name in ("config_dir", "baseline"):
        if getattr(arguments, name):
            words += [f"--{name.replace('_', '-')}", getattr(arguments, name)]
    return shlex.join(words)


def _workflow(words: str, install: str) -> str:
    """The template with its two commands; as YAML texts, since words may hold `: ` and `#`."""
    template = (files("altgrad.commands") / "ci.yml").read_text(encoding="utf-8")
    lines = {
        "python -m pip install INSTALL": f"python -m pip install {shlex.quote(install)}",
        "altgrad ci check WORDS": f"altgrad ci check {words}".rstrip(),
    }
    for marked, command in lines.items():
        template = template.replace(marked, json.dumps(command, ensure_ascii=False))
    return template


# -- the checks -----------------------------------------------------------------------------------


def check(compose: Compose, arguments: argparse.Namespace) -> int:
    """0 if everything holds, else 1; the verdict also as Markdown where GitHub asks for it."""
    rows: list[tuple[bool | None, str, str]] = []
    for passed, name, evidence in _checks(compose, arguments):
        rows.append((passed, name, evidence))
        say(f"{MARKS[passed]} {name:34} {evidence}")
    say("\n" + _verdict(rows))
    if os.environ.get(SUMMARY):
        with open(os.environ[SUMMARY], "a", encoding="utf-8") as file:
            file.write(_markdown(rows, _words(arguments)))
    return int(any(passed is False for passed, _, _ in rows))


MARKS = {True: "✓", False: "✗", None: "–"}


def _checks(
    compose: Compose, arguments: argparse.Namespace
) -> Iterator[tuple[bool | None, str, str]]:
    """Passed (None: not applicable), name and evidence of every check, as it is known."""
    import torch

    from altgrad.learn.verify.verify import verify

    torch.set_num_threads(1)  # small models: more threads only wait for each other
    for result in verify(compose(arguments.overrides, arguments.config_dir)):
        yield result.passed, result.name, result.evidence
    if arguments.baseline:
        yield _baseline(arguments.baseline)


def _baseline(name: str) -> tuple[bool, str, str]:
    from altgrad.compare.baseline import verify_baseline

    holds, lines = verify_baseline(name)
    return holds, f"baseline {name}", "; ".join(lines)


def _verdict(rows: list[tuple[bool | None, str, str]]) -> str:
    failed = [name for passed, name, _ in rows if passed is False]
    held = sum(passed is True for passed, _, _ in rows)
    return f"fails: {', '.join(failed)}" if failed else f"holds: {held} checks"


def _markdown(rows: list[tuple[bool | None, str, str]], words: str) -> str:
    """The job's summary: the verdict as its heading, a row a check."""
    table = [f"| {MARKS[p]} | {_cell(name)} | {_cell(evidence)} |" for p, name, evidence in rows]
    head = [f"## altgrad {_verdict(rows)}", "", f"`altgrad ci check {words}`", ""]
    return "\n".join([*head, "| | check | evidence |", "|---|---|---|", *table, ""])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
