"""A model behind OpenAI's completions interface, on this machine, with a page to try it.

    GET  /                  the page
    GET  /v1/models         the one model there is
    POST /v1/completions    what `requests.Completion` holds

Starlette takes requests, uvicorn runs it. One thread makes all tokens, one at a time, for whichever
request is next: between two tokens a request ends if its client has gone or the server is to stop.
"""

import asyncio
import html
import ipaddress
import itertools
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from altgrad.interchange.requests import MAX_BODY_BYTES, Completion, Refused, parse, parse_json
from altgrad.interchange.writing import Writing, write
from altgrad.settings import ConfigError
from altgrad.training.build import LoadedRun

PAGE = Path(__file__).parent / "templates" / "page.html"
LOCAL = ("127.0.0.1", "localhost", "::1")
GRACE_S = 0.5
"""How long a connection that does not close keeps the server from stopping."""


class Gone(Exception):
    """The client has left, or the server is to stop: nobody waits for this text any more."""


def check_installed() -> None:
    """Raises ConfigError without the libraries of the extra `serve`."""
    for library in ("starlette", "uvicorn"):
        if find_spec(library) is None:
            raise ConfigError(f"serving needs {library}: pip install 'altgrad[serve]'.")


def serve(run: LoadedRun, name: str, *, host: str, port: int, anywhere: bool = False) -> None:
    """Print the address, then answer requests until one SIGINT or SIGTERM.

    Raises:
        ConfigError: another address than this machine's own without `anywhere`, one that cannot be
            had, or no uvicorn.
    """
    check_host(host, anywhere=anywhere)
    check_installed()
    import uvicorn

    listener = listen(host, port)
    app = make_app(run, name, hosts=allowed_hosts(host), stopping=lambda: server.should_exit)
    how: dict[str, Any] = {"log_level": "error", "timeout_graceful_shutdown": GRACE_S}
    server = uvicorn.Server(uvicorn.Config(app, **how))
    place = f"[{host}]" if ":" in host else host
    port = listener.getsockname()[1]
    print(f"http://{place}:{port}/ serves {name}; Ctrl-C stops it", flush=True)
    server.run(sockets=[listener])


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


def listen(host: str, port: int) -> socket.socket:
    """A socket at this address; port 0 takes a free one."""
    if not 0 <= port < 2**16:
        raise ConfigError(f"--port {port} must be 0 … 65535.")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(
            f"cannot listen at --host {host} --port {port} ({error}); take another --port."
        ) from None


def allowed_hosts(host: str) -> set[str] | None:
    """Names by which a browser may call this server; None, any, where it listens everywhere."""
    try:
        everywhere = host == "" or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        everywhere = False
    return None if everywhere else {*LOCAL, host.lower()}


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
            return JSONResponse(_error(error), status_code=400)
        except (ClientDisconnect, Gone):
            return JSONResponse(_error("the server is stopping"), status_code=503)

    app = Starlette(
        routes=[
            Route("/", page),
            Route("/v1/models", models),
            Route("/v1/completions", completions, methods=["POST"]),
        ]
    )
    return app if hosts is None else only_for(hosts, app)


def only_for(hosts: Collection[str], app: Any) -> Any:
    """`app` for requests whose Host, and Origin if there is one, is among `hosts`.

    A page from elsewhere whose name is made to point at this machine sends its own name as Host.
    """
    from starlette.responses import JSONResponse

    async def checked(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and (stranger := _stranger(scope["headers"], hosts)):
            answer = JSONResponse(_error(f"{stranger}: not one of {', '.join(sorted(hosts))}"), 400)
            await answer(scope, receive, send)
        else:
            await app(scope, receive, send)

    return checked


def _stranger(headers: list[tuple[bytes, bytes]], hosts: Collection[str]) -> str | None:
    """The header that names another place than `hosts`, if one does."""
    given = [(n, v.decode("latin-1")) for n, v in headers if n in (b"host", b"origin")]
    if not any(name == b"host" for name, _ in given):
        return "no Host header"
    for name, value in given:
        try:
            host = urlsplit(f"//{value}" if name == b"host" else value).hostname
        except ValueError:
            host = None
        if host not in hosts:
            return f"{name.decode()} {value[:80]!r}"
    return None


async def read_body(request: Any) -> dict[str, Any]:
    """The JSON object of a request of bounded size."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise Refused(f"the request is larger than {MAX_BODY_BYTES} bytes")
    return parse_json(body)


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
        yield f"data: {json.dumps(_error(error))}\n\n"
    yield "data: [DONE]\n\n"


def _choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}


def _event(head: dict[str, Any], choices: list[dict[str, Any]]) -> str:
    content = {**head, "object": "text_completion", "choices": choices}
    return f"data: {json.dumps(content)}\n\n"


def _error(error: object) -> dict[str, Any]:
    return {"error": {"message": str(error), "type": "invalid_request_error"}}
