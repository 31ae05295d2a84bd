"""From run folders to numbers: the outcome of a run, and what it cost. Loads no torch."""

import math
from array import array
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from altgrad.compare.question import Question
from altgrad.compare.state import failure_of, state_of
from altgrad.runs import (
    RunFolder,
    SettingsReader,
    costs_of,
    noting,
    read_events,
    read_metrics,
    what_is_lost,
)
from altgrad.settings import ConfigError


@dataclass(frozen=True)
class Outcome:
    """One run. outcome: the primary metric; nan if the run failed or diverged.

    Seconds, tokens per second (median), bytes; None = the folder does not say.
    """

    arm: str
    seed: int
    run: str
    state: str
    outcome: float
    step: int
    train_s: float | None
    tokens_per_s: float | None
    peak_memory_bytes: float | None
    error: str

    @property
    def lost(self) -> bool:
        return not math.isfinite(self.outcome)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "outcome": None if self.lost else self.outcome}


def read_outcome(
    arm: str, seed: int, run: Path, question: Question, reader: SettingsReader | None = None
) -> Outcome:
    """What a run's folder says. reader: of many runs that are nearly the same.

    Raises:
        ConfigError: the run finished without ever logging the primary metric.
    """
    state = state_of(run)
    lost = what_is_lost(run) if state == "damaged" else ""
    values, events = array("d"), list(read_events(RunFolder(run).events))
    costs = costs_of(noting(question.primary, values, read_metrics(RunFolder(run).metrics)), events)
    if state == "finished" and (
        short := _too_short(run, costs["step"], reader or SettingsReader())
    ):
        state, lost = "damaged", short
    if state == "finished" and len(values) < question.last:
        raise ConfigError(
            f"{run.name} logged {question.primary!r} {len(values)} times, the outcome is a mean of "
            f"{question.last}; lower last or eval_interval, or name another primary outcome."
        )
    ended = state == "finished"
    value = sum(values[-question.last :]) / question.last if ended else math.nan
    return Outcome(
        arm=arm,
        seed=seed,
        run=str(run),
        state=state if not ended or math.isfinite(value) else "diverged",
        outcome=value if math.isfinite(value) else math.nan,
        error=failure_of(run) if state == "failed" else lost,
        **costs,
    )


def _too_short(run: Path, last: int, reader: SettingsReader) -> str:
    """A run that ended well before its last step is not the run that was planned."""
    planned = reader.read(RunFolder(run).config)["max_steps"]
    return f"it ended at step {last} of {planned}" if last < planned else ""


def check_evaluations(settings: dict[str, Any], question: Question, arm: str) -> None:
    """Refuse a question whose outcome the runs would never log.

    Raises:
        ConfigError: fewer evaluations than the outcome is a mean of.
    """
    every, steps = settings["eval_interval"], settings["max_steps"]
    evaluations = 0 if every < 1 else steps // every + (steps % every > 0)
    if question.primary.startswith("val_") and evaluations < question.last:
        raise ConfigError(
            f"{arm}: last={question.last}, but eval_interval={every} with max_steps={steps} makes "
            f"{evaluations} evaluations; lower last or eval_interval."
        )
