"""The two things that the page does: stop a run cleanly, and go on with one that was stopped.

Stopping sends SIGINT, once, to the process that holds the run's lock: what Ctrl-C does. It takes
its step to the end, saves and ends as `interrupted`. Going on starts `altgrad resume RUN` as a
process of its own, which outlives the page.
"""

import hmac
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from altgrad.runs import lock_holder, run_status
from altgrad.runs.printable import printable
from altgrad.settings import require
from altgrad.studio.libraries import own_environment

RESUMABLE = ("interrupted", "failed")
STARTS_IN_S = 60.0


def new_token() -> str:
    return secrets.token_urlsafe(18)


def is_token(given: str, token: str) -> bool:
    """In a time that does not tell how much of it is right."""
    return hmac.compare_digest(given.encode(), token.encode())


def stop(run: Path) -> None:
    """Ask the run to save and stop.

    Raises:
        ConfigError: it is not running, or on another machine.
    """
    require(run_status(run) == "running", f"{run.name} is not running.")
    holder = lock_holder(run)
    if holder is None:
        require(
            False,
            f"{run.name} does not say which process of this machine trains it (another machine, or "
            "an older altgrad): press Ctrl-C where it runs.",
        )
        return
    try:
        os.kill(holder, signal.SIGINT)
    except OSError as error:
        require(False, f"cannot reach the process {holder} of {run.name}: {error.strerror}.")


class Resumes:
    """Runs that were taken up from here. trusted: names of outside code that the person typed."""

    def __init__(self, trusted: Sequence[str] = ()) -> None:
        self.trusted = list(trusted)
        self._started: list[subprocess.Popen[bytes]] = []

    def resume(self, run: Path) -> None:
        """Returns when the run has taken its folder's lock.

        Raises:
            ConfigError: it cannot go on; with what it said.
        """
        status = run_status(run)
        require(status in RESUMABLE, f"{run.name} is {status}: only a stopped run can go on.")
        self._started = [process for process in self._started if process.poll() is None]
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "altgrad", "resume", str(run.resolve()), *self._trust()],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C at the page's terminal is not meant for it
                env=own_environment(),
            )
            self._started.append(process)
            self._wait(process, run, said)

    def _trust(self) -> list[str]:
        return [word for name in self.trusted for word in ("--trust", name)]

    def _wait(self, process: subprocess.Popen[bytes], run: Path, said: Any) -> None:
        end = time.monotonic() + STARTS_IN_S
        while time.monotonic() < end and run_status(run) != "running":
            if process.poll() is not None:
                if process.returncode == 0:
                    return  # over already: it was a short one
                require(False, f"{run.name} did not go on: {_last_line(said)}")
            time.sleep(0.1)


def _last_line(said: Any) -> str:
    said.seek(0)
    lines = said.read().decode(errors="replace").strip().splitlines()
    return printable(lines[-1]) if lines else "it said nothing"
