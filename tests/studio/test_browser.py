"""The page in a real browser."""

import json
import subprocess
import sys

import pytest

from altgrad.compare.question import Question
from altgrad.compare.record import Record, write_record
from altgrad.runs import run_status
from tests.conftest import VOCABULARY
from tests.studio.conftest import HOUSE, add_events, add_steps, wait_for, write_run

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
SLOW_MS = 30_000


def row(page, name: str):
    return page.locator(".run", has=page.get_by_role("link", name=name, exact=True))


def test_an_empty_page_says_what_to_type(page, serve, base):
    address, _ = serve(base)
    for place, command in (
        ("/", "altgrad train"),
        ("/comparisons", "altgrad compare"),
        ("/ideas", "altgrad ideas new"),
        ("/text", "altgrad train"),
    ):
        page.goto(address + place)
        expect(page.locator("main pre").first).to_contain_text(command)


def test_a_run_appears_and_its_numbers_and_curve_grow(page, serve, base):
    address, _ = serve(base)
    page.goto(address)
    run = write_run(base, "young", losses=(3.0, 2.9), ended="", max_steps=40)
    expect(row(page, "young")).to_contain_text("2 / 40", timeout=SLOW_MS)
    path = row(page, "young").locator(".spark path")
    before = path.get_attribute("d")
    tall = row(page, "young").bounding_box()["height"]
    add_steps(run, [2.5, 2.0, 1.5], first=3, evaluate=True)
    expect(row(page, "young")).to_contain_text("5 / 40", timeout=SLOW_MS)
    expect(row(page, "young")).to_contain_text("1.5000")
    expect(row(page, "young")).to_contain_text("2.0000")
    assert path.get_attribute("d").count(",") == before.count(",") + 3
    assert row(page, "young").bounding_box()["height"] == tall


@pytest.fixture
def train(data_dir):
    """`train(run)`: a real run of its own process, long enough to be stopped."""
    started = []

    def start(run):
        words = [
            *("model=gpt2", "model.n_layer=1", "model.n_head=1", "model.n_embd=8"),
            *("model.block_size=8", f"model.vocab_size={VOCABULARY}", f"data.path={data_dir}"),
            *("data.batch_size=2", "precision=fp32", "compile=false", "device=cpu"),
            *("max_steps=200000", "eval_interval=-1", f"run_dir={run}"),
        ]
        command = [
            sys.executable,
            "-m",
            "altgrad",
            "train",
            *words,
        ]
        process = subprocess.Popen(
            command, cwd=HOUSE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_run_that_trains_is_stopped_and_goes_on(page, serve, base, train):
    address, token = serve(base)
    process = train(base / "long")
    page.goto(f"{address}/#token={token}")
    expect(row(page, "long")).to_contain_text("running", timeout=60_000)
    row(page, "long").get_by_role("link").click()
    page.locator("#stop").click()
    expect(page.locator("main")).to_contain_text("interrupted", timeout=SLOW_MS)
    assert process.wait(timeout=20) == 130
    reached = json.loads((base / "long" / "events.jsonl").read_text().splitlines()[-1])["step"]
    page.locator("#resume").click()
    wait_for(lambda: run_status(base / "long") == "running", 60)
    page.locator("#stop").click(timeout=60_000)
    wait_for(lambda: run_status(base / "long") == "interrupted", 30)
    events = [json.loads(e) for e in (base / "long" / "events.jsonl").read_text().splitlines()]
    assert [e["step"] for e in events if e["event"] == "resumed"] == [reached]
    assert events[-1]["step"] > reached


def test_without_the_token_there_is_nothing_to_press(page, serve, base):
    write_run(base, "stopped", ended="interrupted")
    address, _ = serve(base)
    page.goto(f"{address}/run/stopped")
    expect(page.locator("main")).to_contain_text("open the link with the token")
    assert page.locator("#resume").count() == 0


HOSTILE = "<img src=x onerror=document.title='taken'>"


def test_a_hostile_run_shows_as_text_and_does_nothing(page, serve, base):
    run = write_run(base, HOSTILE)
    (run / "samples").mkdir()
    (run / "samples" / "step_00000003.txt").write_text(
        f"</pre><script>document.title='taken'</script>{HOSTILE}"
    )
    add_events(run, {"time": 3.0, "event": "alert", "step": 2, "reason": HOSTILE, "level": "x"})
    settings = (
        (run / "config.yaml").read_text().replace("project: altgrad", f'project: "{HOSTILE}"')
    )
    (run / "config.yaml").write_text(settings)
    write_run(base, "other")
    address, _ = serve(base)
    page.goto(address)
    expect(row(page, HOSTILE)).to_be_visible()
    row(page, HOSTILE).get_by_role("link").click()
    expect(page.locator(".sample pre")).to_contain_text("<script>")
    expect(page.locator("td", has_text=HOSTILE).first).to_be_visible()
    page.locator("canvas").first.wait_for(timeout=SLOW_MS)
    page.goto(f"{address}/curves?run={HOSTILE}&run=other")
    page.locator("canvas").first.wait_for(timeout=SLOW_MS)
    expect(page.locator("table.plain")).to_contain_text(HOSTILE)
    assert page.locator("main img").count() == 0
    assert "taken" not in page.title().split("'")[0]
    assert page.evaluate("document.title") == "altgrad"


def test_several_runs_are_chosen_by_keys_and_compared(page, serve, base):
    write_run(base, "slow", learning_rate=0.1)
    write_run(base, "fast", learning_rate=0.2)
    address, _ = serve(base)
    page.goto(address)
    expect(row(page, "slow")).to_be_visible()
    for key in ("j", "x", "j", "x", "c"):
        page.keyboard.press(key)
    page.locator("canvas").first.wait_for(timeout=SLOW_MS)
    table = page.locator("table.plain")
    expect(table).to_contain_text("optim.lr")
    expect(table).to_contain_text("0.1")
    expect(table).to_contain_text("0.2")
    page.get_by_label("over").select_option("seconds")
    page.wait_for_url("**x=seconds**")


def test_words_filter_and_a_heading_sorts(page, serve, base):
    for name, loss in (("alpha", 1.0), ("beta", 3.0), ("gamma", 2.0)):
        write_run(base, name, losses=(loss,))
    address, _ = serve(base)
    page.goto(address)
    names = page.locator(".run .name")
    expect(names).to_have_count(3)
    page.get_by_role("button", name="val loss").click()
    expect(names).to_have_text(["alpha", "gamma", "beta"])
    page.locator("#filter").fill("-alpha")
    expect(names).to_have_text(["gamma", "beta"])
    page.locator("#filter").fill("nothing of this kind")
    expect(page.locator("main")).to_contain_text("No run has these words")


CUT = """[...document.querySelectorAll(".run.head > span")]
    .filter(s => s.scrollWidth > s.clientWidth).map(s => s.textContent)"""


def test_a_heading_is_whole_with_its_arrow(page, serve, base):
    write_run(base, "a")
    address, _ = serve(base)
    for heading in ("name", "status", "step", "loss", "val_loss", "speed", "left"):
        page.goto(f"{address}/?sort={heading}")
        expect(page.locator(".run.head [aria-sort]")).to_have_count(1)
        assert page.evaluate(CUT) == []


def test_a_comparison_fills(page, serve, base):
    question = Question(arms={"a": ["optim=adamw"], "b": ["optim=muon"]}, axis=["optim"]).complete()
    arms = {name: {"words": [], "max_steps": 3, "differs": {}} for name in "ab"}
    runs = {arm: {str(seed): f"{arm}{seed}" for seed in (1, 2, 3)} for arm in "ab"}
    folder = base / "compare" / "ours"
    write_record(folder, question, Record("altgrad compare …", "a", arms, runs))
    for seed in (1, 2):
        write_run(base, f"a{seed}", losses=(3.0, 2.0, 1.0))
    write_run(base, "b1", losses=(3.0, 2.0, 0.9))
    address, _ = serve(base)
    page.goto(f"{address}/comparison/ours")
    expect(page.locator("main")).to_contain_text("3 of 6 runs have ended")
    expect(page.locator(".cell.waiting")).to_have_count(3)
    write_run(base, "b2", losses=(3.0, 2.0, 0.8))
    expect(page.locator("main")).to_contain_text("4 of 6 runs have ended", timeout=SLOW_MS)
    page.locator("canvas").first.wait_for(timeout=SLOW_MS)


def test_the_report_stands_drawn_in_its_frame_at_the_end(page, serve, base):
    """In a sandbox, under a policy of its own: its scripts run and its plot is there."""
    pytest.importorskip("vl_convert")
    html = pytest.importorskip("altgrad.compare.report.html")
    question = Question(arms={"a": ["optim=adamw"], "b": ["optim=muon"]}, axis=["optim"]).complete()
    arms = {name: {"words": [], "max_steps": 3, "differs": {}} for name in "ab"}
    folder = base / "compare" / "ours"
    write_record(folder, question, Record("x", "a", arms, {a: {"1": f"{a}1"} for a in "ab"}))
    for arm in "ab":
        write_run(base, f"{arm}1")
    dot = {"data": {"values": [{"x": 1}]}, "mark": "point", "encoding": {"x": {"field": "x"}}}
    words = dict.fromkeys(("title", "question", "headline", "verdicts", "rules"), "told")
    body = '<div class="plot" id="plot0"></div>'
    report = html.fill_page(**words, body=body, specs={"plot0": dot}, datasets={})
    (folder / "report.html").write_text(report)
    address, _ = serve(base)
    page.goto(f"{address}/comparison/ours")
    page.locator("iframe.report").scroll_into_view_if_needed(timeout=SLOW_MS)
    frame = page.frame_locator("iframe.report")
    expect(frame.locator(".headline")).to_have_text("told", timeout=SLOW_MS)
    expect(frame.locator("#plot0 svg.marks")).to_be_visible(timeout=SLOW_MS)
    assert page.locator("iframe.report").bounding_box()["height"] > 400


def test_arms_keep_the_colour_and_shape_that_the_report_gives_them(page, serve, base):
    charts = pytest.importorskip("altgrad.compare.report.charts")
    address, _ = serve(base)
    page.goto(f"{address}/formats")
    names = ["b", "control", "c", "d"]
    given = page.evaluate(
        """async names => { const { scales } = await import("/static/charts.js");
        const sorted = ["control", ...names.filter(n => n !== "control")];
        const s = await scales(sorted, "control");
        return sorted.map(n => [s.colour(n), s.shape(n)]); }""",
        names,
    )
    colours = [charts.GREY, *charts.COLOURS[:3]]
    assert given == [list(pair) for pair in zip(colours, charts.SHAPES[:4], strict=True)]


def test_a_phone_sorts_without_headings(chromium, serve, base):
    for name, loss in (("alpha", 1.0), ("beta", 3.0), ("gamma", 2.0)):
        write_run(base, name, losses=(loss,))
    address, _ = serve(base)
    context = chromium.new_context(viewport={"width": 390, "height": 800})
    page = context.new_page()
    page.goto(address)
    page.get_by_label("sorted by").select_option("val_loss")
    expect(page.locator(".run .name")).to_have_text(["alpha", "gamma", "beta"])
    context.close()


SHIFTS = """window.shifted = 0;
new PerformanceObserver(list => {
  for (const e of list.getEntries()) if (!e.hadRecentInput) window.shifted += e.value;
}).observe({ type: "layout-shift", buffered: true })"""


def test_nothing_jumps_while_numbers_and_plots_arrive(chromium, serve, base):
    write_run(base, "a")
    write_run(base, "b")
    address, _ = serve(base)
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.add_init_script(SHIFTS)
    page = context.new_page()
    for place in ("/formats", "/run/a", "/curves?run=a&run=b", "/"):
        page.goto(address + place)
        page.locator(".spark path" if place == "/" else "canvas").first.wait_for(timeout=SLOW_MS)
        page.wait_for_timeout(600)
        assert page.evaluate("window.shifted") < 0.1, place
    context.close()


def test_no_page_is_wider_than_its_window(chromium, serve, base):
    name = "a-run-with-a-very-long-name-that-says-everything-about-it-and-more"
    write_run(base, name)
    address, _ = serve(base)
    for width, scheme in ((390, "dark"), (1280, "light"), (2000, "dark")):
        context = chromium.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme
        )
        page = context.new_page()
        for place in ("/", f"/run/{name}", f"/curves?run={name}", "/formats", "/ideas"):
            page.goto(address + place)
            page.locator("main > *").first.wait_for()
            page.wait_for_timeout(200)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, place
        context.close()
