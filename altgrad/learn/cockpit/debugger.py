"""`altgrad learn run --pdb`: the iteration in this process, where a debugger has a terminal.

The usual run is a child process with time and memory limits, whose output is caught; none of that
is so here. `breakpoint()` in the learner's file stops in the learner's own lines and steps over
torch's and altgrad's.
"""

import os
import pdb
import sys
from bdb import BdbQuit
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from altgrad.learn import status_page
from altgrad.learn.actions import stopped
from altgrad.learn.checker import read_source
from altgrad.learn.iteration import Flow, go_through, unit_at
from altgrad.learn.observe import failure_of
from altgrad.learn.workshop import Workshop

OTHERS = ["altgrad", "altgrad.*", "torch", "torch.*"]
KEYS = "n: next line · s: into a call · p x.shape: look · c: go on · q: end"


def debug_run(space: Workshop) -> int:
    """Print the iteration as it happens; returns the exit code, 0 for a whole one."""
    read_source(space.file)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        print(line, flush=True)

    say(f"{space.file} with a debugger: it stops at breakpoint() ({KEYS})")
    whole = _ran(space, say)
    status_page.note_run(space.folder, space.track, said)
    return int(not whole)


def _ran(space: Workshop, say: Any) -> bool:
    try:
        with stopping_in_own_lines():
            go_through(space.track, space.file, Flow(say), space.optional)
    except BdbQuit as error:
        say(f"✗ ended in the debugger{_place(space, error)}")
    except SystemExit as error:
        say(f"✗ stopped: called exit({error.code})")
    except Exception as error:
        failure = failure_of(error, space.file)
        for line in stopped(space, failure):
            say(line)
        if "raise NotImplementedError" not in failure.trace:
            _look_at(error, str(space.file))
    else:
        say("✓ a whole run; whether it is right is another question: altgrad learn check")
        return True
    return False


@contextmanager
def stopping_in_own_lines() -> Iterator[None]:
    """`breakpoint()` opens pdb; PYTHONBREAKPOINT chooses another debugger, as everywhere."""
    before = sys.breakpointhook
    if not os.environ.get("PYTHONBREAKPOINT"):
        debugger = pdb.Pdb(skip=OTHERS)
        sys.breakpointhook = lambda *_, **__: debugger.set_trace(_caller())
    try:
        yield
    finally:
        sys.breakpointhook = before
        sys.settrace(None)


def _caller() -> FrameType:
    """The frame that called `breakpoint()`: above this one and the hook."""
    return sys._getframe(2)


def _place(space: Workshop, error: BaseException) -> str:
    """Where the learner's file was, as ` at my_gpt.py:75 (MLP.forward)`; empty for nowhere."""
    line = failure_of(error, space.file).line
    unit = unit_at(space.track, space.file, line)
    return f" at {space.file}:{line}" + (f" ({unit})" if unit else "") if line else ""


def _look_at(error: BaseException, file: str) -> None:
    """After an exception, pdb at the learner's last line; only where somebody can type."""
    own = _up_to_last_of(error.__traceback__, file)
    if own is not None and sys.stdin.isatty():
        print(f"the variables are as they were at the error ({KEYS.rpartition(' · c')[0]})")
        pdb.post_mortem(own)


def _up_to_last_of(trace: TracebackType | None, file: str) -> TracebackType | None:
    """The traceback without what lies below the file's last frame; None if it is in none."""
    last, link = None, trace
    while link is not None:
        if link.tb_frame.f_code.co_filename == file:
            last = link
        link = link.tb_next
    if last is None:
        return None
    last.tb_next = None
    return trace
