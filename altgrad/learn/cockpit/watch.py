"""`altgrad learn watch`: the file checked at every save, with keys for what one wants to know next.

The screen is one process; checks, traces and the backward pass are others (`jobs.py`), so that a
key is answered while a learner's loop does not end. Nothing that was read at the start is ever
written back: hints and tries are noted through `Workshop.noting`, which reads what other terminals
noted first.
"""

from collections.abc import Iterator

from altgrad.learn import actions
from altgrad.learn.checker import Verdict, check_file
from altgrad.learn.cockpit.actions import backward
from altgrad.learn.cockpit.frame import FILE, Panel, State, frame, keep_order
from altgrad.learn.cockpit.jobs import Job
from altgrad.learn.cockpit.terminal import Terminal, is_there
from altgrad.learn.source import unit_text
from altgrad.learn.view import summary
from altgrad.learn.workshop import Workshop

POLL_S = 0.1
LINES = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -15, "page down": 15, " ": 15}


def watch(space: Workshop, units: list[str]) -> int:
    """Until q or Ctrl-C; returns the exit code. Without a terminal: a report at every save."""
    if not is_there():
        for line in actions.watch_plainly(space, units):
            print(line, flush=True)
        return 0
    cockpit = Cockpit(space, units)
    try:
        with Terminal() as terminal:
            cockpit.run(terminal)
    finally:
        cockpit.close()
    verdicts = [cockpit.state.verdicts[u] for u in units if u in cockpit.state.verdicts]
    print(summary(verdicts, space.optional) if verdicts else "nothing was checked")
    return 0


class Cockpit:
    """The loop between file, keys and screen."""

    def __init__(self, space: Workshop, units: list[str]):
        self.space, self.track = space, space.track
        self.state = State(str(space.file), space.track, units, space.optional)
        self.text: str | None = None  # of the file, as it is being checked or was checked last
        self._unsettled: str | None = None
        self.checking: Job | None = None
        self.asked: Job | None = None
        self._confirm = ""  # the unit that a second r empties
        self._judged: dict[str, Verdict] = {}

    def run(self, terminal: Terminal) -> None:
        """Returns when q is typed."""
        while True:
            self.look_at_file()
            self.collect()
            terminal.draw(frame(self.state, *terminal.size))
            for key in terminal.keys(POLL_S):
                if key == "q":
                    return
                self.press(key)

    def close(self) -> None:
        for job in (self.checking, self.asked):
            if job is not None:
                job.stop()

    # -- the file ---------------------------------------------------------------------------------

    def look_at_file(self) -> None:
        """Begin a check where the file has changed and stayed so for one look: it is all there."""
        text = self._read()
        if text is None or text == self.text:
            return
        if text == self._unsettled or self.text is None:
            self._begin(text)
        self._unsettled = text

    def _read(self) -> str | None:
        try:
            return self.space.file.read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = "is no text" if isinstance(error, ValueError) else "cannot be read"
            self.state.message = f"✗ {self.space.file} {why}; waiting for it"
            return None

    def _begin(self, text: str) -> None:
        before, self.text = self.text, text
        if self.checking is not None:
            self.checking.stop()
        touched = [u for u in self.state.units if _body(text, u) != _body(before, u)]
        if before is not None and touched and self.state.current not in touched:
            self.state.current = touched[0]
        if before is not None:
            self.state.panel, self.state.message, self._confirm = None, "", ""
        order = keep_order(self.state.units, self.state.current)
        self._judged = {}
        self.checking = Job(check_file, self.track, self.space.file, order)

    # -- what the other processes found -----------------------------------------------------------

    def collect(self) -> None:
        """Take in what has come."""
        if self.checking is not None:
            for verdict in self.checking.values():
                self._take(verdict)
            if self.checking.done:
                error, self.checking = self.checking.error, None
                self._finish(error)
        if self.asked is not None and self.state.panel is not None:
            self.state.panel.lines += self.asked.values()
            if self.asked.done:
                self.state.panel.lines += [f"✗ {self.asked.error}"] if self.asked.error else []
                self.asked = None
                self.state.scroll = len(self.state.panel.lines) * 10  # what departs stands last
        self.state.busy = self._busy()

    def _busy(self) -> str:
        if self.checking is not None:
            return f"checking, {len(self._judged)} of {len(self.state.units)}"
        return "running" if self.asked is not None else ""

    def _take(self, verdict: Verdict) -> None:
        state, unit = self.state, verdict.unit
        if not self._judged and FILE in state.verdicts:
            del state.verdicts[FILE]
        before = state.verdicts.get(unit)
        state.verdicts[unit] = self._judged[unit] = verdict
        if not state.current and unit in state.units and state.is_open(unit):
            state.current = unit
        if unit == state.current and verdict.passed and before and not before.passed:
            self._passed(unit)

    def _passed(self, unit: str) -> None:
        """The unit that is worked on passes: on to the next."""
        following = self.state.next_open(unit)
        self.state.message = f"✓ {unit} → next: {following}" if following else f"✓ {unit}"
        self.state.current, self.state.scroll = following or unit, 0

    def _finish(self, error: str) -> None:
        """A whole check: note it, unless the file is another meanwhile."""
        state = self.state
        if error:
            state.message = f"✗ {error}"
        if not state.current:
            state.current = state.next_open("") or state.units[0]
        verdicts = list(self._judged.values())
        if self._read() == self.text and verdicts and not error:
            self._note(verdicts)
        if not error and not any(state.is_open(u) for u in state.units):
            state.message = "✓ all of it is yours → next: altgrad learn race, altgrad learn break"

    def _note(self, verdicts: list[Verdict]) -> None:
        """Notes that cannot be read or written are told; the check is worth something without."""
        try:
            actions.note_verdicts(self.space, verdicts, self.text or "")
        except (OSError, ValueError) as error:
            self.state.message = f"✗ {error}"

    # -- keys -------------------------------------------------------------------------------------

    def press(self, key: str) -> None:
        """What a key does; a wish that cannot be fulfilled is told, never raised."""
        state = self.state
        confirmed, self._confirm = self._confirm, ""
        if confirmed:
            state.message = ""
        try:
            if key in LINES:
                state.scroll += LINES[key]
            elif key == "escape":
                self._close_panel()
            elif key == "n":
                self._next()
            elif key in "htbr" and state.current:
                self._about_current(key, confirmed)
        except (OSError, ValueError) as error:
            state.message = f"✗ {error}"

    def _about_current(self, key: str, confirmed: str) -> None:
        unit = self.state.current
        if key == "h":
            self._open(f"hint on {unit}")
            self._show(list(actions.hint(self.space, unit, None)))
        elif key == "t":
            verdict = self.state.verdicts.get(unit)
            wrong = verdict is not None and not verdict.passed
            self._ask(f"trace of {unit}", _trace, self.space, unit, wrong)
        elif key == "b":
            self._ask("backward pass, from the loss to the embedding", backward, self.space, None)
        elif confirmed == unit:
            (line,) = actions.reset(self.space, unit, False)
            self.state.message = line
        else:
            self._confirm = unit
            self.state.message = f"r again empties {unit} (your file is kept); any other key: no"

    def _open(self, title: str) -> Panel:
        self._close_panel()
        self.state.panel = Panel(title)
        return self.state.panel

    def _show(self, lines: list[str]) -> None:
        assert self.state.panel is not None
        self.state.panel.lines = [line for line in lines if not line.startswith("more: ")]
        if len(self.state.panel.lines) < len(lines):
            self.state.panel.lines += ["", "h again: the next, stronger"]

    def _ask(self, title: str, *work: object) -> None:
        """A panel whose lines another process makes."""
        self._open(title)
        self.asked = Job(*work)  # type: ignore[arg-type]

    def _close_panel(self) -> None:
        if self.asked is not None:
            self.asked.stop()
        self.asked, self.state.panel, self.state.scroll, self.state.message = None, None, 0, ""

    def _next(self) -> None:
        """The next unit to be done; where all are, the next of all."""
        self._close_panel()
        state = self.state
        at = state.units.index(state.current) + 1 if state.current in state.units else 0
        state.current = state.next_open(state.current) or state.units[at % len(state.units)]


def _trace(space: Workshop, unit: str, wrong: bool) -> Iterator[str]:
    yield from actions.trace(space, unit, diff=wrong)


def _body(source: str | None, unit: str) -> str | None:
    """The unit's lines; None where the file does not have it or cannot be read."""
    try:
        return unit_text(source or "", unit)
    except (KeyError, SyntaxError):
        return None
