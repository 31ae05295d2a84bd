"""The time an evaluation still needs."""

import pytest

from altgrad.data.tokenizers import ByteTokenizer, CharTokenizer
from altgrad.evaluate.bundle import Bundle
from altgrad.evaluate.core import evaluate_tasks
from altgrad.evaluate.forecast import Forecast, tokens_of
from altgrad.evaluate.questions import ask, shuffled
from tests.evaluate.conftest import small_model


def test_what_is_left_takes_as_long_a_token_as_what_was_done():
    seconds = iter([100.0, 110.0, 130.0])
    forecast = Forecast([300, 100], clock=lambda: next(seconds))
    assert forecast.remaining_s(0, 0.0) is None
    assert forecast.remaining_s(0, 1 / 3) == pytest.approx(30)
    assert forecast.remaining_s(1, 0.0) == pytest.approx(10)


def test_a_shared_beginning_is_counted_once(bundle_dir):
    bundle = Bundle(bundle_dir)
    task = bundle.tasks["openbook_qa"]
    items = shuffled(bundle.items(task))
    rows = [row.tokens for row in ask(task, items, 0, ByteTokenizer(), first=0).rows]
    shared = next(i for i in range(len(rows[0])) if len({row[i] for row in rows}) > 1)
    wanted = shared + sum(len(row) - shared for row in rows)
    assert tokens_of(task, items, 1, ByteTokenizer(), block_size=4096) == wanted


def test_a_task_without_any_question_it_can_ask_counts_a_token_each(bundle_dir):
    bundle = Bundle(bundle_dir)
    task = bundle.tasks["openbook_qa"]
    items = shuffled(bundle.items(task))
    assert tokens_of(task, items, 7, CharTokenizer("xyz"), block_size=64) == 7


def test_an_evaluation_tells_its_remaining_time_down_to_zero(bundle_dir):
    bundle, told = Bundle(bundle_dir), []
    tasks = [bundle.tasks[name] for name in ("openbook_qa", "winograd", "jeopardy")]
    evaluate_tasks(small_model(), ByteTokenizer(), bundle, tasks, remaining=told.append)
    assert len(told) >= 3
    assert told[0] > 0
    assert told[-1] == pytest.approx(0, abs=1e-9)
