"""`altgrad train|resume|reproduce`."""

import argparse
import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

from altgrad.commands.words import add_command, add_overrides, add_trust, program, say
from altgrad.compose import compose_config, compose_values, presets_help
from altgrad.runs import json_text

INTERRUPTED = 130


def add_train_commands(commands: Any) -> None:
    """Add `train`, `resume` and `reproduce`."""
    _add_train(commands)
    _add_resume(commands)
    _add_reproduce(commands)


def _add_train(commands: Any) -> None:
    parser = add_command(commands, "train", train, "train a model")
    add_overrides(parser)
    add_trust(parser)
    parser.epilog = presets_help()


def _add_resume(commands: Any) -> None:
    parser = add_command(commands, "resume", resume, "continue a run from its newest checkpoint")
    parser.add_argument("run", nargs="?", help="a run folder or its name (default: the latest)")
    add_overrides(parser)
    add_trust(parser)
    parser.epilog = (
        "A setting that differs from the run's own must be allowed by name:\n"
        "  altgrad resume RUN max_steps=2000 'resume.allow=[max_steps]'"
    )


def _add_reproduce(commands: Any) -> None:
    summary = "run a run again from its folder alone and say whether it is the same"
    parser = add_command(commands, "reproduce", reproduce, summary)
    parser.add_argument("run", help="a run folder or its name")
    add_trust(parser)
    parser.add_argument("--out", metavar="DIR", help="the new run folder (a new one below runs/)")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1e-3,
        help="relative difference that counts as the same (0.001)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def train(arguments: argparse.Namespace) -> int:
    from altgrad.commands.resume_words import split_resume_words

    words, how = split_resume_words(arguments.overrides)
    remarks: list[str] = []
    config = compose_config(words, arguments.config_dir, remark=remarks.append)
    from altgrad.training.build import build_run
    from altgrad.training.recording import Console

    console = Console()
    if how.auto and (run := _run_to_go_on_with(config, how.allow)):
        return _go_on(run, config, how.allow, console)
    trainer = build_run(config, listeners=[console], progress=console.preparing)
    trainer.remarks += remarks
    return run_trainer(trainer, console)


def _run_to_go_on_with(config: Any, allow: tuple[str, ...]) -> Path | None:
    """With `run_dir` the run in it, if there is one; else the newest one with these settings."""
    from altgrad.training.resume import newest_alike

    if config.run_dir is None:
        return newest_alike(config, allow=allow)
    run = Path(config.run_dir)
    return run if (run / "config.yaml").is_file() else None


def _go_on(run: Path, config: Any, allow: tuple[str, ...], console: Any) -> int:
    """Resume a run that stopped; if it has ended, say so and train nothing.

    Raises:
        ConfigError: its settings are others, and not allowed to be.
    """
    from altgrad.runs import run_status
    from altgrad.training.build import read_config, resume_run
    from altgrad.training.resume import refuse_changes, settings_to_go_on_with

    changes = settings_to_go_on_with(read_config(run), config, run)[1]
    refuse_changes(changes, allow)
    status = run_status(run)
    if not changes and status in ("finished", "diverged"):
        has = "is finished" if status == "finished" else "has diverged"
        console.say(f"{run} {has}: nothing to train")
        return 0 if status == "finished" else 1
    console.say(f"resuming {run}")
    watched: Any = {"listeners": [console], "progress": console.preparing}
    return run_trainer(resume_run(run, config=config, allow=allow, **watched), console)


def is_finished(run_dir: str | None) -> bool:
    from altgrad.runs import run_status

    return bool(run_dir) and run_status(Path(str(run_dir))) == "finished"


def resume(arguments: argparse.Namespace) -> int:
    from altgrad.commands.resume_words import split_resume_words
    from altgrad.runs import resolve_run

    name, overrides = arguments.run, arguments.overrides
    if name and "=" in name and not _is_run(name):
        name, overrides = None, [name, *overrides]
    words, how = split_resume_words(overrides)
    run = resolve_run(name)
    if is_finished(str(run)) and not words:
        print(f"{run} is finished; for more steps: max_steps=… 'resume.allow=[max_steps]'")
        return 0
    from altgrad.training.build import read_config, resume_run
    from altgrad.training.recording import Console

    config = changed_config(read_config(run), words, arguments.config_dir) if words else None
    console = Console()
    trainer = resume_run(
        run, config=config, allow=how.allow, listeners=[console], progress=console.preparing
    )
    return run_trainer(trainer, console)


def _is_run(name: str) -> bool:
    """Whether it is a run's folder or name, which may hold a `=`, and no setting."""
    return any((path / "config.yaml").is_file() for path in (Path(name), Path("runs") / name))


def changed_config(config: Any, words: list[str], config_dir: str | None) -> Any:
    """`config` with the settings and presets that the words name."""
    from altgrad.training.config import TrainConfig
    from altgrad.training.unread_settings import refuse_unread, typed_settings

    composed, changed = compose_values(words, config_dir)[0], config.to_dict()
    for word in words:
        *path, last = word.partition("=")[0].lstrip("+").split(".")
        source, target = composed, changed
        for part in path:
            source, target = source[part], target[part]
        target[last] = source[last]
    made = TrainConfig.from_dict(changed)
    refuse_unread(made, typed_settings(words))
    return made


def reproduce(arguments: argparse.Namespace) -> int:

    from altgrad.runs import resolve_run

    run = resolve_run(arguments.run)
    from altgrad.training.recording import Console
    from altgrad.training.reproduce import reproduce as run_again

    console = Console()
    out = Path(arguments.out) if arguments.out else None
    watched: Any = {} if arguments.json else {"listeners": [console], "progress": console.preparing}
    result = run_again(run, out=out, tolerance=arguments.tolerance, **watched)
    if arguments.json:
        print(json_text(result.to_dict(), indent=2, default=str))
    else:
        for name, (then, now) in result.environment.items():
            say(f"environment: {name} was {str(then)[:60]!r}, is {str(now)[:60]!r}")
        say(f"{result.again}: {result.verdict}")
    return 0 if result.likeness.within(arguments.tolerance) else 1


def run_trainer(trainer: Any, console: Any) -> int:
    """Train, say how it ended, and give the exit code."""
    from altgrad.commands.end_of_run import close_run, final_sample

    summary = trainer.train()
    if not trainer.fabric.is_global_zero:
        with suppress(Exception):  # told by the first process
            final_sample(trainer, summary)
        return 0
    run = Path(os.path.relpath(summary["run_dir"]))
    if summary["status"] == "interrupted":
        resume = f"{program()} resume {shlex.quote(str(run))}"
        console.say(f"stopped and saved at step {summary['step']}; continue with: {resume}")
        return INTERRUPTED
    close_run(trainer, summary, console)
    return 0 if summary["status"] == "finished" else 1
