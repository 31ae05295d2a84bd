"""`altgrad learn …`: words -> calls of `altgrad.learn`."""

import argparse
from collections.abc import Callable, Generator
from typing import Any

AddCommand = Callable[..., argparse.ArgumentParser]

TRACK_HELP = "what to build: nanochat (default), gpt2, optimisers, rounding, training, lora"
MAP_TEXT = "to be, or not to be"
BROKEN_HELP = "take the copy with a mistake that `altgrad learn break` made"
UNIT_HELP = "the unit, such as norm or GPT.forward"
LEARN_HELP = """\
the usual way:
  altgrad learn start            a folder with my_gpt.py: the whole structure, no bodies
  altgrad learn run              one training iteration with it; stops at what is missing
  altgrad learn check            every unit judged by itself: what is wrong, where and why
  altgrad learn watch            the same at every save, with keys for hints, traces, gradients
UNIT is a name such as norm, GPT.forward, or a part of one that fits a single unit.
"""


def add_learn_commands(commands: Any, add_command: AddCommand) -> None:
    """Add `learn` and its actions."""
    summary = "write your own GPT, unit by unit, and know at once what is wrong and why"
    parser: argparse.ArgumentParser
    parser = add_command(commands, "learn", lambda _: parser.print_help(), summary)
    parser.epilog = LEARN_HELP
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    _add_start(actions, add_command)
    _add_run(actions, add_command)
    _add_check(actions, add_command)
    _add_watch(actions, add_command)
    _add(actions, add_command, "status", _on_folder("status"), "what is done, stage by stage")
    _add_unit_actions(actions, add_command)
    _add_attention(actions, add_command)
    _add_break(actions, add_command)
    _add_race(actions, add_command)
    _add_train(actions, add_command)
    _add_questions(actions, add_command)


def _add(
    actions: Any, add_command: AddCommand, name: str, call: Callable, summary: str
) -> argparse.ArgumentParser:
    parser = add_command(actions, name, call, summary)
    parser.add_argument("--dir", help="the learner's folder (default: here, or ./my-gpt)")
    return parser


def _add_start(actions: Any, add_command: AddCommand) -> None:
    parser = add_command(actions, "start", start, "make a folder with a file to fill in")
    parser.add_argument(
        "folder", nargs="?", metavar="DIR", help="the folder to make (my-gpt, or my-TRACK)"
    )
    parser.add_argument("--track", default="nanochat", help=TRACK_HELP)
    parser.add_argument(
        "--full",
        action="store_true",
        help="write every unit yourself: none is given, none is optional",
    )


def _add_run(actions: Any, add_command: AddCommand) -> None:
    summary = "run one training iteration with your file"
    parser = _add(actions, add_command, "run", run, summary)
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--pdb", action="store_true", help="open the debugger at breakpoint() and at an error"
    )
    how.add_argument("--broken", action="store_true", help=BROKEN_HELP)


def _add_check(actions: Any, add_command: AddCommand) -> None:
    parser = _add(actions, add_command, "check", check, "judge your units; exit code 0 if all pass")
    parser.add_argument("what", nargs="*", metavar="STAGE|UNIT", help="what to check (everything)")
    parser.add_argument("--watch", action="store_true", help="the same as `altgrad learn watch`")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def _add_watch(actions: Any, add_command: AddCommand) -> None:
    summary = "check at every save, with keys: hint, trace, backward, next, reset"
    parser = _add(actions, add_command, "watch", watch, summary)
    parser.add_argument("what", nargs="*", metavar="STAGE|UNIT", help="what to check (everything)")


def _add_unit_actions(actions: Any, add_command: AddCommand) -> None:
    hints = _add(
        actions,
        add_command,
        "hint",
        _on_folder("hint", "unit", "level"),
        "a hint on a unit, stronger each time",
    )
    hints.add_argument("unit", help=UNIT_HELP)
    levels = "1 idea, 2 formula, 3 pseudocode, 4 solution"
    hints.add_argument("-l", "--level", type=int, choices=[1, 2, 3, 4], help=levels)
    solved = _add(
        actions,
        add_command,
        "solution",
        _on_folder("solution", "unit"),
        "print the solution of a unit",
    )
    solved.add_argument("unit", help=UNIT_HELP)
    emptied = _add(
        actions,
        add_command,
        "reset",
        _on_folder("reset", "unit", "everything"),
        "empty a unit again; your file is kept beside it",
    )
    emptied.add_argument("unit", nargs="?", help=UNIT_HELP)
    emptied.add_argument("--all", dest="everything", action="store_true", help="empty every unit")
    traced = _add(
        actions, add_command, "trace", trace, "print every line of a unit with its values"
    )
    traced.add_argument(
        "unit", nargs="?", help=f"{UNIT_HELP}; with --backward: all, if none is given"
    )
    how = traced.add_mutually_exclusive_group()
    how.add_argument("--diff", action="store_true", help="compare with what the reference computes")
    how.add_argument(
        "--backward", action="store_true", help="the gradient at every unit, beside the reference's"
    )
    traced.add_argument("--broken", action="store_true", help=BROKEN_HELP)
    shown = _add(
        actions,
        add_command,
        "diff",
        _on_folder("diff", "unit", "spoil"),
        "print your unit beside the reference's",
    )
    shown.add_argument("unit", help=UNIT_HELP)
    shown.add_argument("--spoil", action="store_true", help="also if the unit does not pass yet")


def _add_attention(actions: Any, add_command: AddCommand) -> None:
    summary = "show which positions each head of your model looks at, here and as a PNG"
    parser = _add(actions, add_command, "attention", attention, summary)
    parser.add_argument(
        "text", nargs="?", default=MAP_TEXT, help=f"the text to look at ({MAP_TEXT})"
    )
    parser.add_argument("--layer", type=int, default=0, help="the layer, counted from 0 (0)")
    parser.add_argument(
        "--head", type=int, nargs="+", default=[], help="the heads, counted from 0 (all)"
    )
    parser.add_argument(
        "--run",
        nargs="?",
        const="",
        help="take the model of a run of `altgrad learn train` (the latest)",
    )
    parser.add_argument("--png", metavar="FILE", help="where the picture goes (DIR/attention.png)")


def _add_break(actions: Any, add_command: AddCommand) -> None:
    summary = "plant a mistake in a copy of your finished file, for you to find"
    parser = _add(
        actions, add_command, "break", _on_folder("plant", "seed", "answer", "reveal"), summary
    )
    parser.add_argument("--seed", type=int, help="which mistake (any)")
    parser.add_argument("--answer", metavar="UNIT", help="the unit that you suspect")
    parser.add_argument("--reveal", action="store_true", help="print which it is")


def _add_race(actions: Any, add_command: AddCommand) -> None:
    summary = "prove your model equal in float64, then train it beside the reference"
    parser = _add(actions, add_command, "race", race, summary)
    parser.add_argument("--steps", type=int, default=300, help="training steps of each (300)")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and batches (0)")
    parser.add_argument("--page", metavar="FILE", help="where the HTML page goes (DIR/race.html)")
    parser.add_argument(
        "--core",
        metavar="BUNDLE",
        nargs="?",
        const="",
        help="also ask both the CORE tasks of this evaluation bundle (default $ALTGRAD_CORE)",
    )
    parser.add_argument(
        "--per-task", type=int, default=50, metavar="N", help="examples of each CORE task (50)"
    )


def _add_train(actions: Any, add_command: AddCommand) -> None:
    summary = "train your whole model as an ordinary run: text at steps 0, 100, …, resume, plot"
    parser = _add(actions, add_command, "train", train, summary)
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="settings, as for `altgrad train`"
    )


def _add_questions(actions: Any, add_command: AddCommand) -> None:
    add_command(actions, "questions", questions, "twelve questions about this architecture")
    summary = "run a question's experiment, then print its short answer"
    parser = _add(actions, add_command, "show", show_question, summary)
    parser.add_argument("name", help="such as qk-norm; `altgrad learn questions` lists them")
    parser.add_argument("--seeds", type=int, default=2, help="paired seeds per arm (2)")
    parser.add_argument("--mine", action="store_true", help="on your own file, once it passes")
    parser.add_argument("--guess", help="what you expect (asked for in a terminal)")
    parser.add_argument("--out", default="figures", metavar="DIR", help="for the plot (figures)")


def show(lines: Generator[str, None, int]) -> int:
    """Print lines as they come; returns the exit code."""
    while True:
        try:
            print(next(lines), flush=True)
        except StopIteration as end:
            return end.value or 0


def _on_folder(action: str, *options: str) -> Callable[[argparse.Namespace], int]:
    """The command that calls `altgrad.learn.actions.ACTION(folder, OPTION=…)` as it was typed."""

    def call(arguments: argparse.Namespace) -> int:
        from altgrad.learn import actions

        given = {option: getattr(arguments, option) for option in options}
        return show(getattr(actions, action)(_space(arguments), **given))

    return call


def start(arguments: argparse.Namespace) -> int:
    from altgrad.learn import actions

    return show(actions.start(arguments.folder, arguments.track, full=arguments.full))


def run(arguments: argparse.Namespace) -> int:
    from altgrad.learn import actions
    from altgrad.learn.cockpit.debugger import debug_run

    space = _space(arguments)
    return debug_run(space) if arguments.pdb else show(actions.run(space, broken=arguments.broken))


def trace(arguments: argparse.Namespace) -> int:
    from altgrad.learn import actions
    from altgrad.learn.cockpit.actions import backward

    space = _space(arguments)
    if arguments.backward:
        if arguments.broken:
            raise ValueError("--backward and --broken do not go together: leave one out")
        return show(backward(space, arguments.unit))
    if arguments.unit is None:
        raise ValueError("say which unit to trace, or --backward for the gradients of all")
    how = {"diff": arguments.diff, "broken": arguments.broken}
    return show(actions.trace(space, arguments.unit, **how))


def attention(arguments: argparse.Namespace) -> int:
    import shutil
    from pathlib import Path

    from altgrad.learn.cockpit.actions import MapWishes, attention

    png = Path(arguments.png) if arguments.png else None
    heads = tuple(arguments.head)
    wishes = MapWishes(arguments.text, arguments.layer, heads, arguments.run, png)
    return show(attention(_space(arguments), wishes, shutil.get_terminal_size().columns))


def check(arguments: argparse.Namespace) -> int:
    from altgrad.learn import actions

    if arguments.watch and arguments.json:
        raise ValueError("--watch and --json do not go together: leave one out")
    if arguments.watch:
        return watch(arguments)
    space = _space(arguments)
    return show(actions.check(space, arguments.what, as_json=arguments.json))


def watch(arguments: argparse.Namespace) -> int:
    from altgrad.learn import actions
    from altgrad.learn.cockpit import watch as cockpit

    space = _space(arguments)
    return cockpit.watch(space, actions.units_of(space, arguments.what))


def race(arguments: argparse.Namespace) -> int:
    from altgrad.learn import actions
    from altgrad.learn.race import RaceSettings

    if arguments.steps < 2:
        raise ValueError(f"--steps {arguments.steps} must be at least 2")
    settings = RaceSettings(steps=arguments.steps, seed=arguments.seed)
    examination = None if arguments.core is None else _core(arguments.core, arguments.per_task)
    return show(actions.run_race(_space(arguments), settings, arguments.page, examination))


def train(arguments: argparse.Namespace) -> int:
    """`altgrad train` in the learner's folder, where `my_gpt` is found, sized as in the race."""
    import os

    from altgrad.commands.train import run_trainer
    from altgrad.commands.words import program, say
    from altgrad.compose import compose_config
    from altgrad.learn import actions
    from altgrad.training.build import build_run
    from altgrad.training.recording import Console

    space = _space(arguments)
    words = actions.training_words(space, arguments.overrides)
    os.chdir(space.folder)
    say(f"in {space.folder}: {program()} train {' '.join(words)}")
    console = Console()
    watched: Any = {"listeners": [console], "progress": console.preparing}
    trainer = build_run(compose_config(words, None), **watched)
    trainer.remarks += _first_text(trainer)
    code = run_trainer(trainer, console)
    if code == 0:
        say(f"an ordinary run of {space.folder}; there: {program()} sample, eval or plot")
    return code


def _first_text(trainer: Any) -> list[str]:
    """What the model says before it has learnt anything; one that cannot speak is told as it is."""
    if trainer.sampler is None or not trainer.config.sample_tokens:
        return []
    try:
        return [f"it says: {trainer.sampler(0)!r}"]
    except Exception as error:
        return [f"it says nothing: {error}"]


def _core(path: str, per_task: int) -> Any:
    """Asks a trained model of the race the CORE tasks; refuses a bad bundle before the race."""
    from altgrad.data import DataConfig, load_tokenizer, prepare
    from altgrad.evaluate.bundle import find_bundle
    from altgrad.evaluate.core import aggregate
    from altgrad.evaluate.outside import judge

    if per_task < 1:
        raise ValueError(f"--per-task {per_task} must be at least 1")
    bundle = find_bundle(path)
    tasks, tokenizer = bundle.select(["core"]), load_tokenizer(prepare(DataConfig()))
    how: dict[str, Any] = {"bundle": bundle, "tasks": tasks, "max_per_task": per_task}
    # Whether any task can be asked is known before the race, from a model that knows nothing.
    judge(_knows_nothing(tokenizer), tokenizer, block_size=128, **how | {"max_per_task": 1})

    def examine(logits: Any, block_size: int) -> dict[str, str]:
        results = judge(logits, tokenizer, block_size=block_size, **how)
        found = aggregate(results)
        name = "CORE" if found.is_core else f"{len(results)} of 22 CORE tasks, centred"
        return {name: f"{found.value:.3f} ± {found.error:.3f}"}

    return examine


def _knows_nothing(tokenizer: Any) -> Callable[[Any], Any]:
    """ids (B, T) -> zeros (B, T, V)."""
    import torch

    return lambda ids: torch.zeros(*ids.shape, tokenizer.vocab_size)


def questions(_: argparse.Namespace) -> int:
    from altgrad.learn import actions

    return show(actions.list_questions())


def show_question(arguments: argparse.Namespace) -> int:
    from altgrad.learn import actions

    if arguments.seeds < 1:
        raise ValueError(f"--seeds {arguments.seeds} must be at least 1")
    how: dict[str, Any] = {
        "seeds": arguments.seeds,
        "folder": arguments.out,
        "progress": _progress(),
    }
    how |= {"space": _space_if_any(arguments), "ask": lambda: _guess(arguments.guess)}
    how |= {"mine": arguments.mine}
    return show(actions.show_question(arguments.name, **how))


def _guess(typed: str | None) -> str:
    """As it was typed, or asked for where somebody can answer; empty for none."""
    import sys

    if typed is not None or not sys.stdin.isatty():
        return typed or ""
    try:
        return input("your guess (Enter for none): ")
    except EOFError:
        return ""


def _space_if_any(arguments: argparse.Namespace) -> Any:
    """The learner's folder; a question is shown without one, too."""
    from altgrad.learn.workshop import find

    try:
        return find(arguments.dir)
    except ValueError:
        if arguments.dir:
            raise
        return None


def _progress() -> Callable[[int, int], None] | None:
    """Steps done, rewritten in place on a terminal; nothing elsewhere."""
    import sys

    if not sys.stderr.isatty():
        return None

    def say(done: int, total: int) -> None:
        end = "\r\033[K" if done == total else "\r"
        print(f"step {done} of {total}", end=end, file=sys.stderr, flush=True)

    return say


def _space(arguments: argparse.Namespace) -> Any:
    """The learner's folder; its file is checked with one thread, so that forks are safe."""
    import torch

    from altgrad.learn.workshop import find

    torch.set_num_threads(1)
    return find(arguments.dir)
