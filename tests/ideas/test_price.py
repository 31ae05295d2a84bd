"""Gains per token and per second, and tuning: nothing is compared unfairly."""

import math

import pytest

from altgrad.ideas.loop import Ledger
from altgrad.ideas.price import reckoned_both_ways, shifts, slope_of
from altgrad.settings import ConfigError
from tests.ideas import conftest
from tests.ideas.conftest import SLOPE

BASE = "optim.lr=0.001 delta=0.001"
SLOWER = ["optim.grad_clip=0.5"]  # gains 0.03, and a step takes half as much longer
FASTER = ["optim.eps=3.0e-8"]  # gains nothing, and a step takes four fifths


@pytest.fixture(autouse=True)
def _worth_something(monkeypatch):
    monkeypatch.setitem(conftest.LOSS, "optim.grad_clip=0.5", -0.03)


def test_the_slope_is_the_loss_of_an_e_fold_of_steps():
    assert slope_of([2.0, 2.1], [2.0 + 0.3 * math.log(2), 2.1 + 0.3 * math.log(2)], 0.5) == (
        pytest.approx(0.3)
    )


def test_what_is_not_known_is_not_told():
    assert shifts(0.2, {"tokens": 1.0, "seconds": None}) == {"per_token": 0.0, "per_second": None}
    assert shifts(None, {"tokens": 1.0, "seconds": 1.1}) == {"per_token": 0.0, "per_second": None}
    assert reckoned_both_ways([0.1], {"per_token": 0.0})["per_token"] is None


def test_a_slow_gain_is_less_per_second(ledger):
    entry = ledger("optim.lr=0.001 delta=0.02").try_(SLOWER)
    assert entry["costs_ratio"] == {"tokens": 1.0, "seconds": 1.5}
    assert entry["per_token"]["gain"] == entry["gain"] == pytest.approx(0.03, abs=0.004)
    lost = entry["gain"] - entry["per_second"]["gain"]
    assert lost == pytest.approx(SLOPE * math.log(1.5), rel=0.2)
    assert (entry["per_token"]["verdict"], entry["per_second"]["verdict"]) == (
        "nominated",
        "no gain",
    )


def test_under_the_budget_of_time_a_slow_idea_gets_fewer_steps(ledger):
    made = ledger(f"{BASE} budget=time")
    entry = made.try_(SLOWER)
    assert entry["steps"] == 4  # of 6
    assert entry["costs_ratio"]["tokens"] == pytest.approx(4 / 6)
    assert entry["per_second"]["gain"] == pytest.approx(entry["gain"], abs=SLOPE * 0.05)
    more = entry["per_token"]["gain"] - entry["gain"]
    assert more == pytest.approx(SLOPE * math.log(6 / 4), rel=0.2)
    assert entry["verdict"] == "no gain"


def test_a_nominated_ideas_steps_are_the_next_champions(ledger):
    made = ledger(f"{BASE} budget=time")
    entry = made.try_(["optim.lr=0.03", *SLOWER, "optim.eps=1.0e-6"])
    assert (entry["verdict"], made.state().steps) == ("nominated", 4)
    assert made.try_(["optim.weight_decay=0.3"])["steps"] == 4
    entry = made.reckon()
    assert (entry["steps"], made.state().steps) == (4, 4)


def test_steps_are_measured_once_however_often_it_is_asked(ledger, monkeypatch):
    made, asked = ledger(f"{BASE} budget=time"), []

    def measure(bench, arms, place):
        asked.append([a.name for a in arms])
        raise KeyboardInterrupt if len(asked) == 1 else AssertionError

    monkeypatch.setattr(conftest.Bench, "measure", measure)
    with pytest.raises(KeyboardInterrupt):
        made.try_(SLOWER)
    monkeypatch.setattr(
        conftest.Bench, "measure", lambda b, arms, _: {a.name: 1.0 + asked.count(0) for a in arms}
    )
    made.try_(SLOWER)
    kinds = [e["kind"] for e in made.state().entries]
    assert kinds == ["new", "noise", "measured", "try"]
    assert asked == [["champion", "i0"]]


def test_machines_elsewhere_are_not_measured(ledger):
    made = ledger(BASE)
    made.launch.launcher = "slurm"
    assert made.try_(SLOWER)["per_second"] is None
    timed = ledger(f"{BASE} budget=time", name="timed")
    timed.launch.launcher = "slurm"
    with pytest.raises(ConfigError, match="launcher=local"):
        timed.try_(SLOWER)


def test_a_useless_change_that_makes_the_run_faster_is_kept(ledger):
    made = ledger("optim.lr=0.001 delta=0.01")
    made.file.append("try", **forced(made, FASTER))
    entry = made.reckon()
    assert (entry["found"], entry["barnacles"]) == ([], [])
    assert entry["kept"] == {"i0": "the run is 1.25 times as fast with it"}
    (effect,) = entry["effects"]
    assert effect["costs_ratio"]["seconds"] == pytest.approx(0.8)
    assert effect["per_second"]["gain"] > effect["harm"]
    assert entry["headline"]["per_second"]["verdict"] == "helps"


def forced(made: Ledger, words: list[str]) -> dict:
    from tests.ideas.test_loop import _forced

    return _forced(made, words)


# -- tuning ---------------------------------------------------------------------------------------


def best_at(monkeypatch, champion: float, idea: float) -> None:
    """The loss has its minimum at a weight decay of its own, with the idea and without."""
    plain = conftest.made_up_loss

    def loss(arm, seed, key):
        best = idea if arm.config.optim.lr == 0.03 else champion
        return plain(arm, seed, key) + 0.05 * abs(math.log(arm.config.optim.weight_decay / best))

    monkeypatch.setattr(conftest, "made_up_loss", loss)


TUNED = "optim.lr=0.001 optim.weight_decay=0.1 delta=0.02 tune=optim.weight_decay:0.5,1,2"


def test_a_nominated_idea_and_the_champion_are_tuned_alike(ledger, monkeypatch, made_up):
    best_at(monkeypatch, champion=0.1, idea=0.2)
    monkeypatch.setitem(conftest.LOSS, "optim.lr=0.03", -0.08)
    made = ledger(TUNED)
    before = len(made_up)
    entry = made.try_(["optim.lr=0.03"])
    champion, idea = entry["tuned"]
    assert (champion["value"], idea["value"]) == (0.1, 0.2)
    assert list(champion["outcomes"]) == ["0.05", "0.1", "0.2"] == list(idea["outcomes"])
    assert entry["words"] == ["optim.lr=0.03", "optim.weight_decay=0.2"]
    assert (entry["verdict"], entry["instead"]) == ("nominated", [])
    assert entry["gain"] > entry["untuned"]["gain"] + 0.03
    # Each of both at three values, but for the champion's own, which was there already.
    assert len(made_up) - before == (2 * 3 - 1) * entry["untuned"]["pairs"]
    assert len(entry["costs"]) == len(made_up) - before


def test_only_nominated_ideas_are_tuned(ledger):
    entry = ledger(TUNED).try_(["optim.grad_clip=2.0"])
    assert entry["verdict"] in ("no gain", "parked")
    assert "tuned" not in entry


def test_a_gain_that_the_tuned_champion_has_as_well_is_none(ledger, monkeypatch):
    """Trap: a tuned idea against an untuned champion is unfair."""
    best_at(monkeypatch, champion=0.2, idea=0.1)
    monkeypatch.setitem(conftest.LOSS, "optim.lr=0.03", 0.0)
    made = ledger(TUNED)
    entry = made.try_(["optim.lr=0.03"])
    assert entry["verdict"] == "no gain"
    assert (
        "only before both were tuned (optim.weight_decay 0.1, the champion's 0.2)"
        in entry["reason"]
    )
    assert made.state().champion == []


def test_a_change_is_reckoned_against_the_tuned_rest(ledger, monkeypatch):
    best_at(monkeypatch, champion=0.1, idea=0.25)
    monkeypatch.setitem(conftest.LOSS, "optim.lr=0.03", -0.12)
    made = ledger(
        "optim.lr=0.001 optim.weight_decay=0.05 delta=0.001 tune=optim.weight_decay:1,2,5"
    )
    entry = made.try_(["optim.lr=0.03"])
    assert (entry["words"][-1], entry["instead"]) == (
        "optim.weight_decay=0.25",
        ["optim.weight_decay=0.1"],
    )
    monkeypatch.setitem(conftest.LOSS, "optim.lr=0.03", 0.0)  # its gain was luck
    entry = made.reckon()
    assert entry["barnacles"] == ["i0"]
    (left,) = made.state().champion
    assert (left.id, left.words, left.proven) == ("i0t", ("optim.weight_decay=0.1",), False)
    entry = made.reckon()
    assert entry["found"] == ["i0t"]
    assert made.state().champion[0].proven


@pytest.mark.parametrize(
    "tune",
    [
        "optim.lr",
        "optim.lr:0.5",
        "optim.lr:0.5,2",
        "model.n_layer:1,2",
        "optim.lr:1,-1",
        "optim.lr:1,x",
    ],
)
def test_what_cannot_be_tuned_is_refused_at_once(ledger, tune):
    with pytest.raises(ConfigError, match="tune="):
        ledger(f"{BASE} tune={tune}")


def test_a_setting_that_is_no_number_cannot_be_tuned(ledger):
    with pytest.raises(ConfigError, match="is not a number"):
        ledger(f"{BASE} tune=optim.name:1,2")
