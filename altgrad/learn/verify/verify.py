"""`altgrad verify`: every check on a configuration, one result after another."""

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from altgrad.learn.verify import network, null_test, numbers, overfit, own
from altgrad.learn.verify.result import Check, Failed, Result
from altgrad.learn.verify.subject import Subject, shrink


def can_be_built(s: Subject) -> str:
    try:
        s.fresh()
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}, line {last.lineno}: {last.line}"
        said = " ".join(str(error).split())
        raise Failed(f"{type(error).__name__}: {said} ({where})") from None
    return f"{s.model_config.n_layer} layers of width {s.model_config.n_embd}"


BUILT = Check("built", "there is something to verify", "the constructor", can_be_built)
CHECKS = [*network.CHECKS, *null_test.CHECKS, *numbers.CHECKS, *own.CHECKS, *overfit.CHECKS]


def verify(config: Any) -> Iterator[Result]:
    """Results of all checks on a `TrainConfig`, at a size at which they take seconds.

    A model that cannot be built is the last result. Raises ValueError, before any, for a part of
    one's own that is not there or cannot be called as it will be.
    """
    subject = Subject(config, shrink(config.model))
    own.signatures_or_none(subject)
    yield own.SIGNATURES(subject)
    built = BUILT(subject)
    yield built
    if built.passed:
        for check in CHECKS:
            yield check(subject)
