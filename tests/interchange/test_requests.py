"""What the endpoint takes and refuses, option by option, as OpenAI's server does."""

import json

import pytest

from altgrad.interchange.requests import MAX_NEW_TOKENS, Refused, parse, parse_json

NEUTRAL = {
    "n": 1,
    "best_of": 1,
    "logprobs": None,
    "presence_penalty": 0,
    "frequency_penalty": 0.0,
    "logit_bias": {},
    "suffix": None,
    "user": "somebody",
    "seed": None,
    "stop": None,
    "top_p": 1,
    "echo": False,
    "stream": False,
    "stream_options": None,
    "model": "small",
}


@pytest.mark.parametrize("option", NEUTRAL)
def test_an_option_that_asks_for_nothing_changes_nothing(option):
    asked = parse({"prompt": "a", option: NEUTRAL[option]}, "small")
    plain = parse({"prompt": "a"}, "small")
    assert asked.__dict__ | {"top_p": None} == plain.__dict__


def test_all_neutral_options_at_once_and_false_logprobs_are_taken():
    assert parse({"prompt": "a", **NEUTRAL}, "small").prompts == ["a"]
    assert parse({"logprobs": False, "suffix": "", "n": 3, "best_of": 3}, "small").n == 3


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"stop": [""]}, "stop must not be empty"),
        ({"stop": ""}, "stop must not be empty"),
        ({"stop": ["a", ""]}, "stop must not be empty"),
        ({"stop": {"a": 1}}, "stop must be a text"),
        ({"logprobs": 0}, "'logprobs' is not supported"),
        ({"logprobs": 5}, "'logprobs' is not supported"),
        ({"presence_penalty": 0.5}, "'presence_penalty' is not supported"),
        ({"frequency_penalty": False}, "'frequency_penalty' is not supported"),
        ({"logit_bias": {"50256": -100}}, "'logit_bias' is not supported"),
        ({"suffix": "end"}, "'suffix' is not supported"),
        ({"best_of": 2}, "'best_of' is not supported"),
        ({"messages": []}, "'messages' is not supported"),
        ({"max_tokens": MAX_NEW_TOKENS + 1}, f"must be 1 … {MAX_NEW_TOKENS}"),
        ({"max_tokens": 10**30}, "must fit into 64 bits"),
        ({"max_tokens": -1}, "max_tokens=-1"),
        ({"temperature": 10**400}, "must fit into 64 bits"),
        ({"temperature": "1"}, "temperature='1' must be"),
        ({"seed": 2**70}, "must fit into 64 bits"),
        ({"prompt": "\ud800"}, "half of a surrogate pair"),
        ({"prompt": []}, "prompt must not be empty"),
        ({"prompt": ["a", ""]}, "prompt must not be empty"),
        ({"stream_options": {"include_usage": True}}, "stream=true only"),
        ({"stream": True, "stream_options": {"x": 1}}, "include_usage, nothing else"),
        ({"stream": True, "stream_options": []}, "include_usage, nothing else"),
    ],
)
def test_what_would_be_ignored_or_cannot_be_is_refused(body, message):
    with pytest.raises(Refused, match=message):
        parse(body, "small")


@pytest.mark.parametrize(
    "body", [b"[" * 200_000, b"{" + b'"a":{' * 100_000, b"\xff\xfe", b"", b"3", b"1" * 5000]
)
def test_a_body_that_is_no_object_is_refused(body):
    with pytest.raises(Refused):
        parse_json(body)


def test_usage_is_asked_for_with_a_stream():
    body = {"stream": True, "stream_options": {"include_usage": True}}
    assert parse(json.loads(json.dumps(body)), "small").include_usage
