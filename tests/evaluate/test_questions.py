"""From an example to rows of tokens, by DCLM's protocol."""

import random

import pytest

from altgrad.evaluate.bundle import Bundle
from altgrad.evaluate.questions import (
    Row,
    TaskExample,
    ask,
    encode_together,
    fit,
    shots_for,
    shuffled,
)


@pytest.fixture
def bundle(bundle_dir):
    return Bundle(bundle_dir)


def text_of(tokenizer, row: Row) -> str:
    return tokenizer.decode(row.tokens[1:])


def test_choices_share_the_question_and_are_scored_from_where_they_part(bundle, tokenizer):
    task = bundle.tasks["openbook_qa"]
    items = shuffled(bundle.items(task))
    question = ask(task, items, 0, tokenizer, first=0)
    shots = shots_for(task, items, 0)
    shown = "".join(f"{s['query']}\nAnswer: {s['choices'][s['gold']]}\n\n" for s in shots)
    assert [text_of(tokenizer, row) for row in question.rows] == [
        f"{shown}{items[0]['query']}\nAnswer: {choice}" for choice in items[0]["choices"]
    ]
    assert {row.tokens[0] for row in question.rows} == {0}
    asked = len(shown) + len(items[0]["query"]) + len("\nAnswer: ")
    assert {row.start for row in question.rows} == {1 + asked}
    assert question.gold == items[0]["gold"]


def test_a_schema_scores_the_continuation_that_its_contexts_share(bundle, tokenizer):
    task = bundle.tasks["winograd"]
    question = ask(task, bundle.items(task), 3, tokenizer, first=0)
    scored = {tokenizer.decode(row.tokens[row.start :]) for row in question.rows}
    assert scored == {" was wet."}


def test_a_continuation_is_scored_with_the_delimiter_before_it(bundle, tokenizer):
    task = bundle.tasks["jeopardy"]
    question = ask(task, bundle.items(task), 3, tokenizer, first=0)
    (row,) = question.rows
    assert tokenizer.decode(row.tokens[row.start :]) == " a"
    assert question.gold is None


def test_shots_are_the_protocols_and_never_the_question_itself(bundle):
    task = bundle.tasks["openbook_qa"]
    items = bundle.items(task)
    for index in range(len(items)):
        others = [i for i in range(len(items)) if i != index]
        drawn = random.Random(1234 + index).sample(others, 2)
        assert shots_for(task, items, index) == [items[i] for i in drawn]


def test_a_choice_that_begins_another_still_scores_a_token(bundle, tokenizer):
    task = bundle.tasks["openbook_qa"]
    item = {"query": "Q", "choices": ["blue", "blue whale"], "gold": 0}
    question = ask(task, [item], 0, tokenizer, first=0)
    assert [len(row.tokens) - row.start for row in question.rows] == [1, 7]


def test_without_a_first_token_the_first_character_is_not_scored(bundle, tokenizer):
    task = bundle.tasks["winograd"]
    item = {"context_options": ["A", "B"], "continuation": "c", "gold": 0}
    assert [row.start for row in ask(task, [item], 0, tokenizer).rows] == [1, 1]


def test_a_long_context_is_cut_from_the_left_for_all_choices_alike():
    context = tuple(range(30))
    question = TaskExample((Row((*context, 1), 30), Row((*context, 1, 2, 3), 30)), 0)
    cut = fit(question, 20)
    assert [row.tokens for row in cut.rows] == [(*context[12:], 1), (*context[12:], 1, 2, 3)]
    assert {row.start for row in cut.rows} == {18}


def test_an_answer_longer_than_the_model_keeps_one_token_of_context():
    question = TaskExample((Row(tuple(range(50)), 10),), None)
    (row,) = fit(question, 20).rows
    assert (row.tokens, row.start) == (tuple(range(9, 30)), 1)


@pytest.mark.parametrize(
    "texts",
    [
        ["one two three", "one two  four", "one two"],
        ["a\n\n b", "a\n\n c"],
        ["word  x", "word  y"],
        ["Answer: ", "Answer: A"],
        [" lead", " lead and more"],
        ["x", "y"],
        ["only one text"],
    ],
)
def test_encoding_the_shared_beginning_once_changes_no_token(texts):
    import tiktoken
    from tiktoken._educational import SimpleBytePairEncoding

    pattern = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
    corpus = "one two three four word Answer: A lead and more only text  \n\n a b c " * 3
    ranks = SimpleBytePairEncoding.train(corpus, 290, pattern).mergeable_ranks
    encoding = tiktoken.Encoding("small", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    encoding.encode, expected = encoding.encode_ordinary, encoding.encode_ordinary
    assert encode_together(texts, encoding) == [expected(text) for text in texts]
