"""A model behind OpenAI's completions interface, on this machine, with a page to try it.

    GET  /                  the page
    GET  /v1/models         the one model there is
    POST /v1/completions    what `requests.Completion` holds

Starlette takes requests, uvicorn runs it. One thread makes all tokens, one at a time, for whichever
request is next: between two tokens a request ends if its client has gone or the server is to stop.
"""

import asyncio
import html
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from altgrad.interchange.local_server import (
    address,
    allowed_hosts,
    answer_requests,
    check_host,
    check_installed,
    error_of,
    listen,
    only_for,
    read_body,
)
from altgrad.interchange.requests import Completion, parse
from altgrad.interchange.writing import Writing, write
from altgrad.runs import json_text
from altgrad.training.build import LoadedRun

PAGE = Path(__file__).parent / "templates" / "page.html"


class Gone(Exception):
    """The client has left, or the server is to stop: nobody waits for this text any more."""


def serve(run: LoadedRun, name: str, *, host: str, port: int, anywhere: bool = False) -> None:
    """Print the address, then answer requests until one SIGINT or SIGTERM.

    Raises:
        ConfigError: another address than this machine's own without `anywhere`, one that cannot be
            had, or no uvicorn.
    """
    check_host(host, anywhere=anywhere)
    check_installed()
    listener = listen(host, port)

    def app(stopping: Callable[[], bool]) -> Any:
        return make_app(run, name, hosts=allowed_hosts(host), stopping=stopping)

    said = f"{address(host, listener)} serves {name}; Ctrl-C stops it"
    answer_requests(listener, app, said)


def make_app(
    run: LoadedRun,
    name: str,
    *,
    hosts: Collection[str] | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Any:
    """The Starlette application; with `hosts` only for requests to (and from pages of) these."""
    check_installed()
    from starlette.applications import Starlette
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
    from starlette.routing import Route

    worker = ThreadPoolExecutor(1, thread_name_prefix="altgrad-writer")
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
        async def gone() -> bool:
            return stopping() or await request.is_disconnected()

        try:
            wish = parse(await read_body(request), name)
            job = Job(begin(run, wish), wish, worker, gone)
            head = {"id": f"cmpl-{next(numbers)}", "created": int(time.time()), "model": name}
            if wish.stream:
                return StreamingResponse(events(job, head), media_type="text/event-stream")
            return JSONResponse(await whole(job, head))
        except ValueError as error:
            return JSONResponse(error_of(error), status_code=400)
        except (ClientDisconnect, Gone):
            return JSONResponse(error_of("the server is stopping"), status_code=503)

    app = Starlette(
        routes=[
            Route("/", page),
            Route("/v1/models", models),
            Route("/v1/completions", completions, methods=["POST"]),
        ]
    )
    return app if hosts is None else only_for(hosts, app)


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


class Job:
    """The texts of one request, made by `worker` as long as the client is not `gone`."""

    def __init__(
        self, writings: list[Writing], wish: Completion, worker: ThreadPoolExecutor, gone: Any
    ):
        self.writings, self.wish = writings, wish
        self._worker, self._gone = worker, gone

    async def pieces(self, writing: Writing) -> AsyncIterator[str]:
        """Raises Gone, and ValueError for a token without text."""
        steps = writing.steps()
        loop = asyncio.get_running_loop()
        while not await self._gone():
            piece = await loop.run_in_executor(self._worker, next, steps, None)
            if piece is None:
                return
            if piece:
                yield piece
        raise Gone

    def usage(self) -> dict[str, int]:
        read = sum(len(writing.prompt_ids) for writing in self.writings)
        made = sum(writing.tokens for writing in self.writings)
        return {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made}


async def whole(job: Job, head: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request that does not stream."""
    choices = []
    for index, writing in enumerate(job.writings):
        text = "".join([piece async for piece in job.pieces(writing)])
        text = writing.prompt + text if job.wish.echo else text
        choices.append(_choice(index, text, writing.finish_reason))
    return {**head, "object": "text_completion", "choices": choices, "usage": job.usage()}


async def events(job: Job, head: dict[str, Any]) -> AsyncIterator[str]:
    """Server-sent events: one for each piece of text, `[DONE]` at the end."""
    try:
        for index, writing in enumerate(job.writings):
            if job.wish.echo:
                yield _event(head, [_choice(index, writing.prompt, None)])
            async for piece in job.pieces(writing):
                yield _event(head, [_choice(index, piece, None)])
            yield _event(head, [_choice(index, "", writing.finish_reason)])
        if job.wish.include_usage:
            yield _event({**head, "usage": job.usage()}, [])
    except Gone:
        return
    except ValueError as error:
        yield f"data: {json.dumps(error_of(error))}\n\n"
    yield "data: [DONE]\n\n"


def _choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}


def _event(head: dict[str, Any], choices: list[dict[str, Any]]) -> str:
    content = {**head, "object": "text_completion", "choices": choices}
    return f"data: {json_text(content)}\n\n"
