"""The report as it is seen: eight arms with long names and a single evaluation, in a browser."""

import re
from dataclasses import replace

import numpy as np
import pytest

from altgrad.compare.comparison import Comparison
from altgrad.compare.conclusion import Conclusion, conclude
from altgrad.compare.launching.launch import take_launch_words
from altgrad.compare.question import read_question
from altgrad.compare.report.build import style_sheet, write_reports
from altgrad.compare.report.words import headline
from altgrad.runs.plots import SHAPES
from tests.compare.conftest import composing, run_here
from tests.conftest import VOCABULARY
from tests.studio.conftest import chromium  # noqa: F401  (a fixture)

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

ARMS = [f"arm-{i} with a name that somebody gave to tell it all" for i in range(8)]
FIRST = ARMS[0]


@pytest.fixture(scope="module")
def eight(tmp_path_factory) -> Conclusion:
    """A crossed comparison of eight arms out of four short runs, each with one evaluation."""
    folder = tmp_path_factory.mktemp("eight")
    ids = (np.arange(4000) % VOCABULARY).astype(np.uint16)
    ids.tofile(folder / "train.bin")
    ids[:200].tofile(folder / "val.bin")
    words = "optim.lr=0.001,0.03 optim.eps=1e-8,1e-7 design=crossed seeds=1 delta=0.02"
    launch, rest = take_launch_words(["threads=1", *words.split()])

    def compose(given):
        return composing(folder)([*given, "max_steps=3", "eval_interval=3"])

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_here(patch)
        asked = Comparison(read_question(rest), compose, launch=launch, command=words)
        return as_eight(conclude(asked.run().resolve()))


def as_eight(made: Conclusion) -> Conclusion:
    """Each of its four arms twice, under long names."""
    of = dict(zip(ARMS, made.arms * 2, strict=True))
    evidence = [
        replace(made.evidence[0], arm=arm, control=FIRST, pairs=3, words=f"better by {i}")
        for i, arm in enumerate(ARMS[1:], start=1)
    ]
    return replace(
        made,
        # its arms are no longer named by their cells, as a crossed design's are
        question=replace(made.question, design="one", control=FIRST, arms={a: [] for a in ARMS}),
        runs={a: made.runs[of[a]] for a in ARMS},
        outcomes={a: [replace(o, arm=a) for o in made.outcomes[of[a]]] for a in ARMS},
        evidence=[
            replace(e, verdict="better", mean=-i / 10, low=-i / 10 - 0.3, high=0.2)
            for i, e in enumerate(evidence, start=1)
        ],
        contrasts=[
            replace(c, weights={ARMS[made.arms.index(a)]: w for a, w in c.weights.items()})
            for c in made.contrasts
            if c.kind == "interaction"
        ]
        * 3,
        record=replace(made.record, arms={a: made.record.arms[of[a]] for a in ARMS}),
        same_arms=[],
    )


def judged(
    made: Conclusion, verdicts: list[tuple[str, float]], shown: tuple[float, ...] = ()
) -> Conclusion:
    """With these verdicts and means, and `shown` interactions of these sizes out of three."""
    evidence = [
        replace(e, verdict=verdict, mean=mean)
        for e, (verdict, mean) in zip(made.evidence, verdicts, strict=True)
    ]
    contrasts = [
        replace(c, verdict="interaction" if size else "no interaction", mean=size, words=f"I{size}")
        for c, size in zip(made.contrasts, [*shown, 0, 0, 0], strict=False)
    ]
    return replace(made, evidence=evidence, contrasts=contrasts)


WORSE = ("worse", 0.2)


def test_the_headline_of_many_arms_says_the_best_and_that_the_axes_add_up(eight):
    better = [("better", -0.5), ("better", -0.51), ("better", -0.3)]
    assert headline(judged(eight, [*better, *[WORSE] * 3, ("equivalent", 0.001)])) == (
        f"{ARMS[2]} gains most: better than {FIRST} by 0.5100 (1 more within 0.02 of it); "
        "of the other 6 arms 2 better, 1 equivalent, 3 worse; "
        "optim.lr and optim.eps do not interact, within 0.02"
    )


def test_the_largest_interaction_stands_in_the_headline_of_many_arms(eight):
    told = headline(judged(eight, [("better", -0.5), *[WORSE] * 6], shown=(0.1, -0.4))).split("; ")
    assert told[1:] == ["of the other 6 arms 6 worse", "I-0.4 (1 more of 3 interactions shown)"]


def test_where_no_arm_is_better_the_headline_says_so_first(eight):
    told = headline(judged(eight, [*[WORSE] * 5, *[("inconclusive", 0.0)] * 2]))
    assert told.startswith(
        f"None of 7 arms is shown to be better than {FIRST}: 5 worse, 2 inconclusive; "
    )


def test_every_shape_of_an_arm_has_a_body():
    """A line on its own interval is not seen."""
    points = {"circle", "square", "cross", "diamond"}
    assert set(SHAPES) <= points | {f"triangle-{side}" for side in ("up", "down", "left", "right")}


@pytest.fixture(scope="module")
def page(chromium, eight):  # noqa: F811
    """The report, the first two plots drawn."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(write_reports(eight)[0].as_uri())
    page.locator("#plot0 svg.marks").wait_for()
    page.locator("#plot1 svg.marks").wait_for()
    yield page
    context.close()


SCROLL = """(() => { const s = document.querySelector('.scroll');
    return [s.clientWidth, s.scrollWidth]; })()"""


@pytest.mark.parametrize("width", [390, 700, 1000, 1280])
def test_the_table_of_arms_is_not_cut_off(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    room, wide = page.evaluate(SCROLL)
    assert wide <= room
    page.set_viewport_size({"width": 1280, "height": 900})


def test_names_of_arms_are_whole_where_there_is_room(page):
    for plot, arms in (("#plot0", ARMS[1:]), ("#plot1", ARMS)):
        drawn = page.locator(f"{plot} svg.marks text").all_text_contents()
        assert set(arms) <= set(drawn)


TOPMOST = """[...document.querySelectorAll('#plot0 svg .mark-symbol.role-mark path')].map(p => {
    p.scrollIntoView({ block: 'center' });
    const b = p.getBoundingClientRect();
    const top = document.elementFromPoint(b.x + b.width / 2, b.y + b.height / 2);
    return [top === p, Math.min(b.width, b.height)]; })"""


def test_each_marker_stands_above_its_interval(page):
    marks = page.evaluate(TOPMOST)
    assert len(marks) == 7
    assert all(top and size > 6 for top, size in marks)


def test_a_single_evaluation_is_a_row_an_arm_and_no_empty_frame(page):
    assert page.locator("#plot1 svg .mark-symbol.role-mark path").count() == 8
    titles = page.locator("h2").all_text_contents()
    assert "val_loss at the only evaluation" in titles
    assert "val_loss over the run" not in titles


def test_the_finding_comes_first_and_the_rest_is_one_click_away(page):
    cards = page.locator(".verdicts > li:not(.rest)")
    assert cards.count() == 1
    assert cards.first.inner_text().startswith(f"{ARMS[7]}: better by 7")
    rest = page.locator(".rest li")
    assert rest.count() == 6 + 3
    assert not rest.first.is_visible()
    page.locator(".rest summary").click()
    assert rest.first.is_visible()


# -- in the dark -----------------------------------------------------------------------------------

VARIABLES = ("ink", "soft", "line", "paper", "tint")


def brightness(colour: str) -> float:
    """Relative luminance (WCAG 2.2) of `#16181b` or `rgb(22, 24, 27)`."""
    named = re.findall(r"\d+", colour)
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)] if colour[0] == "#" else named
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
              for c in (int(p) / 255 for p in parts)]  # fmt: skip
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    high, low = sorted([brightness(a), brightness(b)], reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_both_schemes_of_the_sheet_are_readable():
    schemes = [dict(re.findall(r"--(\w+): (#\w{6});", part)) for part in
               re.findall(r":root \{([^}]*)\}", style_sheet())]  # fmt: skip
    assert [set(s) for s in schemes] == [set(VARIABLES)] * 2
    light, dark = schemes
    assert brightness(dark["paper"]) < 0.05 < 0.9 < brightness(light["paper"])
    for scheme in schemes:
        for text in ("ink", "soft"):
            assert min(contrast(scheme[text], scheme[p]) for p in ("paper", "tint")) > 4.5


@pytest.mark.parametrize(("scheme", "is_dark"), [("dark", True), ("light", False)])
def test_page_and_charts_follow_the_scheme(eight, chromium, scheme, is_dark):  # noqa: F811
    write_reports(eight)
    context = chromium.new_context(color_scheme=scheme)
    tab = context.new_page()
    tab.goto(f"file://{eight.folder}/report.html")
    tab.wait_for_selector(".plot svg text")
    paper, ink = tab.evaluate(
        "(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))"
    )
    texts = tab.eval_on_selector_all(
        ".plot svg text", "all => all.map(t => getComputedStyle(t).fill)"
    )
    marks = tab.eval_on_selector_all(
        ".plot svg [stroke]", "a => a.map(m => m.getAttribute('stroke'))"
    )
    context.close()
    assert (brightness(paper) < 0.05, brightness(ink) > 0.5) == (is_dark, is_dark)
    seen = [t for t in texts if t.startswith("rgb(")]
    assert seen
    assert min(contrast(paper, text) for text in seen) > 4
    assert ("#333333" in marks) != is_dark
