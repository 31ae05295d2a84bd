"""What state a run is in, for a comparison: from its folder alone. Loads no torch."""

from pathlib import Path

from altgrad.runs import RunFolder, read_events, run_status

ENDED = ("finished", "diverged", "failed")
"""States that are outcomes. The others are on their way, or can be taken up again."""

GAVE_UP = "gave_up"
"""Event that makes a failure final, written when its last attempt is over."""


def state_of(run: Path) -> str:
    """`missing`, or the run's status as `altgrad show` gives it (`damaged`: finished, but its
    metrics are not what was written)."""
    return run_status(run) if RunFolder(run).config.is_file() else "missing"


def is_outcome(run: Path) -> bool:
    """Whether the run has ended for good: finished, diverged, or failed with no attempt left.

    A damaged one has not: asked for again, it is made whole.
    """
    state = state_of(run)
    return state in ("finished", "diverged") or (state == "failed" and not attempt_allowed(run))


def attempt_allowed(run: Path) -> bool:
    """Whether a run that failed may be tried again."""
    kinds = [e["event"] for e in read_events(RunFolder(run).events)]
    return state_of(run) == "failed" and GAVE_UP not in kinds


def machine_failed(run: Path) -> bool:
    """Whether the last failure says nothing about the arm: the disk was full, memory ran out."""
    failures = [e for e in read_events(RunFolder(run).events) if e["event"] == "failed"]
    return bool(failures) and failures[-1].get("machine") is True


def failure_of(run: Path) -> str:
    """The last error of a failed run, in one line."""
    errors = [e["error"] for e in read_events(RunFolder(run).events) if "error" in e]
    return " ".join(str(errors[-1]).split()) if errors else "the process ended without a message"
