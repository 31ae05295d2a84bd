"""Batches, shared beginnings and half precision change the speed, not the answers."""

import pytest
import torch

from altgrad.evaluate.bundle import Bundle
from altgrad.evaluate.questions import Row, TaskExample, ask, fit
from altgrad.evaluate.scoring import answer, score_questions
from tests.evaluate.conftest import small_model


def one_by_one(model, row: Row) -> tuple[float, bool]:
    """The definition: each row alone, its logits in full, log-softmax by hand.

    The loss is of the tokens that are scored, greedy of the whole answer, which may begin earlier.
    """
    with torch.no_grad():
        logits = model(torch.tensor([row.tokens[:-1]]))[0][0].double()
    losses = [
        float(logits[t - 1].logsumexp(-1) - logits[t - 1, row.tokens[t]])
        for t in range(row.start, len(row.tokens))
    ]
    greedy = all(
        int(logits[t - 1].argmax()) == row.tokens[t] for t in range(row.first, len(row.tokens))
    )
    return sum(losses) / len(losses), greedy


@pytest.fixture
def questions(bundle_dir, tokenizer):
    bundle = Bundle(bundle_dir)
    return [
        ask(bundle.tasks[name], bundle.items(bundle.tasks[name]), i, tokenizer, first=0)
        for name in bundle.present
        for i in range(5)
    ]


VARIANTS = {
    "gpt2": {},
    "llama": {"position": "rope", "norm": "rmsnorm", "mlp": "swiglu", "bias": False},
    "bigram": {"embedding": "bigram", "bigram_rows": 999},
    "shift": {"block": "shift", "position": "rope"},
    "window": {"windows": [20, -1]},
    "short": {"block_size": 64},
    "documents": {"document_token": 10, "embedding": "bigram", "block": "shift"},
    "capped": {"logit_softcap": 5.0, "qk_norm": True, "position": "none"},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("batch_tokens", [1, 3000])
def test_scores_equal_those_of_each_row_alone(questions, variant, batch_tokens):
    model = small_model(**VARIANTS[variant])
    scores = score_questions(model, questions, batch_tokens=batch_tokens)
    for question, found in zip(questions, scores, strict=True):
        for row, score in zip(fit(question, model.config.block_size).rows, found, strict=True):
            loss, greedy = one_by_one(model, row)
            assert score.loss == pytest.approx(loss, abs=2e-5)
            assert score.greedy == greedy
            assert score.tokens == len(row.tokens) - row.start


def test_the_total_is_that_of_the_whole_answer_also_where_answers_begin_alike(tokenizer):
    model = small_model()
    context, answers = tokenizer.encode("Q: "), ["many, many", "many, more"]
    rows = [(0, *context, *tokenizer.encode(text)) for text in answers]
    question = TaskExample(tuple(Row(row, len(context) + 8, len(context) + 1) for row in rows), 0)
    (scores,) = score_questions(model, [question])
    for row, score, text in zip(rows, scores, answers, strict=True):
        loss, _ = one_by_one(model, Row(row, len(context) + 1))
        assert score.total == pytest.approx(-loss * len(text), abs=1e-3)
        loss, _ = one_by_one(model, Row(row, len(context) + 8))
        assert score.loss == pytest.approx(loss, abs=2e-5)


def test_the_number_of_cores_changes_no_bit(questions):
    model, before, found = small_model(), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(score_questions(model, questions, batch_tokens=300))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_sharing_saves_most_of_the_tokens(questions, monkeypatch):
    model = small_model()
    seen = []
    monkeypatch.setattr(
        model.transformer,
        "forward",
        lambda idx, cache=None, forward=model.transformer.forward: (
            seen.append(idx.numel()),
            forward(idx, cache),
        )[1],
    )
    counts = {}
    for share in (True, False):
        seen.clear()
        score_questions(model, questions[:5], share=share)
        counts[share] = sum(seen)
    assert counts[True] < 0.4 * counts[False]


def test_an_attention_without_a_cache_is_scored_without_one(questions):
    model = small_model()
    expected = score_questions(model, questions)
    for block in model.transformer.h:
        block.attn.forward = lambda x, cos_sin=None, kv_cache=None, f=block.attn.forward: f(
            x, cos_sin, None
        )
    found = score_questions(model, questions)
    for a, b in zip(expected, found, strict=True):
        assert [s.loss for s in a] == pytest.approx([s.loss for s in b], abs=2e-5)


def test_the_smallest_mean_loss_wins_and_a_tie_goes_to_the_first():
    model = small_model()
    row = Row((0, 5, 9, 9), 2)
    question = TaskExample((row, row, Row((0, 5, 9, 9, 7), 2)), 0)
    scores = score_questions(model, [question])[0]
    assert scores[0] == scores[1]
    assert answer(question, scores) == (scores[0].loss <= scores[2].loss)


def test_every_token_must_be_the_likeliest():
    model = small_model()
    start = torch.tensor([[0, 70, 80]])
    written = model.generate(start, 4, temperature=0)[0].tolist()
    right = TaskExample((Row(tuple(written), 3),), None)
    wrong = TaskExample((Row((*written[:-1], (written[-1] + 1) % 256), 3),), None)
    scores = score_questions(model, [right, wrong])
    assert [answer(q, s) for q, s in zip([right, wrong], scores, strict=True)] == [True, False]


def test_bf16_answers_nearly_as_fp32(questions):
    model = small_model()
    exact = score_questions(model, questions)
    half = score_questions(small_copy(model), questions)
    for a, b in zip(exact, half, strict=True):
        assert [s.loss for s in b] == pytest.approx([s.loss for s in a], rel=0.03, abs=0.03)


def small_copy(model):
    import copy

    return copy.deepcopy(model).to(torch.bfloat16)


def test_an_answer_is_greedy_only_where_all_of_it_is_the_likeliest():
    """Also where the choices share their beginning, which is not scored."""
    model = small_model()
    context = [10, 20, 30]

    def likeliest(*tokens):
        with torch.no_grad():
            return int(model(torch.tensor([tokens]))[0][0, -1].argmax())

    right = likeliest(*context)
    for begun, greedy in ((right, True), ((right + 1) % 256, False)):
        row = (*context, begun, likeliest(*context, begun))
        ((score,),) = score_questions(model, [TaskExample((Row(row, 4, 3),), 0)])
        assert (score.tokens, score.greedy) == (1, greedy)
