"""What a check says: passed, failed or not applicable, with its evidence."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


class Failed(Exception):
    """A check's own complaint: position, value, expected."""


class NotApplicable(Exception):
    """The check says nothing about this configuration, and why."""


@dataclass(frozen=True)
class Result:
    """One line of the report."""

    name: str
    proves: str
    passed: bool | None  # None: not applicable
    evidence: str
    look_at: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        mark = {True: "✓", False: "✗", None: "–"}[self.passed]
        text = [f"{mark} {self.name:34} {self.evidence}"]
        if self.passed is False:
            text += [f"    proves: {self.proves}", f"    look at: {self.look_at}"]
        return text


@dataclass(frozen=True)
class Check:
    """A named proof: `run(subject)` returns its evidence, or raises one of the above."""

    name: str
    proves: str
    look_at: str
    run: Callable[[Any], str]

    def __call__(self, subject: Any) -> Result:
        try:
            evidence, passed = self.run(subject), True
        except NotApplicable as reason:
            evidence, passed = str(reason), None
        except Failed as complaint:
            evidence, passed = str(complaint), False
        except Exception as error:
            evidence, passed = f"{type(error).__name__}: {' '.join(str(error).split())}", False
        return Result(self.name, self.proves, passed, evidence, self.look_at)


def require(condition: bool, complaint: str) -> None:
    if not condition:
        raise Failed(complaint)
