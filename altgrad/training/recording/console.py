"""What a person sees of a run: a live bar on a terminal, plain lines in a pipe or a log."""

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from altgrad.runs import Metrics
from altgrad.runs.printable import printable
from altgrad.runs.view import duration
from altgrad.training.health import Finding


class Console:
    """A listener (see `recorder.Listener`) that prints.

    Args:
        clock: seconds; another one for tests.
        console: where to print.
        plain_every_s: seconds between lines of progress when there is no terminal.
    """

    def __init__(
        self,
        *,
        console: RichConsole | None = None,
        clock: Callable[[], float] = time.perf_counter,
        plain_every_s: float = 10.0,
    ) -> None:
        self.console = console or RichConsole(highlight=False, soft_wrap=True)
        self.clock = clock
        self.plain_every_s = plain_every_s
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._last_plain = clock()
        self._start = 0
        self._steps: deque[float] = deque(maxlen=30)
        self._evaluations: list[float] = []

    @property
    def is_terminal(self) -> bool:
        return self.console.is_terminal

    def _print(self, text: str, style: str | None = None) -> None:
        """Whatever is in `text`, a name or a sample, it stays text."""
        self.console.print(printable(text), style=style, markup=False)

    def say(self, text: str) -> None:
        self._print(text)

    def raw(self, text: str) -> None:
        """Text with its own colours or columns, printed as it is."""
        self.console.file.write(text + "\n")

    def sample(self, text: str) -> None:
        """A longer sample, indented."""
        self.console.print("sample:", style="bold")
        self._print("\n".join("  " + line for line in text.splitlines()))

    def preparing(self, done: int, total: int) -> None:
        """Progress of data preparation, in bytes."""
        if self.is_terminal:
            end = "\n" if done >= total else "\r"
            self.console.print(f"preparing data: {done / max(total, 1):.0%} ", end=end)

    def opened(self, folder: Path, step: int, facts: dict[str, Any]) -> None:
        self._start = step
        self._steps.clear()
        self._evaluations.clear()
        for name, fact in facts.items():
            self.say(f"{name:>8}  {fact}")
        where = f"{folder}, resumed at step {step}" if step else str(folder)
        self.say(f"{'run':>8}  {where}")
        if self.console.is_terminal:
            self._bar = _bar(self.console)
            self._bar.start()
            self._task = self._bar.add_task("compiling and first step", total=None, facts="")

    def progress(self, step: int, end: int, metrics: Metrics) -> None:
        now = self.clock()
        facts = f"loss {metrics['loss']:.3f}"
        if "tokens_per_s" in metrics:
            facts += f" · {metrics['tokens_per_s']:,.0f} tokens/s"
            facts += f" · {self._time_left(step, end, metrics)}"
        if self._bar is not None:
            self._bar.update(
                self._task, description="training", completed=step, total=end, facts=facts
            )
        elif now - self._last_plain >= self.plain_every_s:
            self._last_plain = now
            self._print(f"step {step}/{end} · {facts}")

    def _time_left(self, step: int, end: int, metrics: Metrics) -> str:
        """From the pace of the last steps and of the evaluations so far, compilation left out."""
        self._steps.append(metrics["step_ms"] / 1e3)
        if "eval_s" in metrics:
            self._evaluations.append(metrics["eval_s"])
        pace = median(self._steps)
        if self._evaluations:
            pace += min(self._evaluations) * len(self._evaluations) / max(step - self._start, 1)
        return f"{duration(pace * (end - step))} left"

    def evaluated(self, step: int, metrics: Metrics, sample: str) -> None:
        loss, perplexity = metrics["val_loss"], metrics["val_perplexity"]
        line = f"step {step} · validation loss {loss:.4f} · perplexity {perplexity:.3f}"
        if "val_bits_per_byte" in metrics:
            line += f" · {metrics['val_bits_per_byte']:.4f} bits/byte"
        line += f" · {duration(metrics['train_s'])} of training"
        self._print(line, style="bold")
        if sample:
            self._print("  " + one_line(sample), style="dim")

    def alert(self, step: int, finding: Finding) -> None:
        style = "bold red" if finding.level == "critical" else "yellow"
        self._print(f"step {step}: {finding.reason}", style=style)

    def notice(self, step: int, text: str) -> None:
        self._print(f"step {step}: {text}", style="yellow")

    def closed(self, status: str) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _bar(console: RichConsole) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TextColumn("{task.fields[facts]}"),
        console=console,
        transient=True,
        expand=True,
    )


def one_line(text: str, width: int = 76) -> str:
    """A short sample on one line, line breaks shown as ⏎."""
    flat = " ".join(text.replace("\n", " ⏎ ").split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"
