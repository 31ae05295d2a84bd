"""A ledger from its beginning to a reckoning, on runs that take a moment."""

import pytest

from altgrad.ideas.loop import Ledger
from altgrad.settings import ConfigError
from tests.ideas.conftest import SLOPE

BASE = "optim.lr=0.001 delta=0.001"
GOOD = ["optim.lr=0.03"]


def test_a_ledger_begins_with_four_baseline_runs_and_one_of_them_again(ledger):
    state = ledger(BASE).state()
    assert state.delta == 0.001
    new, noise = state.entries
    assert (new["kind"], noise["kind"]) == ("new", "noise")
    assert (
        len(noise["costs"]) == 4 + 1 + 2
    )  # and two with fewer steps, to know what steps are worth
    assert noise["slope"] == pytest.approx(SLOPE, abs=0.02)
    assert noise["repeat"] == 0  # a CPU repeats itself bit for bit
    assert state.noise.spread > 0


def test_a_good_idea_becomes_the_champion_and_begins_a_reign_on_fresh_seeds(ledger):
    made = ledger(BASE)
    entry = made.try_(GOOD, why="larger steps")
    assert (entry["verdict"], entry["why"]) == ("nominated", "larger steps")
    state = made.state()
    assert [c.words for c in state.champion] == [("optim.lr=0.03",)]
    assert (state.reign, state.seeds) == (1, (5, 6, 7, 8))


def test_a_reckoning_finds_the_good_change_and_takes_the_idle_one_out(ledger):
    made = ledger(BASE)
    made.try_(GOOD)
    made.file.append("try", **_forced(made, ["optim.eps=2.0e-8"]))
    entry = made.reckon()
    assert entry["found"] == ["i0"]
    assert entry["barnacles"] == ["i1"]
    assert entry["headline"]["low"] > 0
    used = set(entry["seeds"])
    assert not used & {1, 2, 3, 4, 5, 6, 7, 8}
    (change,) = made.state().champion
    assert change.proven


def _forced(made, words, **more):
    """A nomination that nothing but luck has made."""
    number = sum(e["kind"] == "try" for e in made.state().entries)
    fresh = made.state().fresh_seeds(4)
    return {
        "id": f"i{number}",
        "name": " ".join(words),
        "words": words,
        "why": "",
        "key": "",
        "verdict": "nominated",
        "supersedes": [],
        "next_seeds": fresh,
        "seeds": [],
        "steps": None,
        **more,
    }


def test_the_same_idea_is_refused_under_one_champion_and_allowed_under_the_next(ledger):
    made = ledger(BASE)
    assert made.try_(["optim.lr=0.0009"])["verdict"] != "refused"
    again = made.try_(["optim.lr=0.00090"])
    assert again["verdict"] == "refused"
    assert "tried under this champion: i0" in again["reason"]
    assert made.try_(GOOD)["verdict"] == "nominated"
    assert made.try_(["optim.lr=0.0009"])["verdict"] == "no gain"


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("seed=7", "touches the measuring"),
        ("data.order=once", "touches the measuring"),
        ("data.path=other", "touches the measuring"),
        ("eval_interval=2", "touches the measuring"),
        ("max_steps=9", "touches the measuring"),
        ("model.block_size=4", "touches the measuring"),
        ("optim.lr=0.001", "changes nothing"),
        ("sample_tokens=0", "changes nothing"),
        ("optim.ns_steps=4", "nothing reads it"),
        ("optim.lr=-1", "optim.lr"),
        ("model.norm=nowhere:Norm", "nowhere"),
    ],
)
def test_what_is_no_idea_is_refused_before_any_run(ledger, word, reason):
    made = ledger(BASE)
    runs = set(made.folder.parent.parent.iterdir())
    entry = made.try_([word])
    assert entry["verdict"] == "refused"
    assert reason in entry["reason"]
    assert set(made.folder.parent.parent.iterdir()) == runs


def test_another_ledger_may_not_take_its_name(ledger):
    ledger(BASE)
    with pytest.raises(ConfigError, match="other terms"):
        ledger("optim.lr=0.002")


def test_opening_what_is_no_ledger_says_how_to_begin_one():
    with pytest.raises(ConfigError, match="altgrad ideas new"):
        Ledger.open("nothing")


def test_nothing_is_reckoned_twice(ledger):
    made = ledger(BASE)
    with pytest.raises(ConfigError, match="nothing to reckon"):
        made.reckon()


def test_of_two_changes_that_stand_in_for_each_other_one_is_kept(ledger):
    """Each is useless beside the other; without both, much is lost."""
    made = ledger(BASE)
    for words in (["optim.eps=1.0e-6"], ["optim.betas=[0.9,0.99]"]):
        made.file.append("try", **_forced(made, words))
    entry = made.reckon()
    assert len(entry["batches"]) == 2
    assert len(entry["found"]) == 1
    assert len(entry["barnacles"]) == 1
    assert entry["headline"]["gain"] == pytest.approx(0.03, abs=0.003)
    assert [c.id for c in made.state().champion] == entry["found"]


def test_a_change_that_another_needs_is_taken_out_with_it(ledger):
    made = ledger("optim.lr=0.001 delta=0.001")
    made.file.append("try", **_forced(made, ["optim.name=muon"]))
    made.file.append("try", **_forced(made, ["optim.ns_steps=4"]))
    made.file.append("try", **_forced(made, ["optim.eps=2.0e-8"]))
    entry = made.reckon()
    assert entry["groups"]["i0"] == ["i0", "i1"]
    assert entry["groups"]["i1"] == ["i1"]
    assert entry["groups"]["i2"] == ["i2"]


def test_a_change_that_is_set_anew_leaves_the_champion(ledger):
    made = ledger("optim.lr=0.001 delta=0.001")
    made.file.append("try", **_forced(made, ["optim.lr=0.002"]))
    entry = made.try_(["optim.lr=0.03"])
    assert entry["supersedes"] == ["i0"]
    assert [c.id for c in made.state().champion] == ["i1"]


def test_numbers_never_come_from_the_runs_that_chose(ledger):
    made = ledger(BASE)
    made.try_(GOOD)
    made.try_(["optim.grad_clip=0.5"])
    chosen = {s for e in made.state().entries for s in e.get("seeds", [])}
    entry = made.reckon()
    assert not chosen & set(entry["seeds"])
    assert not set(entry["seeds"]) & set(entry["next_seeds"])
