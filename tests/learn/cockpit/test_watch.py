"""`altgrad learn watch`: keys, the current unit first, ✓ → next; and nothing of others is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from altgrad.learn import actions
from altgrad.learn.cockpit.frame import FILE, Panel, State, frame
from altgrad.learn.cockpit.jobs import Job
from altgrad.learn.cockpit.watch import Cockpit
from altgrad.learn.track import Track
from altgrad.learn.workshop import find
from tests.learn.cockpit.screen import Session
from tests.learn.cockpit.test_terminal import is_back

NORM = "return F.rms_norm(x, (x.size(-1),), eps=1e-6)"
WRONG = "return F.rms_norm(x, (x.size(-1),), eps=1e-2)"
WATCH = [sys.executable, "-m", "altgrad", "learn", "watch"]
UNITS = ["norm", "apply_rotary_emb", "MLP.forward"]


def rounds(cockpit: Cockpit, *, timeout_s: float = 60) -> None:
    """The loop without its terminal, until nothing is being done any more."""
    end = time.monotonic() + timeout_s
    for _ in range(2):  # a change must be seen twice
        cockpit.look_at_file()
    while cockpit.checking or cockpit.asked:
        assert time.monotonic() < end
        cockpit.collect()
        time.sleep(0.01)


@pytest.fixture
def cockpit(written):
    written("nanochat", NORM, WRONG)
    made = Cockpit(find("my-gpt"), UNITS)
    yield made
    made.close()


def screen(cockpit: Cockpit, columns: int = 100, rows: int = 30) -> str:
    return "\n".join(line.plain for line in frame(cockpit.state, columns, rows))


def units_noted() -> dict:
    return json.loads(Path("my-gpt/.learn.json").read_text())["units"]


def test_the_current_unit_comes_first_and_passing_leads_to_the_next(cockpit, written):
    written("nanochat", NORM, WRONG, "y1 = x1 * cos + x2 * sin", "y1 = x1 * cos")
    rounds(cockpit)
    shown = screen(cockpit)
    assert shown.index("✗ norm ") < shown.index("✗ apply_rotary_emb")
    assert "expected" in shown
    written("nanochat", "y1 = x1 * cos + x2 * sin", "y1 = x1 * cos")
    rounds(cockpit)
    assert "✓ norm → next: apply_rotary_emb" in screen(cockpit)
    assert cockpit.state.current == "apply_rotary_emb"
    written()
    rounds(cockpit)
    assert "all of it is yours → next: altgrad learn race" in screen(cockpit)


def test_the_unit_that_is_edited_becomes_the_current_one(cockpit, written):
    rounds(cockpit)
    assert cockpit.state.current == "norm"
    written("nanochat", NORM, WRONG, "F.relu(x).square()", "F.relu(x)")
    rounds(cockpit)
    assert cockpit.state.current == "MLP.forward"


def test_another_terminals_notes_survive_the_whole_watch(cockpit, written, learn):
    rounds(cockpit)
    learn("hint norm")
    learn("hint MLP.forward -l 2")
    written("nanochat", NORM, WRONG.replace("1e-2", "1e-1"))
    rounds(cockpit)
    cockpit.press("h")
    assert "formula" in screen(cockpit)  # the second: the other terminal took the first
    noted = units_noted()
    assert (noted["norm"]["hints"], noted["MLP.forward"]["hints"]) == (2, 2)
    assert noted["norm"]["attempts"] == 2


def test_keys_show_hint_trace_and_backward_and_go_to_the_next(cockpit):
    rounds(cockpit)
    cockpit.press("t")
    rounds(cockpit)
    assert "differs from the reference" in screen(cockpit)
    cockpit.press("b")
    rounds(cockpit)
    assert "comes out of norm" in screen(cockpit)
    cockpit.press("escape")
    assert "✗ norm" in screen(cockpit)
    cockpit.press("n")
    assert cockpit.state.current == "apply_rotary_emb"


def test_reset_asks_once_more_and_keeps_the_file(cockpit):
    rounds(cockpit)
    before = Path("my-gpt/my_gpt.py").read_text()
    cockpit.press("r")
    cockpit.press("n")
    cockpit.state.current = "norm"
    cockpit.press("r")
    assert Path("my-gpt/my_gpt.py").read_text() == before
    cockpit.press("r")
    assert Path("my-gpt/my_gpt.1.bak").read_text() == before
    rounds(cockpit)
    assert "○ norm is not there yet" in screen(cockpit)
    for _ in range(2):
        cockpit.press("r")
    assert "norm is empty already" in screen(cockpit)


def test_a_file_that_cannot_be_read_is_waited_for(cockpit, written):
    rounds(cockpit)
    path = Path("my-gpt/my_gpt.py")
    path.write_text("def norm(x:\n")
    rounds(cockpit)
    assert "Python cannot read the file" in screen(cockpit)
    path.write_bytes(b"\xff\xfe")
    cockpit.look_at_file()
    assert "is no text; waiting for it" in screen(cockpit)
    path.unlink()
    cockpit.look_at_file()
    assert "cannot be read; waiting for it" in screen(cockpit)
    written()
    rounds(cockpit)
    assert FILE not in cockpit.state.verdicts
    assert "all of it is yours" in screen(cockpit)


def test_notes_that_are_damaged_meanwhile_are_told_and_the_watch_goes_on(cockpit, written):
    rounds(cockpit)
    Path("my-gpt/.learn.json").write_text("[")
    written("nanochat", NORM, WRONG.replace("1e-2", "1e-1"))
    rounds(cockpit)
    assert "cannot read my-gpt/.learn.json" in screen(cockpit)
    cockpit.press("h")
    assert "cannot read my-gpt/.learn.json" in screen(cockpit)
    assert Path("my-gpt/.learn.json").read_text() == "["


def test_a_track_without_a_model_says_that_it_has_no_backward_pass(learn):
    learn("start --track rounding")
    space = find("my-rounding")
    made = Cockpit(space, space.track.units[:1])
    try:
        rounds(made)
        assert "is not there yet" in screen(made)
        made.press("b")
        rounds(made)
        assert "✗ the track rounding has no model of your own" in screen(made)
    finally:
        made.close()


def test_a_half_written_file_is_not_checked(cockpit, written):
    rounds(cockpit)
    path = written()
    whole = path.read_text()
    path.write_text(whole[:300])
    cockpit.look_at_file()
    path.write_text(whole)
    rounds(cockpit)
    assert "all of it is yours" in screen(cockpit)


def test_a_check_that_is_overtaken_notes_nothing(cockpit, written, monkeypatch):
    noted = []
    monkeypatch.setattr(actions, "note_verdicts", lambda *given: noted.append(given))
    cockpit.look_at_file()
    written()
    for _ in range(2):
        cockpit.look_at_file()
    rounds(cockpit)
    assert [text for _, _, text in noted] == [Track("nanochat").source]


@pytest.mark.parametrize(("columns", "rows"), [(20, 6), (40, 10), (200, 60)])
def test_a_frame_fills_any_screen_exactly(columns, rows):
    state = State("my_gpt.py", Track("gpt2"), Track("gpt2").units, set())
    state.panel = Panel("a title", [f"a line of many words, number {i}" for i in range(50)])
    state.scroll = 10_000
    shown = frame(state, columns, rows)
    assert len(shown) == rows
    assert "q quit" in shown[-1].plain
    assert any("number 49" in line.plain for line in shown)


def test_what_the_file_prints_cannot_move_the_cursor():
    state = State("my_gpt.py", Track("gpt2"), Track("gpt2").units, set())
    state.panel = Panel("a title", ["it printed \x1b[2J\x07"])
    assert "\x1b" not in "".join(line.plain for line in frame(state, 80, 20))


def test_a_job_ends_with_all_its_children(tmp_path):
    def endless():
        child = os.fork()
        while child == 0:
            time.sleep(1)
        yield child
        while True:
            time.sleep(1)

    job = Job(endless)
    found: list[int] = []
    while not found:
        found = job.values()
        time.sleep(0.01)
    job.stop()
    time.sleep(0.1)
    status = Path(f"/proc/{found[0]}/stat")
    assert not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_job_tells_what_was_raised():
    def failing():
        yield 1
        raise ValueError("no such thing")

    job, found = Job(failing), []
    while not job.done:
        found += job.values()
    assert (found, job.error) == ([1], "no such thing")


# -- in a real terminal: a process of its own, whose start alone takes seconds --------------------


def test_the_journey_in_a_terminal(written, learn):
    path = written("nanochat", NORM, WRONG)
    session = Session([*WATCH, *UNITS], folder=Path.cwd())
    try:
        session.until("✗ norm")
        session.until("2 of 3 pass")
        session.type("h")
        session.until("norm, idea:")
        learn("hint norm")  # another terminal
        path.write_text(Track("nanochat").source.replace("F.relu(x).square()", "F.relu(x)"))
        session.until("MLP.forward            ")
        session.until("✗ MLP.forward")
        written()
        session.until("all of it is yours")
        session.type("q")
        assert session.end() == 0
        assert is_back(session)
        assert session.output.rstrip().endswith("3 of 3 pass")
    finally:
        session.close()
    assert units_noted()["norm"]["hints"] == 2


def test_keys_answer_while_a_loop_never_ends_and_sigterm_leaves_nothing_behind(written):
    written("nanochat", NORM, "while True: pass")
    mark = f"COCKPIT_TEST={os.getpid()}-{time.time()}"
    name, _, value = mark.partition("=")
    session = Session([*WATCH, *UNITS], folder=Path.cwd(), environment={name: value})
    try:
        session.until("checking, 0 of 3")
        session.type("n")
        session.type("h")
        session.until("idea:")
        os.kill(session.pid, signal.SIGTERM)
        assert session.end() == 128 + signal.SIGTERM
        assert is_back(session)
        time.sleep(0.2)
        assert _running_with(mark) == []
    finally:
        session.close()


def _running_with(mark: str) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text())
        except OSError:
            continue
    return [words for words in found if words]


def test_ctrl_c_ends_it_and_gives_the_terminal_back(written):
    written("nanochat", NORM, WRONG)
    session = Session([*WATCH, "norm"], folder=Path.cwd())
    try:
        session.until("✗ norm")
        session.type("\x03")
        assert session.end() == 130
        assert is_back(session)
        assert "Traceback" not in session.output
    finally:
        session.close()


def test_check_with_watch_is_the_same(written, learn, monkeypatch):
    seen = []
    monkeypatch.setattr("altgrad.learn.cockpit.watch.watch", lambda *given: seen.append(given) or 0)
    written()
    assert learn("check norm --watch")[0] == learn("watch norm")[0] == 0
    assert [units for _, units in seen] == [["norm"], ["norm"]]


def test_without_a_terminal_it_reports_at_every_save(written):
    path = written("nanochat", NORM, WRONG)
    watching = subprocess.Popen(
        [*WATCH, "norm"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    try:
        first = _report(watching.stdout)
        assert any("✗ norm" in line for line in first)
        path.write_text(Track("nanochat").source)
        assert any("✓ norm" in line for line in _report(watching.stdout))
        watching.send_signal(signal.SIGINT)
        assert watching.wait(20) == 130
    finally:
        watching.kill()
        watching.stdout.close()
        watching.wait()


def _report(lines) -> list[str]:
    found = []
    for line in lines:
        found.append(line)
        if "watching, Ctrl-C ends" in line:
            break
    return found
