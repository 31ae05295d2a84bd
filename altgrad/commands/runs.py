"""`altgrad show|watch|plot|gc`: runs, looked at."""

import argparse
import sys
from pathlib import Path
from typing import Any

from altgrad.commands.words import add_command, say
from altgrad.runs import json_text


def add_run_commands(commands: Any) -> None:
    """Add `show`, `watch`, `plot`, `export-metrics` and `gc`."""
    _add_show(commands)
    _add_watch(commands)
    _add_plot(commands)
    _add_export_metrics(commands)
    _add_gc(commands)


def _add_show(commands: Any) -> None:
    parser = add_command(commands, "show", show, "list runs with status and best loss, or show one")
    parser.add_argument("run", nargs="?", help="a run folder or its name")
    parser.add_argument("--runs", default="runs", metavar="DIR", help="where the runs are (runs)")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def _add_watch(commands: Any) -> None:
    parser = add_command(commands, "watch", watch, "follow a run of another process")
    parser.add_argument("run", nargs="?", help="a run folder or its name (default: the latest)")
    parser.add_argument(
        "--every", type=float, default=2.0, metavar="S", help="look every S seconds (2)"
    )


def _add_plot(commands: Any) -> None:
    summary = "plot the losses of one or several runs, or any of their metrics"
    parser = add_command(commands, "plot", plot, summary)
    parser.epilog = PLOT_HELP
    parser.add_argument(
        "words",
        nargs="*",
        metavar="METRIC|RUN",
        help="metrics, by name or pattern (default: the losses), and run folders (default: the "
        "latest)",
    )
    parser.add_argument(
        "--out", metavar="FILE", help="the PNG to write (in the figures folder of the run)"
    )
    parser.add_argument(
        "--numerics",
        action="store_true",
        help="draw how one run was rounded: operands within their formats, losses over time",
    )


def _add_export_metrics(commands: Any) -> None:
    summary = "write metrics of runs as one table, for other programs"
    parser = add_command(commands, "export-metrics", export_metrics, summary)
    parser.epilog = EXPORT_HELP
    parser.add_argument(
        "words",
        nargs="*",
        metavar="METRIC|RUN",
        help="metrics, by name or pattern (default: all), and run folders (default: the latest)",
    )
    parser.add_argument("--out", metavar="FILE", help=".csv or .parquet (default: CSV on stdout)")


def _add_gc(commands: Any) -> None:
    parser = add_command(commands, "gc", gc, "remove what a run folder no longer needs")
    parser.add_argument("run", help="a run folder or its name")
    parser.add_argument(
        "--keep",
        type=int,
        metavar="N",
        help="keep the N newest checkpoints (the run's max_checkpoints)",
    )
    parser.add_argument(
        "--anomalies", action="store_true", help="also remove kept states of bad batches"
    )
    parser.add_argument("--dry-run", action="store_true", help="only print what would be removed")


PLOT_HELP = """\
examples:
  altgrad plot                                   the losses of the latest run
  altgrad plot runs/a runs/b --out both.png
  altgrad plot grad_norm runs/a runs/b           one metric of two runs
  altgrad plot 'sqnr_db/weight/*' val_loss       patterns; a panel for each kind
"""
EXPORT_HELP = """\
examples:
  altgrad export-metrics > all.csv
  altgrad export-metrics loss val_loss runs/a runs/b --out losses.parquet
"""


def runs_and_metrics(words: list[str]) -> tuple[list[Path], list[str]]:
    """What is a run folder, or its name, and what is left: metrics. Without a run, the latest."""
    from altgrad.runs import resolve_run

    runs, metrics = [], []
    for word in words:
        try:
            runs.append(resolve_run(word))
        except ValueError:
            if "/" in word and Path(word).parent.is_dir():
                raise  # meant as a folder
            metrics.append(word)
    return runs or [resolve_run(None)], metrics


def export_metrics(arguments: argparse.Namespace) -> None:
    from altgrad.runs.metric_table import PARQUET, metric_names, pick, write_csv, write_parquet

    runs, patterns = runs_and_metrics(arguments.words)
    names = metric_names(runs)
    names = pick(patterns, names) if patterns else names
    if arguments.out is None:
        write_csv(runs, names, sys.stdout)
        return
    path = Path(arguments.out)
    if path.suffix not in (".csv", PARQUET):
        raise ValueError(f"--out {path}: write a .csv or a {PARQUET} file")
    if path.suffix == PARQUET:
        write_parquet(runs, names, path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            write_csv(runs, names, file)
    say(path)


def show(arguments: argparse.Namespace) -> None:

    from altgrad.runs import find_runs, resolve_run, summarise_run

    base = arguments.runs
    runs = [resolve_run(arguments.run, base)] if arguments.run else find_runs(base)
    summaries = [summarise_run(runs[0])] if arguments.run else _summaries(runs)
    if arguments.json:
        print(json_text([s.to_dict() for s in summaries], indent=2))
        return
    from altgrad.runs.view import print_run, print_runs

    if arguments.run:
        print_run(summaries[0])
    else:
        print_runs(summaries, base)


def _summaries(runs: list[Path]) -> list[Any]:
    """Of altgrad's own runs; the other folders are named on stderr."""
    from altgrad.runs import summarise_run

    found = []
    for run in runs:
        try:
            found.append(summarise_run(run))
        except (ValueError, KeyError, TypeError) as error:
            print(f"left out {run}: {' '.join(str(error).split())}", file=sys.stderr)
    return found


def watch(arguments: argparse.Namespace) -> int:
    from altgrad.runs import resolve_run

    run = resolve_run(arguments.run)
    from altgrad.runs.watch import watch as follow

    terminal = sys.stdout.isatty()

    def draw(text: str) -> None:
        print(f"\033[H\033[2J{text}" if terminal else text, flush=True)

    status = follow(run, every_s=arguments.every, draw=draw, curves=terminal)
    return 0 if status == "finished" else 1


def plot(arguments: argparse.Namespace) -> None:
    from altgrad.runs.plots import plot_metrics, plot_runs, terminal_plot

    runs, metrics = runs_and_metrics(arguments.words)
    if arguments.numerics:
        _plot_numerics(runs, metrics, arguments.out)
        return
    if metrics:
        name = "".join(c if c.isalnum() or c in "_-" else "_" for c in "-".join(metrics))[:80]
        default = runs[0] / "figures" / f"metrics_{name}.png"
        say(plot_metrics(runs, metrics, Path(arguments.out) if arguments.out else default))
        return
    default = runs[0] / "figures" / ("loss.png" if len(runs) == 1 else "losses.png")
    path = plot_runs(runs, Path(arguments.out) if arguments.out else default)
    if len(runs) == 1 and sys.stdout.isatty():
        print(terminal_plot(runs[0]))
    say(path)


def _plot_numerics(runs: list[Path], metrics: list[str], out: str | None) -> None:
    from altgrad.runs import resolve_run
    from altgrad.training.recording.numerics_plots import plot_numerics

    for name in metrics:
        resolve_run(name)  # refuses it: here a word is a run
    if len(runs) > 1 or out:
        raise ValueError(
            "plot --numerics draws one run, into its own figures folder; give one RUN and no --out"
        )
    for path in plot_numerics(runs[0]):
        say(path)


def gc(arguments: argparse.Namespace) -> None:
    from altgrad.runs import resolve_run

    run = resolve_run(arguments.run)
    from altgrad.training.checkpoints.garbage import collect_garbage, find_garbage

    act = find_garbage if arguments.dry_run else collect_garbage
    found = act(run, keep=arguments.keep, anomalies=arguments.anomalies)
    for garbage in found:
        say(f"{garbage.path.name}: {garbage.bytes:,} bytes, {garbage.why}")
    said = "would free" if arguments.dry_run else "freed"
    say(f"{said} {sum(g.bytes for g in found):,} bytes in {len(found)} folders of {run}")
