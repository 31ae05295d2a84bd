"""A model behind OpenAI's completions interface, on this machine, with a page to try it.

    GET  /                  the page
    GET  /v1/models         the one model there is
    POST /v1/completions    prompt, max_tokens, temperature, top_p, n, seed, stop, stream, echo

Starlette takes requests, uvicorn runs it. One text is written at a time; others wait their turn.
"""

import asyncio
import html
import ipaddress
import itertools
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from altgrad.interchange.writing import Writing, write
from altgrad.training.build import LoadedRun
from altgrad.training.settings import ConfigError

PAGE = Path(__file__).parent / "templates" / "page.html"
MAX_BODY_BYTES = 1 << 20
MAX_TEXTS = 32


@dataclass(frozen=True)
class Completion:
    """A checked request."""

    prompts: list[str]
    max_tokens: int = 64
    temperature: float = 0.8
    top_p: float | None = None
    top_k: int | None = None
    n: int = 1
    seed: int | None = None
    stop: list[str] = field(default_factory=list)
    stream: bool = False
    echo: bool = False


class Refused(ValueError):
    """A request that cannot be honoured; the message goes to the client."""


def serve(run: LoadedRun, name: str, *, host: str, port: int, anywhere: bool = False) -> None:
    """Answer requests until Ctrl-C.

    Raises:
        ConfigError: another address than this machine's own without `anywhere`, or no uvicorn.
    """
    check_host(host, anywhere=anywhere)
    try:
        import uvicorn
    except ImportError:
        raise ConfigError("serving needs uvicorn: pip install 'altgrad[serve]'.") from None
    uvicorn.run(make_app(run, name), host=host, port=port, log_level="warning")


def check_host(host: str, *, anywhere: bool) -> None:
    """Only this machine's own addresses, unless the person says otherwise."""
    try:
        own = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        own = False
    if not own and not anywhere:
        raise ConfigError(
            f"--host {host} lets other machines in, without a password; "
            "use 127.0.0.1, or add --anywhere if that is meant."
        )


def make_app(run: LoadedRun, name: str) -> Any:
    """The Starlette application."""
    try:
        from starlette.applications import Starlette
        from starlette.requests import Request
        from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
        from starlette.routing import Route
    except ImportError:
        raise ConfigError("serving needs starlette: pip install 'altgrad[serve]'.") from None

    turn = threading.Lock()
    numbers = itertools.count(1)
    started = int(time.time())

    async def page(_: Request) -> Response:
        return HTMLResponse(
            PAGE.read_text(encoding="utf-8").replace("{{model}}", html.escape(name))
        )

    async def models(_: Request) -> Response:
        model = {"id": name, "object": "model", "created": started, "owned_by": "altgrad"}
        return JSONResponse({"object": "list", "data": [model]})

    async def completions(request: Request) -> Response:
        try:
            wish = parse(await read_body(request), name)
            writings = begin(run, wish)
        except ValueError as error:
            detail = {"message": str(error), "type": "invalid_request_error"}
            return JSONResponse({"error": detail}, status_code=400)
        head = {"id": f"cmpl-{next(numbers)}", "created": int(time.time()), "model": name}
        if wish.stream:
            return StreamingResponse(
                events(writings, wish, head, turn), media_type="text/event-stream"
            )
        return JSONResponse(await asyncio.to_thread(whole, writings, wish, head, turn))

    return Starlette(
        routes=[
            Route("/", page),
            Route("/v1/models", models),
            Route("/v1/completions", completions, methods=["POST"]),
        ]
    )


async def read_body(request: Any) -> dict[str, Any]:
    """The JSON object of a request of bounded size."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise Refused(f"the request is larger than {MAX_BODY_BYTES} bytes")
    try:
        content = json.loads(body)
    except ValueError as error:
        raise Refused(f"the request is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise Refused("the request must be a JSON object")
    return content


KINDS: dict[str, tuple[type, ...]] = {
    "max_tokens": (int,),
    "temperature": (int, float),
    "top_p": (int, float),
    "top_k": (int,),
    "n": (int,),
    "seed": (int,),
    "stream": (bool,),
    "echo": (bool,),
}
IGNORED = ("model", "user")
"""Accepted without effect: there is one model, and nobody is told apart."""


def parse(body: dict[str, Any], name: str) -> Completion:
    """A request, checked. What is not supported is refused, never ignored."""
    known = {"prompt", "stop", *KINDS, *IGNORED}
    for key in body:
        if key not in known:
            raise Refused(f"{key!r} is not supported; there are {', '.join(sorted(known))}")
    if body.get("model", name) != name:
        raise Refused(f"there is no model {body['model']!r} here, only {name!r}")
    values: dict[str, Any] = {}
    for key, kinds in KINDS.items():
        value = body.get(key)
        if value is None:
            continue
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise Refused(f"{key}={value!r} must be {' or '.join(k.__name__ for k in kinds)}")
        values[key] = value
    wish = Completion(
        prompts=_texts(body.get("prompt", "\n"), "prompt"),
        stop=_texts(body.get("stop") or [], "stop"),
        **values,
    )
    if not wish.prompts or not all(wish.prompts):
        raise Refused("prompt must not be empty")
    if wish.max_tokens < 1 or wish.n < 1 or wish.n * len(wish.prompts) > MAX_TEXTS:
        raise Refused(f"max_tokens and n must be at least 1, and at most {MAX_TEXTS} texts at once")
    return wish


def _texts(value: Any, key: str) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Refused(f"{key} must be a text or a list of texts")
    return texts


def begin(run: LoadedRun, wish: Completion) -> list[Writing]:
    """A writing for every choice; text i of a seed has seed + i."""
    how: dict[str, Any] = {"temperature": wish.temperature}
    how |= {k: v for k in ("top_p", "top_k") if (v := getattr(wish, k)) is not None}
    seed = wish.seed if wish.seed is not None else time.time_ns() % 2**31
    return [
        write(run, prompt, wish.max_tokens, stop=wish.stop, seed=seed + i, **how)
        for prompt in wish.prompts
        for i in range(wish.n)
    ]


def whole(
    writings: list[Writing], wish: Completion, head: dict[str, Any], turn: threading.Lock
) -> dict[str, Any]:
    """The answer to a request that does not stream."""
    choices = []
    for index, writing in enumerate(writings):
        with turn:
            text = "".join(writing)
        text = writing.prompt + text if wish.echo else text
        choices.append(_choice(index, text, writing.finish_reason))
    read = sum(len(writing.prompt_ids) for writing in writings)
    made = sum(writing.tokens for writing in writings)
    usage = {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made}
    return {**head, "object": "text_completion", "choices": choices, "usage": usage}


async def events(
    writings: list[Writing], wish: Completion, head: dict[str, Any], turn: threading.Lock
) -> AsyncIterator[str]:
    """Server-sent events: one for each piece of text, `[DONE]` at the end."""
    for index, writing in enumerate(writings):
        pieces = iter(writing)
        if wish.echo:
            yield _event(head, _choice(index, writing.prompt, None))
        while (piece := await asyncio.to_thread(_next, pieces, turn)) is not None:
            yield _event(head, _choice(index, piece, None))
        yield _event(head, _choice(index, "", writing.finish_reason))
    yield "data: [DONE]\n\n"


def _next(pieces: Iterator[str], turn: threading.Lock) -> str | None:
    with turn:
        return next(pieces, None)


def _choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}


def _event(head: dict[str, Any], choice: dict[str, Any]) -> str:
    content = {**head, "object": "text_completion", "choices": [choice]}
    return f"data: {json.dumps(content)}\n\n"
