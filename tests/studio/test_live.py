"""What is open in a browser follows what grows on the disk: nothing is asked for again by hand."""

import json
import time
import urllib.request

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from altgrad.ideas.ledger import LedgerFile
from tests.studio.conftest import add_steps, write_run

SOON_S = 20.0
"""Far more than a look takes, for a machine that does other things as well."""


@pytest.fixture
def listen(serve, base):
    """`listen()`: the address of the real server, and a call that waits for its next news."""
    open_ = []

    def start():
        address, _ = serve(base)
        stream = urllib.request.urlopen(f"{address}/api/live", timeout=SOON_S)
        open_.append(stream)
        return address, lambda: _next(stream)

    yield start
    for stream in open_:
        stream.close()


def _next(stream):
    """A quiet server only says that it is still here: that is no news."""
    end = time.monotonic() + SOON_S
    while time.monotonic() < end:
        line = stream.readline()
        if line.startswith(b"data: "):
            return json.loads(line.removeprefix(b"data: "))
    raise AssertionError(f"nothing was told within {SOON_S} s")


def get(address: str, place: str):
    with urllib.request.urlopen(f"{address}/api/{place}", timeout=SOON_S) as answer:
        return json.load(answer)


def tried(ledger: LedgerFile, number: int) -> None:
    """An entry as `altgrad ideas try` adds it."""
    ledger.append(
        "try",
        id=f"i{number}",
        name=f"optim.eps={number}e-9",
        words=[f"optim.eps={number}e-9"],
        why="it was there",
        reason="",
        key=f"k{number}",
        reign=0,
        verdict="no gain",
        gains=[-0.01],
        spread=0.01,
        outcomes={str(4 * number + 1): {"outcome": 2.61}},
        costs={},
        next_seeds=[0],
        supersedes=[],
        steps=None,
    )


@pytest.fixture
def ledger(base):
    """Just begun: its baseline has run, nothing was tried."""
    file = LedgerFile(base / "ideas" / "night")
    file.append("new", terms={"base": [], "delta": 0.02}, seeds=[1, 2, 3, 4])
    noise = {"outcomes": [2.6, 2.61, 2.59, 2.62], "repeat": 0, "delta": 0.02, "slope": 0.4}
    file.append("noise", seeds=[1, 2, 3, 4], costs={}, **noise)
    return file


def test_a_ledger_that_grows_is_told_and_shown(listen, ledger):
    """The page asks again whenever `others` is another: once an entry, and then it is there."""
    address, news = listen()
    seen = [news()["others"]]
    assert get(address, "idea/night")["rows"] == []
    for number in range(2):
        tried(ledger, number)
        seen.append(news()["others"])
        rows = get(address, "idea/night")["rows"]
        assert [row["id"] for row in rows] == [f"i{k}" for k in range(number + 1)]
        assert get(address, "ideas")[0]["tries"] == number + 1
    assert sorted(set(seen)) == seen


def test_a_ledger_that_begins_is_told_and_listed(listen, base, ledger):
    address, news = listen()
    before = news()["others"]
    LedgerFile(base / "ideas" / "second").append(
        "new", terms={"base": [], "delta": 0.02}, seeds=[1]
    )
    assert news()["others"] > before
    assert {entry["name"] for entry in get(address, "ideas")} == {"night", "second"}


def test_a_run_that_grows_is_told_by_name(listen, base):
    run = write_run(base, "a", losses=(3.0, 2.0), ended="", max_steps=9)
    address, news = listen()
    assert news()["all"]
    add_steps(run, (1.5,), first=3)
    while "a" not in (told := news())["runs"]:
        assert not told["all"]
    (shown,) = (r for r in get(address, "runs")["rows"] if r["name"] == "a")
    assert shown["step"] == 3
