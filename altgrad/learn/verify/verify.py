"""`altgrad verify`: every check on a configuration, one result after another."""

from collections.abc import Iterator
from typing import Any

from altgrad.learn.verify import network, null_test, numbers, overfit
from altgrad.learn.verify.result import Result
from altgrad.learn.verify.subject import Subject, shrink

CHECKS = [*network.CHECKS, *null_test.CHECKS, *numbers.CHECKS, *overfit.CHECKS]


def verify(config: Any) -> Iterator[Result]:
    """Results of all checks on a `TrainConfig`, at a size at which they take seconds."""
    subject = Subject(config, shrink(config.model))
    for check in CHECKS:
        yield check(subject)
