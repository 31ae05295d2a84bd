"""A program in a real pseudo-terminal, and what it shows there: for tests, and for the pictures.

Only the control sequences that the cockpit writes are understood; another one is an error.
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from pathlib import Path

PIECE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|([^\x1b])", re.DOTALL)


class Screen:
    """Rows of (character, style); style is the text of the last SGR sequences since a reset."""

    def __init__(self, columns: int, rows: int):
        self.columns, self.rows = columns, rows
        self.alternate = False
        self.cursor_shown = True
        self._rest, self._style = "", ""
        self._clear()

    def _clear(self) -> None:
        self.cells = [[(" ", "")] * self.columns for _ in range(self.rows)]
        self._row = self._column = 0

    def feed(self, text: str) -> None:
        text = self._rest + text
        cut = text.rfind("\x1b") if "\x1b" in text[-12:] else -1
        whole = cut < 0 or PIECE.match(text, cut)
        self._rest = "" if whole else text[cut:]
        for piece in PIECE.finditer(text if whole else text[:cut]):
            arguments, letter, character = piece.groups()
            if character:
                self._put(character)
            else:
                self._control(arguments, letter)

    def _put(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._row = min(self._row + 1, self.rows - 1)
        elif self._column < self.columns:
            self.cells[self._row][self._column] = (character, self._style)
            self._column += 1

    def _control(self, arguments: str, letter: str) -> None:
        if letter == "m":
            self._style = "" if arguments in ("", "0") else f"{self._style};{arguments}".strip(";")
        elif letter == "H":
            row, column = (int(x) for x in (arguments or "1;1").split(";"))
            self._row, self._column = min(row, self.rows) - 1, column - 1
        elif letter == "K":
            empty = [(" ", "")] * (self.columns - self._column)
            self.cells[self._row][self._column :] = empty
        elif letter == "J":
            self._clear()
        elif arguments == "?1049":
            self.alternate = letter == "h"
        elif arguments == "?25":
            self.cursor_shown = letter == "h"
        else:
            raise ValueError(f"not understood: {arguments}{letter}")

    @property
    def lines(self) -> list[str]:
        return ["".join(c for c, _ in row).rstrip() for row in self.cells]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


class Session:
    """`Session([program, …])` runs in a pseudo-terminal of this size until `close()`."""

    def __init__(
        self,
        words: list[str],
        *,
        folder: Path,
        columns: int = 100,
        rows: int = 30,
        environment: dict[str, str] | None = None,
    ):
        self.screen = Screen(columns, rows)
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(folder)
                given = {"TERM": "xterm-256color", "OMP_NUM_THREADS": "1", **(environment or {})}
                os.execvpe(words[0], words, os.environ | given)
            finally:
                os._exit(127)
        self.resize(columns, rows)
        self.settings = termios.tcgetattr(self.fd)
        self.output = ""
        self.code: int | None = None

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen = Screen(columns, rows)

    def type(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def read(self, wait_s: float = 0.1) -> bool:
        """Take in what was written; False once the program has closed its end."""
        ready, _, _ = select.select([self.fd], [], [], wait_s)
        if not ready:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        text = data.decode(errors="replace")
        self.output += text
        self.screen.feed(text)
        return bool(data)

    def until(self, wanted: str, timeout_s: float = 60) -> str:
        """Wait for a text on the screen; returns the screen. Raises AssertionError without it."""
        end = time.monotonic() + timeout_s
        while wanted not in self.screen.text:
            assert time.monotonic() < end, f"no {wanted!r} on:\n{self.screen.text}"
            assert self.read(), f"ended without {wanted!r}:\n{self.output[-2000:]}"
        return self.screen.text

    def end(self, timeout_s: float = 30) -> int:
        """Wait for the program's end; its exit code, or minus the signal that ended it."""
        limit = time.monotonic() + timeout_s
        while self.code is None:
            assert time.monotonic() < limit, f"still running:\n{self.screen.text}"
            self.read(0.05)
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                self.code = os.waitstatus_to_exitcode(status)
        while self.read(0.05) and select.select([self.fd], [], [], 0.05)[0]:
            pass
        return self.code

    def close(self) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)
