"""A ledger's noise, handed to a comparison."""

import pytest

from altgrad.commands.compare import _with_spread
from altgrad.compare.question import read_question
from altgrad.compare.spread import freedom_of
from altgrad.ideas.spread import _blocks, spread_of_ledger


def test_a_ledgers_spread_is_what_it_judges_ideas_with(ledger, compose):
    made = ledger("optim.lr=0.01 delta=0.001")
    for word in ("optim.weight_decay=0.3", "optim.nesterov=false"):
        made.try_([word])
    known = spread_of_ledger(made.folder, compose)
    assert known.value == made.state().known_noise().spread
    assert known.size["max_steps"] == 6
    assert 0 < known.freedom <= made.state().known_noise().freedom


def test_ideas_under_one_champion_share_its_runs():
    entries = [
        {"kind": "try", "gains": [0.1, 0.2, 0.3], "verdict": "no gain"},
        {"kind": "try", "gains": [0.1, 0.2, 0.3], "verdict": "nominated"},
        {"kind": "try", "gains": [0.1, 0.2], "verdict": "no gain"},
        {"kind": "reckon", "harms": {"i1": [0.1, None, 0.2], "i2": [0.1, 0.2, 0.3]}},
    ]
    assert _blocks(entries) == [[2, 2], [1], [1, 2], []]
    assert freedom_of([2, 2]) == pytest.approx(16 / 5)


def test_a_comparison_finds_a_ledger_by_its_name(ledger, compose):
    made = ledger("optim.lr=0.01 delta=0.001")
    asked = read_question(["optim.lr=0.01,0.1", "seeds=auto", "spread=fast"])
    found = _with_spread(asked, "runs", compose).complete()
    assert found.spread.value == made.state().known_noise().spread
    assert found.spread.freedom == 3
