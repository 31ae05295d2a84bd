"""Whatever the command is, SIGTERM and SIGHUP stop it as Ctrl-C does: exit code 130."""

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from altgrad import cli
from altgrad.commands.stopping import STOPS, end_at_once
from altgrad.compare.launching import apart
from altgrad.programs.process import call_and_forward
from altgrad.training.health import StopSignal


@pytest.fixture
def handlers():
    """Puts back what a test sets."""
    before = {number: signal.getsignal(number) for number in STOPS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def run(monkeypatch):
    """`run(command)`: the exit code of `altgrad` where the words mean this function."""

    def main(command):
        asked = argparse.Namespace(command=command, overrides=[])
        monkeypatch.setattr(cli, "parse_words", lambda argv: asked)
        return cli.main(["anything"])

    return main


def hit(number, code=0):
    """A command that gets a signal half-way."""

    def command(_):
        os.kill(os.getpid(), number)
        for _ in range(100):
            time.sleep(0.001)
        return code

    return command


@pytest.mark.parametrize("born", [signal.default_int_handler, signal.SIG_DFL, signal.SIG_IGN])
@pytest.mark.parametrize("number", STOPS)
def test_every_command_stops_at_a_signal(run, handlers, number, born):
    """Also one that a script began in the background: its SIGINT is ignored when it is born."""
    if number == signal.SIGHUP and born == signal.SIG_IGN:
        pytest.skip("the next test")
    signal.signal(number, born)
    assert run(hit(number)) == 130
    assert signal.getsignal(number) is born


def test_nohup_keeps_a_command_going(run, handlers):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert run(hit(signal.SIGHUP, code=7)) == 7


def test_nohup_keeps_a_run_going(handlers):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.01)
        assert not stop.requested
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert stop.requested


def test_a_command_in_a_thread_leaves_signals_alone(run):
    codes = []
    thread = threading.Thread(target=lambda: codes.append(run(lambda _: 3)))
    thread.start()
    thread.join()
    assert codes == [3]


def test_a_server_gets_its_signals_itself(run, handlers):
    def serve(_):
        end_at_once()
        return int(any(signal.getsignal(n) != signal.SIG_DFL for n in STOPS[:2]))

    assert run(serve) == 0


def test_what_a_signal_was_handed_on_to_has_not_failed(tmp_path):
    """A patched idea whose smoke test is stopped must not go into the ledger as crashed."""
    asleep = [sys.executable, "-c", _sleep_at(tmp_path / "up")]
    _signal_once(tmp_path / "up", signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        call_and_forward(asleep, environment=os.environ, cwd=str(tmp_path))


@pytest.mark.slow
def test_a_process_apart_ends_with_the_command_that_waits_for_it(tmp_path):
    """Slow: a forkserver loads torch. The signal reaches the command alone, as a cluster's does."""
    _signal_once(tmp_path / "up", signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        apart(exec, _sleep_at(tmp_path / "up"))
    assert time.time() - (tmp_path / "up").stat().st_mtime < ASLEEP_S / 2


ASLEEP_S = 40


def _sleep_at(place: Path) -> str:
    return f"import time; open({str(place)!r}, 'w').close(); time.sleep({ASLEEP_S})"


def _signal_once(place: Path, number: int) -> None:
    """This process gets it as soon as the file is there."""

    def send():
        while not place.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()
