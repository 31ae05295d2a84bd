"""The terminal is given back on every way out, and keys and rows are what they seem."""

import os
import signal
import sys
import termios
from pathlib import Path

import pytest
from rich.text import Text

from altgrad.learn.cockpit.terminal import rendered, split_keys
from tests.learn.cockpit.screen import Screen, Session

PROGRAM = """
import sys
from rich.text import Text
from altgrad.learn.cockpit.terminal import Terminal
with Terminal() as terminal:
    while True:
        terminal.draw([Text("ready")])
        for key in terminal.keys(0.05):
            terminal.draw([Text(f"typed {key}")])
            terminal.keys(0.3)
            if key == "e":
                raise RuntimeError("an error")
            if key == "q":
                sys.exit(0)
"""


@pytest.fixture
def session(tmp_path):
    made = Session([sys.executable, "-c", PROGRAM], folder=tmp_path, columns=60, rows=12)
    yield made
    made.close()


def is_back(session: Session) -> bool:
    screen = session.screen
    same = termios.tcgetattr(session.fd) == session.settings
    return same and not screen.alternate and screen.cursor_shown


WAYS_OUT = {
    "the end": (lambda s: s.type("q"), 0),
    "an exception": (lambda s: s.type("e"), 1),
    "Ctrl-C": (lambda s: s.type("\x03"), -signal.SIGINT),
    "SIGTERM": (lambda s: os.kill(s.pid, signal.SIGTERM), 128 + signal.SIGTERM),
    "SIGHUP": (lambda s: os.kill(s.pid, signal.SIGHUP), 128 + signal.SIGHUP),
}


@pytest.mark.parametrize("way", WAYS_OUT)
def test_the_terminal_is_given_back(session, way):
    session.until("ready")
    assert not is_back(session)
    assert session.screen.alternate
    leave, code = WAYS_OUT[way]
    leave(session)
    assert session.end() in (code, 130 if way == "Ctrl-C" else code)
    assert is_back(session)


def test_it_is_given_back_while_the_program_is_stopped(session):
    session.until("ready")
    session.type("\x1a")  # Ctrl-Z
    _, status = os.waitpid(session.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    session.read()
    assert is_back(session)
    os.kill(session.pid, signal.SIGCONT)
    session.screen = Screen(60, 12)
    session.until("ready")
    assert session.screen.alternate
    session.type("q")
    assert session.end() == 0


def test_keys_come_one_by_one_and_a_new_size_is_drawn_anew(session):
    session.until("ready")
    session.type("\x1b[A")
    session.until("typed up")
    session.resize(40, 8)
    session.until("ready")


def test_split_keys():
    assert split_keys("n\x1b[Aq") == ["n", "up", "q"]
    assert split_keys("\x1b") == ["escape"]
    assert split_keys("\x1b[23~") == []


def test_a_row_is_cut_to_the_screen_whatever_is_in_it():
    screen = Screen(10, 2)
    screen.feed(rendered(Text("a very long row", style="red"), 10))
    assert screen.lines[0] == "a very lo…"


def test_a_terminal_is_not_there_without_keys_or_screen(monkeypatch):
    from altgrad.learn.cockpit import terminal

    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert not terminal.is_there()
