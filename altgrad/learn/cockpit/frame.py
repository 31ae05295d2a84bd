"""What the cockpit shows: its state as lines for a screen, the current unit first."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.text import Text

from altgrad.learn.checker import MISSING, PASSED, TODO, Verdict
from altgrad.learn.track import Track
from altgrad.learn.view import MARKS, after_passing, complaint, summary, todo_lines, verdict_line
from altgrad.runs.printable import printable

KEYS = "h hint   t trace   b backward   n next   r reset   ↑↓ scroll   q quit"
FILE = "(file)"
COLOURS = {PASSED: "green", TODO: "bright_black"}
BY_SIGN = {"✓": "green", "✗": "red", "➜": "bold yellow", "○": "cyan", "◐": "yellow", "≠": "yellow"}


@dataclass
class Panel:
    """What a key brought up: a hint, a trace, the backward pass."""

    title: str
    lines: list[str] = field(default_factory=list)


@dataclass
class State:
    """All that is on the screen."""

    file: str
    track: Track
    units: list[str]
    optional: set[str]
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    current: str = ""
    message: str = ""
    busy: str = ""
    panel: Panel | None = None
    scroll: int = 0

    def is_open(self, unit: str) -> bool:
        """Still to be done, as far as is known; what is optional is never asked for."""
        verdict = self.verdicts.get(unit)
        left_out = unit in self.optional and verdict is not None and verdict.state == TODO
        return not left_out and (verdict is None or not verdict.passed)

    def next_open(self, unit: str) -> str | None:
        """The next unit to be done after this one, in the order of the workshop; None: all done."""
        at = self.units.index(unit) + 1 if unit in self.units else 0
        order = [*self.units[at:], *self.units[:at]]
        return next((u for u in order if u != unit and self.is_open(u)), None)


def frame(state: State, columns: int, rows: int) -> list[Text]:
    """Exactly the rows of the screen: head, body cut to what is left, keys."""
    head = [_title(state, columns), *_strip(state, columns), _message(state)]
    head.append(_rule(state, columns))
    while len(head) > max(1, rows // 2):  # on a very small screen the title alone
        head.pop(1)
    body = [row for line in _body(state) for row in wrapped(line, columns)]
    room = max(1, rows - len(head) - 1)
    state.scroll = max(0, min(state.scroll, len(body) - room))
    shown = body[state.scroll : state.scroll + room]
    left = len(body) - state.scroll - len(shown)
    if left > 0:
        shown[-1] = Text(f"  … {left + 1} more lines (↓)", style="bright_black")
    shown += [Text()] * (room - len(shown))
    return [*head, *shown, Text(KEYS, style="reverse")]


def _title(state: State, columns: int) -> Text:
    left = Text(f"{state.file}  ", style="bold").append(f"track {state.track.name}", "bright_black")
    known = [v for v in state.verdicts.values() if v.unit != FILE]
    right = state.busy or (summary(known, state.optional).partition(";")[0] if known else "")
    room = columns - left.cell_len - len(right)
    style = "yellow" if state.busy else "bright_black"
    return left.append(" " * max(2, room)).append(right, style)


def _strip(state: State, columns: int) -> Iterator[Text]:
    """A mark for every unit, stage by stage, the current one standing out; as many lines as fit."""
    line = Text()
    for number in state.track.stages:
        units = [u for u in state.track.units_of(number) if u in state.units]
        if not units:
            continue
        if line.cell_len + len(units) + 5 > columns:
            yield line
            line = Text()
        line.append(f" {number} ", "bright_black")
        for unit in units:
            verdict = state.verdicts.get(unit)
            mark = MARKS[verdict.state] if verdict else "·"
            colour = COLOURS.get(verdict.state, "red") if verdict else "bright_black"
            line.append(mark, f"{colour} reverse" if unit == state.current else colour)
    yield line


def _rule(state: State, columns: int) -> Text:
    """With the title of what a key brought up, which is below it."""
    title = f"── {state.panel.title} " if state.panel else ""
    return Text(title + "─" * (columns - len(title)), style="bright_black")


def _message(state: State) -> Text:
    return coloured(f" {state.message}") if state.message else Text()


def _body(state: State) -> list[str]:
    broken = state.verdicts.get(FILE)
    first = [*complaint(broken), ""] if broken else []
    if state.panel is not None:
        return [*first, *state.panel.lines]
    return [*first, *_current(state), *_others(state)]


def _current(state: State) -> list[str]:
    """Everything about the unit that is worked on."""
    unit, verdict = state.current, state.verdicts.get(state.current)
    if not unit or verdict is None:
        return [f"{unit}: being checked" if unit else "reading your file"]
    if verdict.state == TODO:
        lines = todo_lines(state.track, unit, verdict.line)
        return [line for line in lines if not line.startswith("  hint:")]
    if verdict.passed:
        return [verdict_line(verdict), *after_passing(state.track.lessons[unit])]
    return [line for line in complaint(verdict) if not line.startswith("  hint:")]


def _others(state: State) -> list[str]:
    """A line for each other unit that is wrong."""
    fine = (PASSED, TODO, MISSING)
    wrong = [
        v
        for u, v in state.verdicts.items()
        if u not in (state.current, FILE) and v.state not in fine
    ]
    return ["", *(verdict_line(v) for v in wrong)] if wrong else []


def wrapped(line: str, columns: int) -> list[Text]:
    """As many rows as a sentence needs; a line of a trace is cut instead."""
    text = coloured(line)
    if text.cell_len <= columns or " | " in line:
        return [text]
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    first, *rest = textwrap.wrap(text.plain, columns, subsequent_indent=indent)
    style = text.spans[0].style if text.spans else ""
    return [coloured(first), *(Text(row, style) for row in rest)]


def coloured(line: str) -> Text:
    """A line of the workshop with the colour of the sign that it begins with."""
    text = Text(printable(line).expandtabs(4))
    sign = line.strip()[:1]
    if sign in BY_SIGN:
        text.stylize(BY_SIGN[sign], 0, len(line) if sign in "✗➜✓" else line.index(sign) + 1)
    bar = line.find(" | ")
    if bar > 0:  # a trace: code on the left, values on the right
        text.stylize("cyan", bar, len(line))
    return text


def keep_order(units: Sequence[str], first: str) -> list[str]:
    """The unit that is worked on is checked before the others."""
    return [u for u in units if u == first] + [u for u in units if u != first]
