"""Words typed by a person -> one call.

Everything heavy is imported by the command that needs it, so that `altgrad --help` and
`altgrad show` answer at once. The commands themselves are in `altgrad/commands/`, a file a group.
"""

import argparse
import os
import sys
from contextlib import suppress
from functools import partial
from typing import Any

from altgrad.commands.ci import add_ci_command
from altgrad.commands.compare import add_compare_commands
from altgrad.commands.completion import add_completion_command
from altgrad.commands.config import add_config_command
from altgrad.commands.data import add_data_commands
from altgrad.commands.doctor import add_doctor_command
from altgrad.commands.failures import USER_MISTAKE, tell
from altgrad.commands.formats import add_formats_command
from altgrad.commands.ideas import add_ideas_command
from altgrad.commands.learn import add_learn_commands
from altgrad.commands.models import add_model_commands
from altgrad.commands.new import add_new_command
from altgrad.commands.runs import add_run_commands
from altgrad.commands.stopping import stopped_by_signals
from altgrad.commands.studio import add_studio_command
from altgrad.commands.train import INTERRUPTED, add_train_commands
from altgrad.commands.verify import add_verify_command
from altgrad.commands.words import add_command, add_overrides, own_words
from altgrad.compose import compose_config, preset_names
from altgrad.trust import allow, names_in

__all__ = ["USER_MISTAKE", "main"]

EXAMPLES = """\
examples:
  altgrad train                                     the default GPT on Tiny Shakespeare
  altgrad train model=gpt2 optim=adamw max_steps=500
  altgrad train model.n_layer=8 data.batch_size=32 data.path=my.txt
  altgrad config model=llama                        every setting, and where its value comes from
  altgrad train resume=auto …                       go on with the same run if it was stopped
  altgrad watch                                     follow the latest run from another terminal
  altgrad reproduce runs/20261120-143000-3fa9c1     the same again? bit for bit?
  altgrad show                                      all runs: status, best loss
  altgrad studio --open                             the same as a page that follows them
  altgrad sample --prompt 'ROMEO:'                  text from the latest run
  altgrad compare optim=adamw,muon seeds=5          which is better, and how sure is that
  altgrad new attention mine.py                     begin a part of your own
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done; the others: `failures.py`)."""
    arguments = parse_words(argv)
    try:
        with stopped_by_signals():
            allow(names_in(own_words(arguments)))
            code = arguments.command(arguments) or 0
            _flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return 0
    except Exception as error:
        code = tell(error)
        with suppress(OSError):
            _flush()
    return int(code)


def _flush() -> None:
    """Bring out what was printed. Raises OSError where nobody can keep it (`> /dev/full`)."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        _forget_output()
        error.filename = "standard output"
        raise


def _forget_output() -> None:
    """What is still to be written goes nowhere: at the very end Python would try it again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parse_words(argv: list[str] | None) -> argparse.Namespace:
    """`KEY=VALUE` words may stand before, between and after the options."""
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    words = getattr(arguments, "overrides", getattr(arguments, "words", None))
    if rest and (words is None or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest and words is not None:
        words.extend(rest)
    return arguments


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="altgrad",
        description="Change one thing about how a small GPT is trained; learn whether it helped.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_train_commands(commands)
    add_config_command(commands)
    add_run_commands(commands)
    add_model_commands(commands)
    add_studio_command(commands, add_command)
    add_data_commands(commands, add_command, add_overrides, compose_config)
    add_compare_commands(commands, add_command, partial(compose_config, all_read=False))
    add_ideas_command(commands, add_command, partial(compose_config, all_read=False))
    add_learn_commands(commands, add_command)
    add_formats_command(commands, add_command)
    add_doctor_command(commands, add_command)
    add_new_command(commands, add_command)
    add_verify_command(commands, add_command, add_overrides, compose_config)
    add_ci_command(commands, add_command, add_overrides, compose_config)
    add_completion_command(commands, add_command, preset_names)
    return parser


class _Version(argparse.Action):
    def __init__(self, **how: Any) -> None:
        super().__init__(**{**how, "nargs": 0, "help": "print the version"})

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from altgrad import __version__

        parser.exit(message=f"altgrad {__version__}\n")


if __name__ == "__main__":
    raise SystemExit(main())
