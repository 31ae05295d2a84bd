"""CORE: accuracy on DCLM's tasks, centred so that guessing is 0 and perfection 1, and averaged.

centred = (accuracy - baseline) / (1 - baseline); CORE is the plain mean over all 22 tasks (DCLM,
arXiv 2406.11794, appendix G). Anything less than the 22 tasks is not called CORE.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from altgrad.data.errors import DataError
from altgrad.data.special_tokens import first_token
from altgrad.evaluate.bundle import CORE_TASKS, Bundle, Task
from altgrad.evaluate.forecast import Forecast, tokens_of
from altgrad.evaluate.questions import TaskExample, ask, shuffled
from altgrad.evaluate.scoring import Score, answer, harness_answers, score_questions
from altgrad.model import GPT

Progress = Callable[[int, int], None]
UNKNOWN = ("refuse", "skip")


class NothingToAsk(DataError):
    """Every example of a task was left out."""


@dataclass(frozen=True)
class TaskResult:
    """Accuracy on `asked` of a task's `available` examples.

    `acc` and `acc_norm` are lm-eval's two measures of the same answers, where rows are choices.
    """

    task: str
    shots: int
    available: int
    asked: int
    skipped: int
    accuracy: float
    baseline: float
    seconds: float
    acc: float | None = None
    acc_norm: float | None = None

    @property
    def error(self) -> float:
        """Standard error of the accuracy, the examples taken as a sample; 0 for a single one."""
        p, n = self.accuracy, self.asked
        return math.sqrt(p * (1 - p) / (n - 1)) if n > 1 else 0.0

    @property
    def centred(self) -> float:
        return centred(self.accuracy, self.baseline)

    @property
    def centred_error(self) -> float:
        return self.error / (1 - self.baseline)

    def to_dict(self) -> dict[str, Any]:
        derived = ("error", "centred", "centred_error")
        return {**asdict(self), **{name: getattr(self, name) for name in derived}}


@dataclass(frozen=True)
class Aggregate:
    """The mean of centred accuracies, its standard error, and what it may be called."""

    label: str
    value: float
    error: float
    is_core: bool


def centred(accuracy: float, baseline: float) -> float:
    """0 for guessing, 1 for perfection, below 0 for worse than guessing."""
    return (accuracy - baseline) / (1 - baseline)


def aggregate(results: Sequence[TaskResult]) -> Aggregate:
    """The mean over tasks, called CORE only if it is over all examples of all 22."""
    value = sum(r.centred for r in results) / len(results)
    error = math.sqrt(sum(r.centred_error**2 for r in results)) / len(results)
    of_core = [r for r in results if r.task in CORE_TASKS]
    every_task = {r.task for r in results} == set(CORE_TASKS)
    every_example = all(r.asked == r.available for r in results)
    if every_task and every_example:
        return Aggregate("CORE", value, error, True)
    label = f"mean centred accuracy of {len(of_core)} of CORE's {len(CORE_TASKS)} tasks"
    if not every_example:
        label += ", on a part of their examples"
    return Aggregate(label, value, error, False)


def evaluate_tasks(
    model: GPT,
    tokenizer: Any,
    bundle: Bundle,
    tasks: Sequence[Task],
    *,
    max_per_task: int = -1,
    unknown: str = "refuse",
    batch_tokens: int = 8192,
    share: bool = True,
    started: Callable[[Task, int], None] | None = None,
    finished: Callable[[TaskResult], None] | None = None,
    remaining: Callable[[float], None] | None = None,
) -> list[TaskResult]:
    """Accuracy of `model` on each task.

    `max_per_task` asks that many examples, a random sample that is the same every time and for
    every model; the few-shot examples still come from all. `unknown="skip"` leaves out
    examples with characters that the tokenizer does not know, instead of refusing. `share=False`
    computes the common beginning of a question's choices anew for each, without a KV cache.
    `remaining` is told again and again how many seconds all tasks together will still take.
    """
    if max_per_task != -1 and max_per_task < 1:
        raise DataError(f"max_per_task={max_per_task}: must be at least 1, or -1 for all")
    if unknown not in UNKNOWN:
        raise DataError(f"unknown={unknown!r}: allowed are {', '.join(UNKNOWN)}")
    tell = _teller(model, tokenizer, bundle, tasks, max_per_task, remaining)
    results = []
    for number, task in enumerate(tasks):
        start = time.perf_counter()
        items = shuffled(bundle.items(task))
        count = _count(items, max_per_task)
        if started:
            started(task, count)
        questions = _questions(task, items, count, tokenizer, skip=unknown == "skip")
        scores = score_questions(
            model, questions, batch_tokens=batch_tokens, share=share, progress=tell(number)
        )
        acc, acc_norm = _harness_measures(questions, scores)
        result = TaskResult(
            task=task.name,
            shots=task.shots,
            available=len(items),
            asked=len(questions),
            skipped=count - len(questions),
            accuracy=_share(answer(q, s) for q, s in zip(questions, scores, strict=True)),
            baseline=task.baseline,
            seconds=time.perf_counter() - start,
            acc=acc,
            acc_norm=acc_norm,
        )
        results.append(result)
        if finished:
            finished(result)
    return results


def _count(items: Sequence[dict[str, Any]], max_per_task: int) -> int:
    return len(items) if max_per_task == -1 else min(max_per_task, len(items))


def _teller(
    model: GPT,
    tokenizer: Any,
    bundle: Bundle,
    tasks: Sequence[Task],
    max_per_task: int,
    remaining: Callable[[float], None] | None,
) -> Callable[[int], Progress | None]:
    """Task number -> what to call with (done, total) rows of that task."""
    if remaining is None:
        return lambda number: None
    work = []
    for task in tasks:
        items = shuffled(bundle.items(task))
        size = {"block_size": model.config.block_size}
        work.append(tokens_of(task, items, _count(items, max_per_task), tokenizer, **size))
    forecast = Forecast(work)

    def of_task(number: int) -> Progress:
        def tell(done: int, total: int) -> None:
            seconds = forecast.remaining_s(number, done / max(total, 1))
            if seconds is not None:
                remaining(seconds)

        return tell

    return of_task


def _questions(
    task: Task, items: Sequence[dict[str, Any]], count: int, tokenizer: Any, *, skip: bool
) -> list[TaskExample]:
    first = first_token(tokenizer)
    questions = []
    for index in range(count):
        try:
            questions.append(ask(task, items, index, tokenizer, first=first))
        except DataError as error:
            if not skip:
                raise DataError(
                    f"task {task.name}: {error}; take a model with another tokenizer "
                    "(data.tokenizer=byte or gpt2), or --unknown skip"
                ) from None
    if not questions:
        raise NothingToAsk(f"task {task.name}: no example is without unknown characters")
    return questions


def _harness_measures(
    questions: Sequence[TaskExample], scores: Sequence[Sequence[Score]]
) -> tuple[float | None, float | None]:
    if not questions[0].characters or not all(min(q.characters) for q in questions):
        return None, None
    pairs = [harness_answers(q, s) for q, s in zip(questions, scores, strict=True)]
    return _share(acc for acc, _ in pairs), _share(norm for _, norm in pairs)


def _share(answers: Iterable[bool]) -> float:
    answers = list(answers)
    return sum(answers) / len(answers)
