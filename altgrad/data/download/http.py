"""Files over HTTP: quick to give up on a closed network, patient with a shaky one."""

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Any, TypeVar

from altgrad.data.errors import DataError
from altgrad.data.files import disk_errors, fsync, sha256_of

CONNECT_TIMEOUT_S = 4.0
READ_TIMEOUT_S = 30.0
PAUSES_S = (0.5, 2.0)
"""Waits before the second and third attempt; a connection that cannot be made is not retried."""
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
CHUNK_BYTES = 1 << 18
Result = TypeVar("Result")


def download(url: str, *, read_timeout_s: float | None = None) -> bytes:
    """The bytes behind `url`, redirects followed.

    Raises DataError at once when no connection can be made or the server refuses (403, 404), and
    after two further attempts when it stalls, breaks off or answers with a 5xx.
    """
    return download_with_headers(url, read_timeout_s=read_timeout_s)[0]


def download_with_headers(
    url: str, *, read_timeout_s: float | None = None
) -> tuple[bytes, Message]:
    def once() -> tuple[bytes, Message]:
        with _open(url, {}, read_timeout_s) as response:
            return response.read(), response.headers

    return _patiently(once)


def download_to(
    target: Path,
    url: str,
    *,
    sha256: str,
    size_bytes: int,
    count: Callable[[int], None] = lambda added: None,
    read_timeout_s: float | None = None,
) -> None:
    """Bring a large file to `target`, going on where an earlier attempt stopped.

    What has come so far stays in `target` + `.part`, also after a failure; `target` itself appears
    only with the right size and sha256. `count` gets every number of bytes as it arrives.
    """
    if _is_right(target, sha256, size_bytes):
        count(size_bytes)
        return
    part = target.with_name(target.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(target):
        resumed = part.is_file() and part.stat().st_size > 0
        _patiently(lambda: _append(part, url, size_bytes, count, read_timeout_s))
        if not _is_right(part, sha256, size_bytes) and resumed:
            # What lay there may have been the beginning of another file: once more from nothing.
            count(-part.stat().st_size)
            part.unlink()
            _patiently(lambda: _append(part, url, size_bytes, count, read_timeout_s))
        if not _is_right(part, sha256, size_bytes):
            found = f"{part.stat().st_size:,} bytes, sha256 {sha256_of(part)[:16]}…"
            part.unlink()
            raise DataError(f"the server sent another file ({found})")
        fsync(part)
        part.replace(target)
        fsync(target.parent)


def _is_right(path: Path, sha256: str, size_bytes: int) -> bool:
    return path.is_file() and path.stat().st_size == size_bytes and sha256_of(path) == sha256


def _append(
    part: Path,
    url: str,
    size_bytes: int,
    count: Callable[[int], None],
    read_timeout_s: float | None,
) -> None:
    """Ask for what is missing after the bytes in `part`, or for all if the server sends all."""
    have = part.stat().st_size if part.is_file() else 0
    if have >= size_bytes:
        count(have)
        return
    headers = {"Range": f"bytes={have}-"} if have else {}
    with _open(url, headers, read_timeout_s) as response:
        goes_on = response.status == 206
        count(have if goes_on else 0)
        counted = have if goes_on else 0
        with open(part, "ab" if goes_on else "wb") as file:
            try:
                for block in _blocks(response):
                    file.write(block)
                    count(len(block))
                    counted += len(block)
                    if counted > size_bytes:
                        return
                if counted < size_bytes and response.length:
                    raise http.client.IncompleteRead(b"", response.length)
            except BaseException:
                count(-counted)
                raise


def _blocks(response: Any) -> Iterable[bytes]:
    while block := response.read(CHUNK_BYTES):
        yield block


TROUBLE = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError)


def _patiently(once: Callable[[], Result]) -> Result:
    """Call `once`, again after a pause when the trouble looks as if it may pass."""
    for pause_s in (*PAUSES_S, None):
        try:
            return once()
        except TROUBLE as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            if pause_s is None or not _is_transient(error):
                raise DataError(_describe(error)) from error
            time.sleep(pause_s)
    raise AssertionError("the last attempt returns or raises")


@contextmanager
def _open(url: str, headers: dict[str, str], read_timeout_s: float | None) -> Any:
    opener = urllib.request.build_opener(_QuickHTTPS, _QuickHTTP)
    request = urllib.request.Request(url, headers={"User-Agent": "altgrad", **headers})
    with opener.open(request, timeout=read_timeout_s or READ_TIMEOUT_S) as response:
        yield response


def _is_transient(error: Exception) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code in TRANSIENT
    # URLError wraps what happened before an answer: no name, no route, refused, timed out.
    before_answer = isinstance(error, urllib.error.URLError)
    broken_off = ConnectionResetError | http.client.HTTPException
    return not before_answer or isinstance(getattr(error, "reason", None), broken_off)


def _describe(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return f"no connection ({error.reason})"
    if isinstance(error, http.client.IncompleteRead):
        return f"the server broke off, {error.expected or 0:,} bytes before the end"
    if isinstance(error, TimeoutError):
        return "the server stalled"
    return f"{type(error).__name__}: {error}"


def _connect_quickly(connection: Any, connect: Any) -> None:
    """Connect under the short time-out, then go on under the one asked for."""
    patient_s = connection.timeout
    connection.timeout = min(CONNECT_TIMEOUT_S, patient_s)
    connect()
    connection.sock.settimeout(patient_s)


class _HTTPConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        _connect_quickly(self, super().connect)


class _HTTPSConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        _connect_quickly(self, super().connect)


class _QuickHTTP(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_HTTPConnection, req)


class _QuickHTTPS(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_HTTPSConnection, req)
