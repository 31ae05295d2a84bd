"""One file over HTTP: quick to give up on a closed network, patient with a shaky one."""

import http.client
import time
import urllib.error
import urllib.request
from typing import Any

from altgrad.data.errors import DataError

CONNECT_TIMEOUT_S = 4.0
READ_TIMEOUT_S = 30.0
PAUSES_S = (0.5, 2.0)
"""Waits before the second and third attempt; a connection that cannot be made is not retried."""
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}


def download(
    url: str, *, read_timeout_s: float = READ_TIMEOUT_S, pauses_s: tuple[float, ...] = PAUSES_S
) -> bytes:
    """The bytes behind `url`, redirects followed.

    Raises DataError at once when no connection can be made or the server refuses (403, 404), and
    after `len(pauses_s)` further attempts when it stalls, breaks off or answers with a 5xx.
    """
    for pause_s in (*pauses_s, None):
        try:
            return _read(url, read_timeout_s)
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            if pause_s is None or not _is_transient(error):
                raise DataError(_describe(error)) from error
            time.sleep(pause_s)
    raise AssertionError("the last attempt returns or raises")


def _read(url: str, read_timeout_s: float) -> bytes:
    opener = urllib.request.build_opener(_QuickHTTPS, _QuickHTTP)
    request = urllib.request.Request(url, headers={"User-Agent": "altgrad"})
    with opener.open(request, timeout=read_timeout_s) as response:
        content: bytes = response.read()
        return content


def _is_transient(error: Exception) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code in TRANSIENT
    # URLError wraps what happened before an answer: no name, no route, refused, timed out.
    reset = isinstance(
        getattr(error, "reason", None), ConnectionResetError | http.client.HTTPException
    )
    return reset or not isinstance(error, urllib.error.URLError)


def _describe(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return f"no connection ({error.reason})"
    if isinstance(error, http.client.IncompleteRead):
        return f"the server broke off after {len(error.partial):,} bytes"
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
