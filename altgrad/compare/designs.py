"""What a design of a question is: who makes its runs, and who reads them back. One line a
design."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from altgrad.compare import conclusion, report, scaling
from altgrad.compare.comparison import Comparison
from altgrad.compare.question import Question
from altgrad.compare.record import read_record
from altgrad.compare.scaling import conclusion as scaling_conclusion


@dataclass(frozen=True)
class Design:
    """make: the comparison, with `prepare()` and `run()`. conclude: its folder -> a conclusion with
    `to_dict()`; write_verdict, lines and write_reports take that."""

    make: Callable[..., Any]
    conclude: Callable[[Path], Any]
    write_verdict: Callable[[Any], Path]
    lines: Callable[[Any], list[str]]
    write_reports: Callable[[Any], list[Path]]


ORDINARY = Design(
    Comparison,
    conclusion.conclude,
    conclusion.write_verdict,
    report.verdict_lines,
    report.write_reports,
)
SCALING = Design(
    scaling.ScalingComparison,
    scaling.conclude_scaling,
    scaling_conclusion.write_verdict,
    scaling.verdict_lines,
    scaling.write_reports,
)
BY_NAME = {"one": ORDINARY, "crossed": ORDINARY, "scaling": SCALING}


def design_for(question: Question) -> Design:
    """Of a question that is not checked yet: an unknown design is refused by whoever makes it."""
    return BY_NAME.get(question.design, ORDINARY)


def design_of(folder: Path) -> Design:
    """Of a comparison's folder. Raises ConfigError if it is none."""
    return design_for(read_record(folder)[0])
