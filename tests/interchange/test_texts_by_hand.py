"""What ends a text, and what is too much to ask: on made-up tokens."""

from types import SimpleNamespace

import pytest

from altgrad.interchange.local_server import MAX_BODY_BYTES, Refused, read_body
from altgrad.interchange.writing import Writing

anyio = pytest.importorskip("anyio")


@pytest.mark.parametrize("stop", [["d", "b"], ["b", "d"], ["bc", "cd"]])
def test_of_several_stop_texts_the_first_in_the_text_ends_it(stop):
    """All of them arrive with one token."""
    tokenizer = SimpleNamespace(decode=lambda ids: "".join(("a", "bcde")[i] for i in ids))
    run = SimpleNamespace(tokenizer=tokenizer)
    writing = Writing(run, "", [], iter([0, 1, 0]), stop)
    assert ("".join(writing), writing.finish_reason) == ("a", "stop")


def test_a_request_that_would_be_understood_is_refused_where_it_is_too_large():
    async def stream():
        yield b'{"prompt": "' + b"a" * MAX_BODY_BYTES
        yield b'"}'

    with pytest.raises(Refused, match="larger than"):
        anyio.run(read_body, SimpleNamespace(stream=stream))
