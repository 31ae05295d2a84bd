"""How long an evaluation will still take, from the tokens that its tasks need and the pace so far.

A task's need is estimated before anything is computed, on a few of its questions: tokens of the
rows, the shared beginning of the choices counted once. The pace is that of the work done so far, so
the first minutes are rough: a short context costs less a token than a long one.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from altgrad.data.errors import DataError
from altgrad.data.special_tokens import first_token
from altgrad.evaluate.bundle import Task
from altgrad.evaluate.questions import TaskExample, ask, common_prefix, fit

PROBED = 4
"""Questions of each task that are cut into tokens for the estimate."""


class Forecast:
    """`work`: tokens of each task, in order. `clock` gives seconds."""

    def __init__(self, work: Sequence[float], *, clock: Callable[[], float] = time.perf_counter):
        self.work, self.clock = list(work), clock
        self.start = clock()

    def remaining_s(self, task: int, share: float) -> float | None:
        """Seconds left when `share` of task number `task` is done; None before anything is."""
        done = sum(self.work[:task]) + share * self.work[task]
        if done == 0:
            return None
        return (self.clock() - self.start) / done * (sum(self.work) - done)


def tokens_of(
    task: Task, items: Sequence[dict[str, Any]], count: int, tokenizer: Any, *, block_size: int
) -> float:
    """Tokens that `count` of the (shuffled) items put through the network, estimated."""
    needs = []
    for index in range(min(PROBED, count)):
        try:
            question = ask(task, items, index, tokenizer, first=first_token(tokenizer))
        except DataError:  # a character that the tokenizer does not know
            continue
        needs.append(_computed(fit(question, block_size)))
    return count * sum(needs) / len(needs) if needs else float(count)


def _computed(question: TaskExample) -> int:
    rows = [row.tokens for row in question.rows]
    shared = common_prefix(rows) if len(rows) > 1 else 0
    return shared + sum(len(row) - shared for row in rows)
