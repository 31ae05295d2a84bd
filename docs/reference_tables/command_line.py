"""Every command with every flag, from the parsers themselves.

argparse's own help depends on the width of the terminal and on Python's version, so the rows are
made of its actions; there is no public way to list these.
"""

import argparse
from collections.abc import Iterator

from reference_tables.markdown import block, code, prose, table


def command_line() -> str:
    from altgrad.cli import build_parser

    return "\n".join(section(parser) for parser in commands(build_parser()))


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser and those below it, in the order of `altgrad --help`."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in dict.fromkeys(action.choices.values()):
                yield from commands(below)


def section(parser: argparse.ArgumentParser) -> str:
    rows = [_row(parser, action) for action in parser._actions if _shown(action)]
    parts = [f"## {parser.prog}\n", f"{prose(parser.description or '')}\n"]
    parts += [table(("argument", "default", "meaning"), rows)] if rows else []
    parts += [block(parser.epilog)] if parser.epilog else []
    return "\n".join(parts)


def _shown(action: argparse.Action) -> bool:
    below = isinstance(action, argparse._SubParsersAction)
    own_help = isinstance(action, argparse._HelpAction)
    return not below and not own_help and action.help is not argparse.SUPPRESS


def _row(parser: argparse.ArgumentParser, action: argparse.Action) -> list[str]:
    formatter = argparse.HelpFormatter(parser.prog, width=200)
    metavar = formatter._format_args(action, action.metavar or action.dest.upper())
    takes = "" if action.nargs == 0 else metavar
    names = ", ".join(action.option_strings)
    default = action.default if _has_default(action) else ""
    text = formatter._expand_help(action) if action.help else ""
    return [code(f"{names} {takes}".strip()), code(default), prose(text)]


def _has_default(action: argparse.Action) -> bool:
    silent = (None, False, [], "", argparse.SUPPRESS)
    return bool(action.option_strings) and action.default not in silent
