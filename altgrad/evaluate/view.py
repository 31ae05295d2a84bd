"""An evaluation as the user sees it: a line for each task as it ends, then the mean."""

import sys
from pathlib import Path

from altgrad.evaluate.core import Aggregate, TaskResult
from altgrad.evaluate.corpus import CorpusResult
from altgrad.evaluate.run import (
    Report,
    Watcher,
    Wishes,
    check_place,
    evaluate_run,
    keep_report,
)
from altgrad.runs import json_text
from altgrad.runs.printable import printable
from altgrad.runs.view import duration
from altgrad.training.build import load_run
from altgrad.training.recording import Console

HEADER = f"{'task':<33}{'shots':>6}{'asked':>7}{'accuracy':>18}{'centred':>18}{'time':>12}"


class EvaluationView(Watcher):
    """Prints to a console."""

    def __init__(self, console: Console):
        self.console = console
        self._headed = False
        self._left_s = 0.0

    def corpus(self, result: CorpusResult) -> None:
        self.console.say(corpus_line(result))

    def task(self, result: TaskResult) -> None:
        if not self._headed:
            self.console.say(HEADER)
            self._headed = True
        left = f"  {duration(self._left_s)} left" if self._left_s >= 1 else ""
        self.console.say(task_line(result) + left)

    def progress(self, done: int, total: int) -> None:
        if self.console.is_terminal:
            end = "\n" if done >= total else "\r"
            self.console.console.print(f"  {done / max(total, 1):.0%} ", end=end)

    def remaining(self, seconds: float) -> None:
        self._left_s = seconds
        if self.console.is_terminal:
            self.console.console.print(f"  about {duration(seconds)} left   ", end="\r")

    def finish(self, report: Report) -> None:
        if report.total:
            self.console.say(total_line(report.total))
        for task, figures in report.harness.items():
            for name, value in figures.items():
                if isinstance(value, float):
                    self.console.say(f"lm-eval {task} {name} {value:.4f}")


def evaluate_and_show(
    run: Path, wishes: Wishes, *, checkpoint: str, as_json: bool, keep: bool = True
) -> None:
    """Load the run, evaluate, print, and keep the report in the run's folder: last, so that a disk
    that fills up meanwhile takes nothing that was measured."""
    console = Console()
    view = EvaluationView(console)
    loaded = load_run(run, which=checkpoint)
    for remark in loaded.remarks:
        print(f"note: {printable(remark)}", file=sys.stderr)
    if keep:
        check_place(run)
    report = evaluate_run(loaded, wishes, None if as_json else view)
    if as_json:
        console.raw(json_text(report.to_dict(), indent=1))
    else:
        view.finish(report)
    path = keep_report(run, report) if keep else None
    if path and not as_json:
        console.say(f"kept in {path}")


def corpus_line(result: CorpusResult) -> str:
    line = f"{result.text}: loss {result.loss:.4f} · perplexity {result.perplexity:.3f}"
    if result.bits_per_byte is not None:
        line += f" · {result.bits_per_byte:.4f} bits/byte"
    elif result.lost:
        line += f" · no bits/byte: the tokenizer loses {result.lost:,} piece(s) of this text"
    return f"{line} · {result.tokens:,} tokens"


def task_line(result: TaskResult) -> str:
    line = (
        f"{result.task:<33}{result.shots:>6}{result.asked:>7}"
        f"{result.accuracy:>10.4f} ± {result.error:.3f}"
        f"{result.centred:>10.4f} ± {result.centred_error:.3f}{duration(result.seconds):>12}"
    )
    return f"{line}  ({result.skipped} skipped)" if result.skipped else line


def total_line(total: Aggregate) -> str:
    return f"{total.label}: {total.value:.6f} ± {total.error:.3f}"
