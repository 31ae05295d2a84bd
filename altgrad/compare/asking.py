"""Who makes the runs of a question, and who reads a comparison's folder back: one line a kind."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from altgrad.compare import conclusion, report, scaling
from altgrad.compare.comparison import Comparison
from altgrad.compare.programs.comparison import ProgramComparison
from altgrad.compare.question import Question
from altgrad.compare.record import read_record
from altgrad.settings import ConfigError


@dataclass(frozen=True)
class Reader:
    """conclude: a folder -> a conclusion with `to_dict()`, which the others take."""

    conclude: Callable[[Path], Any]
    write_verdict: Callable[[Any], Path]
    lines: Callable[[Any], list[str]]
    write_reports: Callable[[Any], list[Path]]


ORDINARY = Reader(
    conclusion.conclude, conclusion.write_verdict, report.verdict_lines, report.write_reports
)
SCALING = Reader(
    scaling.conclude_scaling, scaling.write_verdict, scaling.verdict_lines, scaling.write_reports
)


def maker_of(question: Question) -> Callable[..., Any]:
    """Makes a comparison with `prepare()` and `run()`.

    Raises:
        ConfigError: programs over a ladder, whose sizes are settings.
    """
    if question.of_programs:
        if question.design == "scaling":
            raise ConfigError(
                "design=scaling sets the size of altgrad's own networks; compare programs size by "
                "size, each with the arguments its own command takes."
            )
        return ProgramComparison
    return scaling.ScalingComparison if question.design == "scaling" else Comparison


def reader_of(folder: Path) -> Reader:
    """Of a comparison's folder. Raises ConfigError if it is none."""
    return SCALING if read_record(folder)[0].design == "scaling" else ORDINARY
