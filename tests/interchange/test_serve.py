"""The endpoint: OpenAI's answers, streamed or whole; strict about what it is asked."""

import json

import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx")

from altgrad.interchange.serve import check_host, make_app
from altgrad.interchange.writing import write


@pytest.fixture
def run(make_run):
    return make_run()


@pytest.fixture
def client(run):
    """The application without a socket."""
    import anyio
    import httpx

    transport = httpx.ASGITransport(make_app(run, "small"))

    def request(method: str, path: str, **how):
        async def go():
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
                return await http.request(method, path, **how)

        return anyio.run(go)

    return request


def ask(client, **body):
    return client("POST", "/v1/completions", json=body)


def test_a_completion_is_what_the_model_writes(client, run):
    body = ask(client, model="small", prompt="To be", max_tokens=9, seed=4, temperature=0.7).json()
    (choice,) = body["choices"]
    assert choice["text"] == "".join(write(run, "To be", 9, seed=4, temperature=0.7))
    assert choice["finish_reason"] == "length"
    assert body["object"] == "text_completion"
    assert body["usage"] == {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}


def test_a_stream_says_the_same_in_pieces(client):
    how = {"prompt": "To be", "max_tokens": 9, "seed": 4}
    lines = ask(client, **how, stream=True).text.strip().split("\n\n")
    assert lines[-1] == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    streamed = "".join(event["choices"][0]["text"] for event in events)
    assert streamed == ask(client, **how).json()["choices"][0]["text"]
    assert events[-1]["choices"][0]["finish_reason"] == "length"


def test_several_prompts_and_choices_keep_their_order(client, run):
    body = ask(client, prompt=["A", "B"], n=2, max_tokens=5, seed=10, echo=True).json()
    texts = [choice["text"] for choice in body["choices"]]
    expected = [("A", 10), ("A", 11), ("B", 10), ("B", 11)]
    assert texts == [p + "".join(write(run, p, 5, seed=s, temperature=0.8)) for p, s in expected]
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"best_of": 3}, "'best_of' is not supported"),
        ({"model": "gpt-4"}, "no model 'gpt-4' here, only 'small'"),
        ({"prompt": ""}, "prompt must not be empty"),
        ({"prompt": 5}, "prompt must be a text"),
        ({"prompt": "漢"}, "'漢' is not among"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens=True must be int"),
        ({"n": 1000}, "at most 32 texts"),
        ({"temperature": -1}, "temperature=-1"),
        ({"top_p": 2}, "top_p=2"),
    ],
)
def test_what_cannot_be_done_is_refused(client, body, message):
    answer = ask(client, **body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


def test_a_body_that_is_no_object_or_too_large_is_refused(client):
    for content in (b"{", b"[1]", b" " * (2 << 20)):
        assert client("POST", "/v1/completions", content=content).status_code == 400


def test_the_page_and_the_list_of_models_are_there(client):
    assert client("GET", "/v1/models").json()["data"][0]["id"] == "small"
    page = client("GET", "/")
    assert "<title>small</title>" in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.1"])
def test_this_machine_may_ask(host):
    check_host(host, anywhere=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org", ""])
def test_other_addresses_need_a_word_of_their_own(host):
    with pytest.raises(ValueError, match="--anywhere"):
        check_host(host, anywhere=False)
    check_host(host, anywhere=True)
