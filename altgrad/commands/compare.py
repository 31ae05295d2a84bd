"""`altgrad compare`, `altgrad report`, `altgrad baseline`: words -> calls of `altgrad.compare`."""

import argparse
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from altgrad.commands import words
from altgrad.runs import json_text
from altgrad.trust import said_by

AddCommand = Callable[..., argparse.ArgumentParser]
Compose = Callable[..., Any]

TOLERANCE_HELP = "by what share of the target the loss may be off (0.05)"
SPREAD_HELP = "by what share of the target the seeds may differ (0.01)"
COMPARE_HELP = """\
A setting whose value is a list is an axis; its first value is the control. Of the question:
  control=NAME  seeds=5 | seeds=[1,2,3] | seeds=auto max_seeds=20 (as you go, peeking allowed)
  spread=LEDGER|COMPARISON (with seeds=auto: how noisy earlier pairs of the same size were)
  budget=tokens|flops|time  delta=0.01  alpha=0.05  correction=holm|none  allow=[setting,…]
  primary=val_loss last=1   design=crossed|ablation   name=…   question='…'
    fraction=1/2 interactions=2  contrasts='{eight bits: {e4m3: 1, bf16: -1}}'
  design=scaling sizes=2x64,3x96,4x128,5x192 tokens_per_parameter=20 (over sizes)
    flops_per_run=…  head_width=32  max_epochs=4  fit_over=parameters|flops  forecast_to=8x512
  tune=optim.lr tuning.grid=0.001,0.003,0.01 tuning.seeds=1 tuning.extend=2 tuning.search=optuna
Where it runs (changes no result):
  launcher=local|ray|slurm jobs=2 threads=1 jobs_per_device=4 retries=1 runs=runs
  ray_address=…  storage=PATH|s3://…
  slurm_cluster=slurm|local slurm_partition=… slurm_timeout_min=240
All other arguments are settings of every run, as `altgrad train` takes them.

examples:
  altgrad compare precision=bf16,e5m2 seeds=5
  altgrad compare model=gpt2,llama budget=flops jobs=2
  altgrad compare optim=adamw,muon design=scaling sizes=2x32,2x64,3x96,4x128 \\
    tokens_per_parameter=2 tune=optim.lr seeds=5
  altgrad compare experiments/muon_vs_adamw.yaml
  altgrad compare A.yaml B.yaml design=ablation     (two files of settings, or two run folders)
"""


def add_compare_commands(commands: Any, add_command: AddCommand, compose: Compose) -> None:
    """Add the three commands; `compose(words, config_dir)` makes settings of words."""
    _add_compare(commands, add_command, compose)
    _add_report(commands, add_command)
    _add_baseline(commands, add_command)


def _add_compare(commands: Any, add_command: AddCommand, compose: Compose) -> None:
    run = partial(compare, compose)
    parser = add_command(
        commands, "compare", run, "run variants (arms) against a control and judge each"
    )
    parser.epilog = COMPARE_HELP
    parser.add_argument(
        "words", nargs="+", metavar="FILE|KEY=VALUE", help="the question, see below"
    )
    parser.add_argument("--config-dir", metavar="DIR", help="folder with further presets")
    words.add_trust(parser)
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")
    parser.add_argument(
        "--dry-run", action="store_true", help="check the question and print what would run"
    )


def _add_report(commands: Any, add_command: AddCommand) -> None:
    summary = "write the report of a comparison from its run folders"
    parser = add_command(commands, "report", report, summary)
    parser.add_argument(
        "what",
        nargs="*",
        metavar="COMPARISON|RUN",
        help="a comparison, or runs to compare (the latest)",
    )
    parser.add_argument("--axis", default="", help="with runs: the setting that may differ")
    parser.add_argument(
        "--delta", type=float, default=0.01, help="smallest difference that matters (0.01)"
    )
    parser.add_argument("--runs", default="runs", metavar="DIR", help="where the runs are (runs)")
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")


def _add_baseline(commands: Any, add_command: AddCommand) -> None:
    summary = "keep a control arm, and verify that it still holds"
    parser = add_command(commands, "baseline", _help, summary)
    parser.set_defaults(parser=parser)
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    freezing = add_command(
        actions, "freeze", freeze, "store a record of finished runs to hold later ones against"
    )
    freezing.add_argument("name", help="such as baseline-v0")
    freezing.add_argument("runs", nargs="+", metavar="RUN", help="run folders, one per seed")
    freezing.add_argument("--target", type=float, help="validation loss to reach (their mean)")
    freezing.add_argument("--tolerance", type=float, default=0.05, help=TOLERANCE_HELP)
    freezing.add_argument("--spread", type=float, default=0.01, help=SPREAD_HELP)
    freezing.add_argument(
        "--into", metavar="DIR", help="where the record goes (experiments/baselines)"
    )
    verifying = add_command(actions, "verify", verify, "run it again and compare with its record")
    verifying.add_argument("name", nargs="?", help="a record's name or file (without: list them)")
    words.add_trust(verifying)
    verifying.add_argument("--seeds", type=int, help="how many of its seeds to run (all)")
    verifying.add_argument(
        "words", nargs="*", metavar="KEY=VALUE", help="where it runs: launcher=, jobs=, device="
    )


def _help(arguments: argparse.Namespace) -> None:
    arguments.parser.print_help()


# -- the calls ------------------------------------------------------------------------------------


def compare(compose: Compose, arguments: argparse.Namespace) -> int:
    from altgrad.compare.asking import maker_of
    from altgrad.compare.launching import take_launch_words
    from altgrad.compare.question import read_question

    say = partial(words.say, file=sys.stderr if arguments.json else sys.stdout)
    launch, typed = take_launch_words(arguments.words)
    compose_arm = partial(_compose_arm, partial(compose, remark=words.once(say)), arguments)
    question = read_question(typed)
    if not question.of_programs:
        question = _with_spread(question, launch.runs, compose_arm)
    comparison = maker_of(question)(
        question,
        compose_arm,
        launch=launch,
        say=say,
        report=partial(_progress, say),
        command=_command(arguments),
    )
    if arguments.dry_run:
        comparison.prepare()
        return 0
    try:
        folder = comparison.run()
    except KeyboardInterrupt:
        say(f"\nstopped; everything so far is kept. Go on with: {_command(arguments)}")
        raise
    return _finish(folder, arguments.json, say)


def _with_spread(question: Any, runs: str, compose: Compose) -> Any:
    """The question with the noise that `spread=FOLDER` knows: of a ledger, or of a comparison."""
    from altgrad.compare.regroup import find_comparison
    from altgrad.compare.spread import spread_of_comparison
    from altgrad.ideas.ledger import LedgerFile
    from altgrad.ideas.loop import ledger_folder
    from altgrad.ideas.spread import spread_of_ledger

    source = question.spread.source
    if not source or question.spread.value:
        return question
    ledger = Path(source) if Path(source).is_dir() else ledger_folder(source, runs)
    if LedgerFile(ledger).exists():
        return replace(question, spread=spread_of_ledger(ledger, compose))
    return replace(question, spread=spread_of_comparison(find_comparison([source], runs)))


def _compose_arm(compose: Compose, arguments: argparse.Namespace, words: list[str]) -> Any:
    """Names of code that only composing the words of an experiment file brings about are the
    file's, too."""
    config = compose(words, arguments.config_dir)
    for file in (word for word in arguments.words if "=" not in word):
        said_by(file, config.to_dict())
    return config


def _command(arguments: argparse.Namespace) -> str:
    overlay = ["--config-dir", arguments.config_dir] if arguments.config_dir else []
    return shlex.join(["altgrad", "compare", *arguments.words, *overlay])


def _progress(say: Callable[[str], None], done: int, total: int, label: str, state: str) -> None:
    say(f"[{done}/{total}] {label}: {state}")


def _finish(folder: Path, as_json: bool, say: Callable[[str], None]) -> int:
    from altgrad.compare.asking import reader_of
    from altgrad.compare.report import has_charts

    reader = reader_of(folder)
    conclusion = reader.conclude(folder)
    reader.write_verdict(conclusion)
    say("")
    for line in reader.lines(conclusion):
        say(line)
    for path in reader.write_reports(conclusion):
        say(f"report: {path}")
    if not has_charts():
        say(
            "no HTML page: it needs pip install 'altgrad[report]', then "
            f"altgrad report {shlex.quote(str(folder))}"
        )
    if as_json:
        print(json_text(conclusion.to_dict(), indent=1))
    return 0


def report(arguments: argparse.Namespace) -> int:
    from altgrad.compare.regroup import find_comparison

    say = partial(words.say, file=sys.stderr if arguments.json else sys.stdout)
    folder = find_comparison(
        arguments.what, arguments.runs, axis=arguments.axis, delta=arguments.delta
    )
    return _finish(folder, arguments.json, say)


def freeze(arguments: argparse.Namespace) -> int:
    from altgrad.compare.baseline import OWN_RECORDS, freeze_baseline, narrow_spread

    path = freeze_baseline(
        arguments.name,
        [Path(run) for run in arguments.runs],
        into=Path(arguments.into or OWN_RECORDS),
        target=arguments.target,
        tolerance=arguments.tolerance,
        spread=arguments.spread,
    )
    words.say(path)
    if remark := narrow_spread(path):
        words.say(remark)
    return 0


def verify(arguments: argparse.Namespace) -> int:
    from altgrad.compare.baseline import list_baselines, verify_baseline

    if arguments.name is None:
        for line in list_baselines():
            words.say(line)
        return 0
    holds, lines = verify_baseline(
        arguments.name, arguments.words, seeds=arguments.seeds, report=partial(_progress, words.say)
    )
    for line in lines:
        words.say(line)
    return 0 if holds else 1
