"""The endpoint: OpenAI's answers, streamed or whole; strict about what it is asked."""

import asyncio
import json
import sys

import pytest
import torch

pytest.importorskip("starlette")
pytest.importorskip("httpx")

from altgrad.data.tokenizers import CharTokenizer
from altgrad.interchange.local_server import allowed_hosts, check_host, listen
from altgrad.interchange.serve import make_app, serve
from altgrad.interchange.writing import write
from altgrad.settings import ConfigError


@pytest.fixture
def run(make_run):
    return make_run()


@pytest.fixture
def client(run):
    """The application without a socket."""
    return client_of(make_app(run, "small"))


def client_of(app):
    import anyio
    import httpx

    transport = httpx.ASGITransport(app)

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
        ({"temperature": 1e-320}, "temperature=1e-320 must be 0"),
        ({"temperature": 1e-30}, "temperature=1e-30 must be 0"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"temperature": float("inf")}, "temperature=inf"),
        ({"top_p": float("nan")}, "top_p=nan"),
        ({"stop": [""]}, "stop must not be empty"),
        ({"max_tokens": 4097}, "max_tokens=4097 must be"),
    ],
)
def test_what_cannot_be_done_is_refused(client, body, message):
    answer = client("POST", "/v1/completions", content=json.dumps(body).encode())
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


def test_a_body_that_is_no_object_or_too_large_is_refused(client):
    for content in (b"{", b"[1]", b" " * (2 << 20), b"[" * 100_000):
        assert client("POST", "/v1/completions", content=content).status_code == 400


def test_the_smallest_and_largest_settings_are_answered(client):
    for how in ({"temperature": 1e-6}, {"temperature": 1e308}, {"top_p": 1e-300}, {"seed": -5}):
        assert ask(client, prompt="A", max_tokens=3, **how).status_code == 200, how


def test_a_token_without_text_is_never_drawn(make_run):
    """A vocabulary padded to a round size, whose surplus was never trained away."""
    run = make_run()
    known = run.tokenizer.vocabulary[:40]
    run.tokenizer = CharTokenizer(known)
    padded = client_of(make_app(run, "small"))
    answer = ask(padded, prompt="A", max_tokens=60, temperature=3.0)
    assert answer.status_code == 200
    text = answer.json()["choices"][0]["text"]
    assert len(text) == 60
    assert set(text) <= set(known)


def test_a_diverged_model_is_said_and_is_no_server_error(make_run):
    run = make_run()
    with torch.no_grad():
        run.model.lm_head.weight.fill_(float("nan"))
    answer = ask(client_of(make_app(run, "small")), prompt="A", max_tokens=2)
    assert answer.status_code == 400
    assert "NaN or infinite logits" in answer.json()["error"]["message"]


def test_a_stream_tells_its_usage_where_it_is_asked(client):
    how = {"prompt": "To be", "max_tokens": 9, "stream": True}
    lines = ask(client, **how, stream_options={"include_usage": True}).text.strip().split("\n\n")
    last = json.loads(lines[-2].removeprefix("data: "))
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_whose_client_has_gone_stops_at_the_next_token(run, monkeypatch, stream):
    made = asyncio.run(_tokens_made(run, monkeypatch, stream, leave_after=3))
    assert 3 <= made <= 6


async def _tokens_made(run, monkeypatch, stream: bool, leave_after: int) -> int:
    """Tokens drawn for a request of 400, whose client leaves after a few."""
    made: list[int] = []
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()

    def counting(*words, **how):
        writing = write(*words, **how)
        steps = writing.steps

        def counted():
            for piece in steps():
                made.append(1)
                if len(made) == leave_after:
                    loop.call_soon_threadsafe(gone.set)
                yield piece

        writing.steps = counted
        return writing

    monkeypatch.setattr("altgrad.interchange.serve.write", counting)
    body = json.dumps({"prompt": "A", "max_tokens": 400, "stream": stream}).encode()
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive():
        if (message := next(messages, None)) is not None:
            return message
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(_):
        await asyncio.sleep(0)

    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": []}
    scope |= {"query_string": b"", "asgi": {"version": "3.0", "spec_version": "2.3"}}
    await asyncio.wait_for(make_app(run, "small")(scope, receive, send), timeout=60)
    return len(made)


def test_a_long_text_does_not_hold_up_a_short_one(run):
    """Two requests at once: each waits for a token of the other, not for its whole text."""
    import httpx

    async def both():
        transport = httpx.ASGITransport(make_app(run, "small"))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
            finished: list[str] = []

            async def go(name: str, tokens: int):
                await http.post("/v1/completions", json={"prompt": "A", "max_tokens": tokens})
                finished.append(name)

            await asyncio.gather(go("long", 300), go("short", 2))
            return finished

    assert asyncio.run(both()) == ["short", "long"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "127.0.0.1:8000"}, 200),
        ({"Host": "localhost"}, 200),
        ({"Host": "LOCALHOST:1"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "127.8.9.1:8000"}, 200),
        ({"Host": "evil.example"}, 400),
        ({"Host": "localhost.evil.example:8000"}, 400),
        ({"Host": "127.0.0.1@evil.example"}, 400),
        ({"Host": "[::1"}, 400),
        ({"Host": ""}, 400),
        ({"Host": "localhost", "Origin": "http://localhost:3000"}, 200),
        ({"Host": "localhost", "Origin": "https://evil.example"}, 400),
        ({"Host": "localhost", "Origin": "null"}, 400),
    ],
)
def test_only_this_machines_names_are_answered(run, headers, status):
    client = client_of(make_app(run, "small", hosts=allowed_hosts("127.8.9.1")))
    assert client("GET", "/v1/models", headers=headers).status_code == status


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_a_server_for_everybody_answers_to_any_name(host):
    assert allowed_hosts(host) is None


def test_a_taken_or_impossible_port_is_one_line():
    with listen("127.0.0.1", 0) as taken:
        with pytest.raises(ConfigError, match=r"cannot listen at --host 127\.0\.0\.1"):
            listen("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(ConfigError, match=r"--port 99999 must be"):
            listen("127.0.0.1", 99_999)


@pytest.mark.parametrize("library", ["starlette", "uvicorn"])
def test_without_the_extra_its_name_is_all_that_is_said(library, run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        ConfigError, match=rf"serving needs {library}: pip install 'altgrad\[serve\]'"
    ):
        serve(run, "small", host="127.0.0.1", port=0)
    assert capsys.readouterr().out == ""


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
