"""STATUS.md fills its blocks itself and never loses what the learner wrote."""

import re

import pytest

from altgrad.learn import status_page
from altgrad.learn.checker import PASSED, WRONG, Verdict
from altgrad.learn.race import Outcome
from altgrad.learn.track import Track

TRACK = Track("nanochat")
RUN = """── size
── optimisers
   loss 5.5452, ln V = 5.5452
   loss after 3 steps on the same batch: 4.1000
   8 bytes drawn: b'to be ok'
✓ a whole iteration""".splitlines()


@pytest.fixture
def page(tmp_path):
    status_page.create(tmp_path, TRACK)
    return tmp_path / "STATUS.md"


def test_a_run_ticks_what_it_showed_and_ticks_stay(page):
    status_page.note_run(page.parent, TRACK, RUN[:3])
    assert re.findall(r"- \[x\] ([a-z ]*) \(", page.read_text()) == ["initialises", "forward"]
    status_page.note_run(page.parent, TRACK, RUN)
    status_page.note_run(page.parent, TRACK, [])
    ticked = re.findall(r"- \[x\] ([a-z ]*) \(", page.read_text())
    assert ticked == [m for m in status_page.MILESTONES if m != status_page.MATCHES]


def test_a_loss_that_rises_ticks_no_fall(page):
    rising = [line.replace("4.1000", "5.9000") for line in RUN]
    status_page.note_run(page.parent, TRACK, rising)
    assert "- [ ] loss falls" in page.read_text()


def test_a_check_of_all_units_fills_the_phases(page):
    verdicts = [Verdict(u, WRONG if u == "norm" else PASSED) for u in TRACK.units]
    status_page.note_verdicts(page.parent, TRACK, verdicts)
    text = page.read_text()
    assert "- [ ] `norm`" in text
    assert text.count("- [x] `") == len(TRACK.units) - 1
    status_page.note_verdicts(page.parent, TRACK, verdicts[:1])
    assert page.read_text() == text


def test_a_check_of_one_unit_ticks_that_one_and_leaves_the_others(page):
    status_page.note_verdicts(page.parent, TRACK, [Verdict("norm", PASSED)])
    status_page.note_verdicts(page.parent, TRACK, [Verdict("MLP.forward", PASSED)])
    ticked = re.findall(r"- \[x\] `(.+)`", page.read_text())
    assert ticked == ["norm", "MLP.forward"]
    status_page.note_verdicts(page.parent, TRACK, [Verdict("norm", WRONG)])
    assert re.findall(r"- \[x\] `(.+)`", page.read_text()) == ["MLP.forward"]
    assert re.search(r"forward: .*: 1 of", page.read_text())


def test_what_the_learner_wrote_is_kept_in_and_outside_the_blocks(page):
    text = page.read_text().replace("My answer:\n", "My answer: ½ because\n", 1)
    page.write_text(text.replace("- [ ] backward", "- [ ] backward: ask Ada!"))
    status_page.note_run(page.parent, TRACK, RUN)
    text = page.read_text()
    assert "My answer: ½ because" in text
    assert "- [ ] backward: ask Ada!" in text.partition("<!-- /altgrad milestones -->")[2]
    assert "- [x] backward (" in text.partition("<!-- /altgrad milestones -->")[0]


def test_a_deleted_block_stays_away_and_an_unreadable_page_as_it_is(page):
    page.write_text("my own words\n")
    status_page.note_run(page.parent, TRACK, RUN)
    assert page.read_text() == "my own words\n"
    page.write_bytes(b"\xff\xfe not UTF-8")
    status_page.note_run(page.parent, TRACK, RUN)
    assert page.read_bytes() == b"\xff\xfe not UTF-8"


def test_a_guess_is_kept_under_its_question(page):
    said = status_page.keep_under(page.parent, TRACK, "mqa", "guess: a smaller cache")
    assert said == f"kept in {page}"
    section = page.read_text().partition("### mqa\n")[2].partition("\n##")[0]
    assert "guess: a smaller cache" in section
    assert page.read_text().count("guess: a smaller cache") == 1


def test_a_race_fills_the_table_and_the_last_milestone(page):
    rows = [{"model": name, "train loss at step 50": 2.5} for name in ("reference", "yours")]
    outcome = Outcome({"steps": 60}, rows, {}, None)
    status_page.note_race(page.parent, TRACK, outcome, "equal", holds=True)
    text = page.read_text()
    assert "| yours | 2.5 | not asked (--core) |" in text
    assert "- [x] matches the reference (" in text
    assert "filled in by `altgrad learn race`" not in text


def test_a_race_that_parts_ticks_nothing(page):
    outcome = Outcome({"steps": 60}, [{"model": "yours"}], {}, 3)
    status_page.note_race(page.parent, TRACK, outcome, "different", holds=False)
    assert "- [ ] matches the reference" in page.read_text()
