"""Following a run of another process: its curves in a terminal, plain lines elsewhere."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from altgrad.runs.disk import PIECE_BYTES
from altgrad.runs.folder import RunFolder, run_status
from altgrad.runs.lines import metrics_in
from altgrad.runs.printable import printable
from altgrad.runs.summary import read_settings
from altgrad.runs.view import duration


class Follower:
    """New lines of a growing JSONL file; starts over when the file was replaced or cut.

    Attributes:
        starts: how often it began at the file's first line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.starts = 0
        self._place: tuple[int, int] = (-1, 0)

    def new_lines(self) -> Iterator[dict[str, Any]]:
        """Whole lines since the last call; a line still being written waits for its end."""
        for texts in self.new_texts():
            yield from metrics_in(text.decode(errors="replace") for text in texts)

    def new_texts(self) -> Iterator[list[bytes]]:
        """The same before anybody has parsed them, some megabytes at a time."""
        try:
            with self.path.open("rb") as file:
                self._seek(file)
                while whole := self._whole_lines(file):
                    yield whole
        except FileNotFoundError:
            return

    def _seek(self, file: Any) -> None:
        found = os.fstat(file.fileno())
        inode, offset = self._place
        if inode != found.st_ino or offset > found.st_size:
            offset, self.starts = 0, self.starts + 1
        self._place = (found.st_ino, offset)

    def _whole_lines(self, file: Any) -> list[bytes]:
        inode, offset = self._place
        file.seek(offset)
        content = file.read(PIECE_BYTES)
        while b"\n" not in content and (more := file.read(PIECE_BYTES)):
            content += more
        whole = content[: content.rfind(b"\n") + 1]
        self._place = (inode, offset + len(whole))
        return whole.splitlines()


def watch(
    run: Path,
    *,
    every_s: float = 2.0,
    draw: Callable[[str], None],
    curves: bool,
    wait: Callable[[float], None] = time.sleep,
) -> str:
    """Follow a run until it ends; returns how it ended.

    Args:
        draw: shows one state of affairs: a picture with `curves`, else one line.
    """
    steps = Follower(RunFolder(run).metrics)
    end = read_settings(RunFolder(run).config, programs=True)["max_steps"]
    newest: dict[str, Any] = {}
    while True:
        status = run_status(run)
        arrived = list(steps.new_lines())
        newest = arrived[-1] if arrived else newest
        if arrived or status != "running":
            line = describe(run.name, status, newest, end)
            draw(picture(run, line) if curves else line)
        if status != "running":
            return status
        wait(every_s)


def describe(name: str, status: str, metrics: dict[str, Any], end: int) -> str:
    """One line: where the run is, how fast, how long still."""
    parts = [name, status]
    if "step" in metrics:
        parts.append(f"step {metrics['step']}/{end}" if end else f"step {metrics['step']}")
    if "loss" in metrics:
        parts.append(f"loss {metrics['loss']:.4f}")
    if "val_loss" in metrics:
        parts.append(f"validation loss {metrics['val_loss']:.4f}")
    if end and {"step", "step_ms", "tokens_per_s"} <= set(metrics) and status == "running":
        left_s = (end - metrics["step"]) * metrics["step_ms"] / 1e3
        parts += [f"{metrics['tokens_per_s']:,.0f} tokens/s", f"about {duration(left_s)} left"]
    return printable(" · ".join(parts))


def picture(run: Path, line: str) -> str:
    """The curves above the line; the line alone where they cannot be drawn, and why."""
    from altgrad.runs.plots import terminal_plot

    try:
        return f"{terminal_plot(run)}\n{line}"
    except Exception as error:
        return f"no curves: {printable(error)}\n{line}"
