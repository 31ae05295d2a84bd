"""The number out of a program: every match of a regular expression in its output, or every entry
of a file that it writes.

A metric is written `val loss ([0-9.]+)`, or with names, `(?P<step>\\d+).*loss (?P<val_loss>…)`, or
`results.jsonl:eval.loss`. A line of output may match several times. `nan` and `inf` count as
numbers wherever a group stands, or a run that broke down would be judged by its last good number.
"""

import csv
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from altgrad.settings import ConfigError, require

Point = tuple[int, dict[str, float]]
"""Step, and the numbers of that step by name."""

FILE = re.compile(r"(?P<path>[^()\s:]+\.(?:jsonl|json|csv|tsv)):(?P<key>[^()\s:]+)")
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
NOT_FINITE = r"[-+]?(?:[nN][aA][nN]|[iI][nN][fF](?:inity)?)"
GROUP = re.compile(
    r"(?<!\\)\((?!\?)(?P<plain>[^()]*)\)|(?<!\\)\(\?P<(?P<name>\w+)>(?P<named>[^()]*)\)"
)


@dataclass(frozen=True)
class Metric:
    """text: as typed. name: what one group without a name is logged as. step: a second expression,
    or the key of a file's entries that holds the step; empty = entries are counted."""

    text: str
    name: str
    step: str = ""

    @property
    def file(self) -> str:
        """The file it is read from, or an empty text."""
        found = FILE.fullmatch(self.text)
        return found["path"] if found else ""

    def check(self) -> None:
        """Raises ConfigError for what can be read by nothing."""
        if not self.file:
            expression = _compile(self.text, "metric")
            require(
                expression.groups > 0,
                f"metric={self.text!r} has no group: put the number in round brackets, as in "
                "'val loss ([0-9.]+)', or name a file and a key of it, as in log.jsonl:val_loss.",
            )
            names = set(expression.groupindex) - {"step"}
            require(
                not names or self.name in names,
                f"metric={self.text!r} gives {', '.join(sorted(names))}, the outcome is "
                f"{self.name}; write primary={min(names, default='')}, or name the group so.",
            )
            if self.step:
                step = _compile(self.step, "step")
                require(step.groups > 0, f"step={self.step!r} has no group around the number.")


def _compile(text: str, word: str) -> re.Pattern[str]:
    try:
        return re.compile(_with_infinities(text.replace("{number}", f"({NUMBER})")))
    except re.error as error:
        raise ConfigError(f"{word}={text!r} is no regular expression: {error}.") from None


def _with_infinities(expression: str) -> str:
    def widened(found: re.Match[str]) -> str:
        name = f"?P<{found['name']}>" if found["name"] else ""
        inside = found["named"] if found["name"] else found["plain"]
        return f"({name}{inside}|{NOT_FINITE})"

    return GROUP.sub(widened, expression)


class OutputReader:
    """Lines of output, one after the other, to points."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.expression = _compile(metric.text, "metric")
        self.steps = _compile(metric.step, "step") if metric.step else None
        self.count, self.last_step = 0, 0

    def points_in(self, line: str) -> Iterator[Point]:
        marks = list(self.steps.finditer(line)) if self.steps else []
        for found in self.expression.finditer(line):
            values = {name: value for name, value in self._values(found) if value is not None}
            if not values:
                continue
            self.count += 1
            yield self._step(values, marks, found), values
        if marks:
            self.last_step = int(float(marks[-1][1]))

    def _values(self, found: re.Match[str]) -> Iterator[tuple[str, float | None]]:
        if not found.re.groupindex:
            yield self.metric.name, _number(found, 1)
        for name in found.re.groupindex:
            yield name, _number(found, name)

    def _step(
        self, values: dict[str, float], marks: list[re.Match[str]], found: re.Match[str]
    ) -> int:
        if "step" in values:
            return int(values.pop("step"))
        if self.steps is None:
            return self.count
        before = [m for m in marks if m.start() <= found.end()] or marks
        return int(float(before[-1][1])) if before else self.last_step


def _number(found: re.Match[str], group: int | str) -> float | None:
    """With the exponent that `[0-9.]+` leaves behind, and without the full stop it takes along."""
    text = found[group]
    if text is None:
        return None
    rest = re.match(r"[eE][-+]?\d+", found.string[found.end(group) :])
    text = text.strip().rstrip(".").replace(",", "")
    try:
        return float(text + (rest[0] if rest and "e" not in text.lower() else ""))
    except ValueError:
        return None


def read_file(path: Path, metric: Metric) -> list[Point]:
    """The points of a JSONL, JSON, CSV or TSV file.

    The key goes down through objects (`eval.loss`); where it meets a list, every entry counts. The
    step is `step`, or what `step=` names, beside the number; else entries are counted.

    Raises:
        ConfigError: it is not there, or cannot be read.
    """
    found = FILE.fullmatch(metric.text)
    assert found is not None
    try:
        content = _parse(path)
    except OSError as error:
        raise ConfigError(f"it did not write {found['path']}: {error.strerror}") from None
    except (ValueError, csv.Error) as error:
        raise ConfigError(f"{found['path']} is damaged: {error}") from None
    points: list[Point] = []
    for value, beside in _walk(content, found["key"].split("."), {}):
        number = _plain_number(value)
        if number is not None:
            step = _plain_number(beside.get(metric.step or "step"))
            points.append((len(points) + 1 if step is None else int(step), {metric.name: number}))
    return points


def _parse(path: Path) -> Any:
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix == ".json":
        return json.loads(text)
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    return list(csv.DictReader(text.splitlines(), delimiter="\t" if path.suffix == ".tsv" else ","))


def _walk(content: Any, keys: list[str], beside: dict[str, Any]) -> Iterator[tuple[Any, dict]]:
    if isinstance(content, list):
        for entry in content:
            yield from _walk(entry, keys, beside)
    elif not keys:
        yield content, beside
    elif isinstance(content, dict):
        whole = ".".join(keys)  # a key may itself have a point in it
        if whole in content:
            yield from _walk(content[whole], [], {**beside, **content})
        elif keys[0] in content:
            yield from _walk(content[keys[0]], keys[1:], {**beside, **content})


def _plain_number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def in_order(points: list[Point]) -> str:
    """What is wrong with the steps, in words; empty if they never go back."""
    steps = [step for step, _ in points]
    for before, after in pairwise(steps):
        if after < before:
            return (
                f"the step goes back from {before} to {after}; let step= find one that counts on, "
                "or leave it out: then the entries are counted"
            )
    return ""


def is_finite(points: list[Point], name: str) -> bool:
    """Whether the last number is one."""
    values = [numbers[name] for _, numbers in points if name in numbers]
    return bool(values) and math.isfinite(values[-1])
