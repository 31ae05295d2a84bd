"""A server on this machine for the person who sits at it: where it listens, whom it answers.

It has no password. So it listens at 127.0.0.1 unless told otherwise, and answers only requests
whose Host, and Origin where a page sends one, is this machine's: a page from elsewhere cannot use
the visitor's browser to reach it. Loads no torch.
"""

import ipaddress
import socket
from collections.abc import Callable, Collection
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from altgrad.interchange.requests import MAX_BODY_BYTES, Refused, parse_json
from altgrad.settings import ConfigError

LOCAL = ("127.0.0.1", "localhost", "::1")
GRACE_S = 0.5
"""How long a connection that does not close keeps the server from stopping."""


def check_installed() -> None:
    """Raises ConfigError without the libraries of the extra `serve`."""
    for library in ("starlette", "uvicorn"):
        if find_spec(library) is None:
            raise ConfigError(f"serving needs {library}: pip install 'altgrad[serve]'.")


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


def address(host: str, listener: socket.socket) -> str:
    """What a browser is given: `http://127.0.0.1:8000/`."""
    place = f"[{host}]" if ":" in host else host
    return f"http://{place}:{listener.getsockname()[1]}/"


def answer_requests(
    listener: socket.socket, make_app: Callable[[Callable[[], bool]], Any], said: str
) -> None:
    """Print a line, then serve until one SIGINT or SIGTERM.

    make_app: is given `stopping()`, which becomes true when open streams should end.
    """
    import uvicorn

    app = make_app(lambda: server.should_exit)
    how: dict[str, Any] = {"log_level": "error", "timeout_graceful_shutdown": GRACE_S}
    server = uvicorn.Server(uvicorn.Config(app, **how))
    print(said, flush=True)
    server.run(sockets=[listener])


def only_for(hosts: Collection[str], app: Any) -> Any:
    """`app` for requests whose Host, and Origin if there is one, is among `hosts`.

    A page from elsewhere whose name is made to point at this machine sends its own name as Host.
    """
    from starlette.responses import JSONResponse

    async def checked(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and (stranger := _stranger(scope["headers"], hosts)):
            told = f"{stranger}: not one of {', '.join(sorted(hosts))}"
            answer = JSONResponse(error_of(told), 400)
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


def error_of(error: object) -> dict[str, Any]:
    """What a client is told, in OpenAI's form."""
    return {"error": {"message": str(error), "type": "invalid_request_error"}}
