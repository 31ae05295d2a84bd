import http.client
import time

import pytest

from altgrad.data.download.http import download
from altgrad.data.errors import DataError

CUT, STALL = "cut", "stall"
QUICK = {"read_timeout_s": 0.3}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr("altgrad.data.download.http.PAUSES_S", (0.01, 0.01))


def test_the_bytes_come_back(server):
    assert download(server.serve("/a", b"some text"), **QUICK) == b"some text"


@pytest.mark.parametrize("trouble", [500, 503, 429, CUT, STALL])
def test_passing_trouble_is_tried_again(server, trouble):
    assert download(server.serve("/a", trouble, trouble, b"at last"), **QUICK) == b"at last"
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("trouble", "words"),
    [(500, "answered 500"), (CUT, "broke off, 10 bytes before"), (STALL, "stalled")],
)
def test_lasting_trouble_is_named(server, trouble, words):
    with pytest.raises(DataError, match=words):
        download(server.serve("/a", trouble), **QUICK)
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_is_not_asked_again(server, status):
    with pytest.raises(DataError, match=f"answered {status}"):
        download(server.serve("/a", status), **QUICK)
    assert len(server.requests) == 1


def test_a_redirect_is_followed(server):
    there = server.serve("/there", b"moved")
    assert download(server.serve("/here", there), **QUICK) == b"moved"


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no-such-host.invalid"])
def test_a_closed_network_is_given_up_at_once(host):
    start = time.monotonic()
    with pytest.raises(DataError, match="no connection"):
        download(f"http://{host}/a")
    assert time.monotonic() - start < 3


def test_connecting_has_its_own_short_limit(server, monkeypatch):
    limits = []
    connect = http.client.HTTPConnection.connect

    def spy(self):
        limits.append(self.timeout)
        connect(self)

    monkeypatch.setattr(http.client.HTTPConnection, "connect", spy)
    download(server.serve("/a", b"x"), read_timeout_s=30)
    assert limits == [4.0]
