"""A model known by its logits alone answers as the GPT behind them."""

from dataclasses import replace

import pytest

from altgrad.data.tokenizers import CharTokenizer
from altgrad.evaluate.bundle import Bundle
from altgrad.evaluate.core import evaluate_tasks
from altgrad.evaluate.outside import judge
from tests.evaluate.conftest import small_model


@pytest.mark.parametrize("position", ["learned", "rope"])
def test_logits_alone_give_the_score_of_the_model(bundle_dir, tokenizer, position):
    model = small_model(position=position)
    bundle = Bundle(bundle_dir)
    tasks = bundle.select(["core"])
    wanted = evaluate_tasks(model, tokenizer, bundle, tasks, unknown="skip")
    got = judge(
        lambda idx: model(idx, idx)[0], tokenizer, bundle=bundle, tasks=tasks, block_size=256
    )
    assert [replace(r, seconds=0) for r in got] == [replace(r, seconds=0) for r in wanted]


def test_a_task_that_cannot_be_written_is_left_out(bundle_dir):
    tokenizer = CharTokenizer("Thewordatis cupflnbc0123456789.")
    tasks = (bundle := Bundle(bundle_dir)).select(["core"])
    model = small_model(vocab_size=tokenizer.vocab_size)
    got = judge(
        lambda idx: model(idx, idx)[0], tokenizer, bundle=bundle, tasks=tasks, block_size=256
    )
    assert [r.task for r in got] == ["winograd"]
