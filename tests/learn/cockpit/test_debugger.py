"""`altgrad learn run --pdb` stops at breakpoint() in the learner's file."""

import io
import sys
from pathlib import Path

import pytest

from tests.learn.cockpit.screen import Session

MLP = "        x = self.c_fc(x)\n"
STOP = f"        breakpoint()\n{MLP}"


@pytest.fixture
def debug(learn, monkeypatch):
    """`debug("p x.shape", "q")` -> (exit code, output) of a run with these words typed."""

    def run(*typed: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(typed) + "\n"))
        return learn("run --pdb")

    return run


def test_it_stops_in_the_learners_lines_and_goes_on(debug, written):
    once = MLP + "        type(self).stops = getattr(type(self), 'stops', 0) + 1\n"
    once += "        if type(self).stops == 1:\n            breakpoint()\n"
    written("nanochat", MLP, once)
    code, out = debug("p tuple(x.shape)", "n", "p float(x.min())", "c")
    assert code == 0
    assert "(8, 64, 256)" in out
    assert "(Pdb) 0.0" in out  # after the next line, relu(x)²
    assert "✓ a whole run" in out


def test_a_step_goes_past_torch_into_the_next_of_the_learners_units(debug, written):
    line = "        x = x + self.mlp(norm(x))\n"
    written("nanochat", line, f"        breakpoint()\n{line}")
    code, out = debug("s", "s", "s", "q")
    assert code == 1
    assert "--Call--" in out
    assert "norm()" in out
    assert "torch/nn" not in out


def test_quitting_is_one_line_and_an_exit_code(debug, written):
    written("nanochat", MLP, STOP)
    code, out = debug("q")
    assert code == 1
    last = out.splitlines()[-1]
    assert "✗ ended in the debugger at my-gpt/my_gpt.py:" in last
    assert "(MLP.forward)" in last
    assert "Traceback" not in out
    assert "BdbQuit" not in out


def test_the_end_of_a_pipe_ends_the_run_as_q_does(learn, written, monkeypatch):
    written("nanochat", MLP, STOP)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    code, out = learn("run --pdb")
    assert (code, "Traceback" in out) == (1, False)


def test_the_usual_run_and_check_say_where_breakpoint_works(learn, written):
    written("nanochat", MLP, STOP)
    for words in ("run", "check MLP.forward"):
        code, out = learn(words)
        assert code == 1
        assert "`altgrad learn run --pdb` stops at it" in out


def test_exit_and_errors_and_todos_are_told_as_in_the_usual_run(debug, written, learn):
    written("nanochat", MLP, MLP + "        exit(4)\n")
    assert "called exit(4)" in debug("")[1]
    written("nanochat", MLP, MLP + "        x.nothing\n")
    code, out = debug("")
    assert (code, "has no attribute 'nothing'" in out, "(Pdb)" in out) == (1, True, False)
    learn("reset MLP.forward")
    assert "MLP.forward is not there yet" in debug("")[1]


def test_a_track_without_a_model_can_be_debugged_too(learn, monkeypatch):
    from altgrad.learn.track import Track

    learn("start --track optimisers")
    text = Track("optimisers").source
    first = text.index("    return ", text.index("\ndef "))
    Path("my-optimisers/my_optimisers.py").write_text(
        text[:first] + "    breakpoint()\n" + text[first:]
    )
    monkeypatch.setattr(sys, "stdin", io.StringIO("q\n"))
    code, out = learn("run --pdb --dir my-optimisers")
    assert code == 1
    assert "ended in the debugger" in out


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are Unix's")
def test_in_a_terminal_an_error_opens_the_debugger_where_it_was(written):
    """A process of its own in a pseudo-terminal: starting Python with torch takes seconds."""
    written("nanochat", MLP, MLP + "        inner = x.mean()\n        x.nothing\n")
    words = [sys.executable, "-m", "altgrad", "learn", "run", "--pdb"]
    session = Session(words, folder=Path.cwd(), columns=120)
    try:
        session.until("(Pdb)")
        session.type("p inner.ndim\n")
        session.until("(Pdb) p inner.ndim")
        session.type("q\n")
        assert session.end() == 1
        assert "x.nothing" in session.output
        assert "\r\n0\r\n" in session.output
    finally:
        session.close()
