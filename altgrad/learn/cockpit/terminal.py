"""A terminal taken over for a while: keys one by one, a screen of its own; then given back.

Given back on every way out: the end, an exception, Ctrl-C, SIGTERM, SIGHUP; and for as long as the
program is stopped by Ctrl-Z.
"""

import io
import os
import select
import signal
import sys
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any

from rich.console import Console
from rich.text import Text

ENTER = "\x1b[?1049h\x1b[?25l"  # the other screen, without a cursor
LEAVE = "\x1b[?25h\x1b[?1049l"
SEQUENCES = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
}
ENDING = ("SIGTERM", "SIGHUP")


def is_there() -> bool:
    """Can keys be read and a screen be drawn: a terminal on both ends, of a kind that can move?"""
    try:
        import termios  # noqa: F401
    except ImportError:  # Windows
        return False
    both = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
    return both and os.environ.get("TERM", "dumb") != "dumb"


class Terminal:
    """`with Terminal() as terminal:` draws and reads keys on standard input and output."""

    def __enter__(self) -> "Terminal":
        import termios

        self._in, self._out = sys.stdin.fileno(), sys.stdout.fileno()
        self._before: Any = termios.tcgetattr(self._in)
        self._handlers = {
            number: signal.getsignal(number)
            for number in (*(getattr(signal, name) for name in ENDING), signal.SIGTSTP)
        }
        self.moved = False  # what was drawn is no longer there
        self._drawn = (0, 0)  # columns and rows
        self._shown: list[Text] = []
        try:
            for name in ENDING:
                signal.signal(getattr(signal, name), _end)
            signal.signal(signal.SIGTSTP, self._stop)
            self._take()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._give_back()
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    def _take(self) -> None:
        import tty

        tty.setcbreak(self._in)
        self._write(ENTER)
        self.moved = True

    def _give_back(self) -> None:
        import termios

        try:
            termios.tcsetattr(self._in, termios.TCSADRAIN, self._before)
        finally:
            self._write(LEAVE)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z: give the terminal back, stop, and take it again once we go on."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()

    def _write(self, text: str) -> None:
        """All of it; a terminal that is gone needs nothing any more."""
        data = text.encode()
        try:
            while data:
                data = data[os.write(self._out, data) :]
        except OSError:
            return

    def keys(self, wait_s: float) -> list[str]:
        """What was typed, within this time; `q` where nobody can type any more."""
        ready, _, _ = select.select([self._in], [], [], wait_s)
        if not ready:
            return []
        try:
            typed = os.read(self._in, 256)
        except OSError:
            typed = b""
        return split_keys(typed.decode(errors="replace")) if typed else ["q"]

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows, at least some."""
        try:
            columns, rows = os.get_terminal_size(self._out)
        except OSError:
            columns, rows = 80, 24
        return max(columns, 20), max(rows, 6)

    def draw(self, lines: Sequence[Text]) -> None:
        """Show these lines from the top; rows that are as before are not written again."""
        columns, rows = self.size
        shown = [*lines[:rows], *[Text()] * (rows - len(lines))]
        if self.moved or self._drawn != (columns, rows):
            self._write("\x1b[2J")
            self._shown, self._drawn, self.moved = [Text()] * rows, (columns, rows), False
        changed = (
            f"\x1b[{row + 1};1H{rendered(new, columns)}\x1b[0m\x1b[K"
            for row, (new, old) in enumerate(zip(shown, self._shown, strict=True))
            if new != old
        )
        self._write("".join(changed))
        self._shown = shown


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def split_keys(typed: str) -> list[str]:
    """`"n\\x1b[Aq"` -> n, up, q; unknown sequences are left out."""
    keys: list[str] = []
    while typed:
        known = next((s for s in SEQUENCES if typed.startswith(s)), "")
        if known:
            keys.append(SEQUENCES[known])
        elif typed[0] != "\x1b":
            keys.append(typed[0])
        elif typed == "\x1b":
            keys.append("escape")
        else:  # an unknown sequence came in one piece
            break
        typed = typed[len(known) or 1 :]
    return keys


def rendered(line: Text, columns: int) -> str:
    """One row of the screen with its colours, cut to its width."""
    line = line.copy()
    line.truncate(columns, overflow="ellipsis")
    console = Console(
        file=io.StringIO(), width=columns, force_terminal=True, color_system="standard"
    )
    console.print(line, end="", no_wrap=True, crop=True, highlight=False)
    return console.file.getvalue()  # type: ignore[attr-defined]
