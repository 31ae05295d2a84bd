"""What the studio answers over HTTP, and to whom."""

import json

import anyio
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx")

from altgrad.interchange.local_server import allowed_hosts
from altgrad.studio.app import DEEDS, PAGES, Studio, make_app
from altgrad.studio.index import Index
from tests.studio.conftest import add_events, write_run


@pytest.fixture
def ask(base):
    index = Index(base)
    studio = Studio(index, token="secret")
    app = make_app(studio, allowed_hosts("127.0.0.1"))

    def request(method: str, place: str, **how):
        import httpx

        async def go():
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
                return await http.request(method, place, **how)

        index.look()
        return anyio.run(go)

    yield request
    studio.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost"}, 200),
        ({"Host": "evil.example"}, 400),
        ({"Host": "localhost", "Origin": "https://evil.example"}, 400),
    ],
)
def test_only_this_machine_is_answered(ask, headers, status):
    assert ask("GET", "/api/runs", headers=headers).status_code == status


@pytest.mark.parametrize("place", [*PAGES, "/run/x", "/static/app.js", "/api/runs", "/api/none"])
def test_every_answer_forbids_scripts_that_are_not_the_pages_own(ask, place):
    policy = ask("GET", place).headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self';" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("token", [None, "", "secre", "wrong"])
def test_nothing_is_done_without_the_token(ask, base, deed, token):
    write_run(base, "a", ended="interrupted")
    headers = {} if token is None else {"X-Altgrad-Token": token}
    assert ask("POST", f"/api/{deed.format(name='a')}", headers=headers).status_code == 403


@pytest.mark.parametrize("name", ["..", "..%2F..%2Fetc", "%2e%2e", "latest", "a%00", "none"])
def test_no_name_leads_out_of_the_folder(ask, base, name):
    write_run(base, "a")
    (base / "latest").symlink_to("a")
    for place in ("run", "comparison", "idea"):
        assert ask("GET", f"/api/{place}/{name}").status_code == 404


@pytest.mark.parametrize("file", ["metrics.jsonl", "events.jsonl", "config.yaml", "data.json"])
def test_a_link_out_of_the_folder_is_not_followed(ask, base, tmp_path, file):
    run, secret = write_run(base, "a"), tmp_path / "secret"
    path = run / file
    secret.write_bytes(path.read_bytes() if path.exists() else b"{}")
    path.unlink(missing_ok=True)
    path.symlink_to(secret)
    assert ask("GET", "/api/run/a").status_code == 404
    assert "is a link out of" in ask("GET", "/api/runs").json()["rows"][0]["trouble"]


def test_a_sample_that_is_a_link_out_is_refused(ask, base, tmp_path):
    run = write_run(base, "a")
    (tmp_path / "secret").write_text("secret words")
    (run / "samples").mkdir()
    (run / "samples" / "step_00000001.txt").symlink_to(tmp_path / "secret")
    answer = ask("GET", "/api/run/a")
    assert answer.status_code == 404
    assert "secret words" not in answer.text


def test_what_is_not_finite_becomes_null(ask, base):
    run = write_run(base, "a", losses=(float("nan"), float("inf")))
    add_events(run, {"event": "finished", "step": 2, "best_val_loss": float("inf")})
    answer = ask("GET", "/api/run/a")
    assert answer.status_code == 200
    assert answer.json()["events"][-1]["best_val_loss"] is None
    points = ask("GET", "/api/curves?run=a&name=loss").json()["runs"][0]["points"]
    assert points == [[1, None], [2, None]]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("/api/runs?sort=colour", "sort"),
        ("/api/runs?first=-1", "whole number"),
        ("/api/curves?run=a&x=miles", "x"),
        ("/api/curves?run=a&smooth=very", "smooth"),
        ("/api/curves", "choose runs"),
        ("/api/formats?names=e9", "e9"),
        ("/api/formats?names=e4m3&x=abc", "not a number"),
    ],
)
def test_what_cannot_be_answered_is_one_line(ask, base, place, said):
    write_run(base, "a")
    answer = ask("GET", place)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


def test_curves_go_over_tokens_and_seconds(ask, base):
    write_run(base, "a", losses=(3.0, 2.0), batch_size=4)
    for axis, expected in (("step", [1, 2]), ("tokens", [32, 64]), ("seconds", [0.01, 0.02])):
        points = ask("GET", f"/api/curves?run=a&name=loss&x={axis}").json()["runs"][0]["points"]
        assert points == [[expected[0], 3.0], [expected[1], 2.0]]


def test_a_run_that_does_not_train_cannot_be_stopped_nor_a_finished_one_resumed(ask, base):
    write_run(base, "a")
    for deed, said in (("stop", "is not running"), ("resume", "only a stopped run")):
        answer = ask("POST", f"/api/run/a/{deed}", headers={"X-Altgrad-Token": "secret"})
        assert (answer.status_code, said in answer.text) == (400, True)


def test_formats_are_rounded_as_the_definition_rounds(ask):
    (e4m3,) = ask("GET", "/api/formats?names=e4m3&x=0.3").json()["chosen"]
    by_mode = {r["mode"]: r["value"] for r in e4m3["rounded"]}
    assert (by_mode["nearest_even"], by_mode["down"], by_mode["up"]) == (0.3125, 0.28125, 0.3125)
    assert [n["value"] for n in e4m3["near"]][3:5] == [0.28125, 0.3125]


def test_everything_that_a_browser_asks_for_is_in_the_package(ask):
    """Each module that a page imports is served, and each file is named in the package's data."""
    import re
    import tomllib
    from pathlib import Path

    import altgrad.studio

    house = Path(altgrad.studio.__file__).parent
    told = tomllib.loads((house.parents[1] / "pyproject.toml").read_text())
    patterns = told["tool"]["setuptools"]["package-data"]["altgrad"]
    packed = {p for pattern in patterns for p in house.parent.glob(pattern)}
    files = {p for p in house.rglob("*") if p.suffix in (".js", ".css", ".html")}
    assert files <= packed
    for module in house.glob("static/*.js"):
        for name in re.findall(r'"\./([\w.]+)"|"(\w+\.js)"', module.read_text()):
            assert ask("GET", f"/static/{''.join(name)}").status_code == 200, name


def test_a_verdict_of_an_older_record_is_told_in_todays_words(tmp_path):
    from altgrad.studio.comparisons import _verdicts

    told = {"arm": "muon", "words": "not shown (2 more seeds would probably decide)"}
    (tmp_path / "verdict.json").write_text(json.dumps({"evidence": [told]}))
    assert _verdicts(tmp_path, tmp_path) == [
        "muon: inconclusive (2 more seeds would probably decide)"
    ]
    (tmp_path / "verdict.json").write_text(json.dumps({"evidence": [{"arm": "a", "words": 3}]}))
    assert _verdicts(tmp_path, tmp_path) == []
