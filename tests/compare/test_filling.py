"""A comparison on its way: the last look is the report's interval, and the way there is counted."""

import pytest

from altgrad.compare import filling
from altgrad.compare.conclusion import conclude
from altgrad.compare.filling import read_filling
from altgrad.compare.question import Question
from altgrad.compare.record import Record, write_record
from tests.studio.conftest import write_run


@pytest.fixture
def folder(tmp_path):
    question = Question(
        arms={"a": ["optim=adamw"], "b": ["optim=muon"], "c": ["optim=sgd"]}, axis=["optim"]
    ).complete()
    arms = {arm: {"words": [], "max_steps": 3, "differs": {}} for arm in "abc"}
    runs = {arm: {str(seed): f"{arm}{seed}" for seed in (1, 2, 3, 4)} for arm in "abc"}
    place = tmp_path / "runs" / "compare" / "ours"
    write_record(place, question, Record("altgrad compare …", "a", arms, runs))
    return place


OUTCOMES = {"a": (1.0, 1.2, 0.9, 1.1), "b": (0.8, 1.1, 0.7, 1.0), "c": (1.5, 1.4, 1.6, 1.2)}
OPTIMISERS = {"a": "adamw", "b": "muon", "c": "sgd"}


def finish(folder, arm, seed):
    last = OUTCOMES[arm][seed - 1]
    base = folder.parent.parent
    write_run(base, f"{arm}{seed}", losses=(3.0, 2.0, last), seed=seed)


def test_the_last_look_is_what_the_report_says(folder):
    for arm in "abc":
        for seed in (1, 2, 3, 4):
            finish(folder, arm, seed)
    filling = read_filling(folder)
    assert filling.is_complete
    assert filling.left_s == 0
    said = {e.arm: (e.pairs, e.mean, e.low, e.high) for e in conclude(folder).evidence}
    last = {look.arm: look for look in filling.looks}
    assert {a: (k.pairs, k.mean, k.low, k.high) for a, k in last.items()} == said
    assert [look.pairs for look in filling.looks if look.arm == "b"] == [1, 2, 3, 4]


def test_runs_to_come_are_counted_and_only_whole_pairs_are_looked_at(folder):
    for arm, seed in (("a", 1), ("b", 1), ("a", 2), ("c", 2)):
        finish(folder, arm, seed)
    base = folder.parent.parent
    write_run(base, "b2", losses=(3.0, 2.0), ended="", max_steps=3)
    filling = read_filling(folder)
    assert (filling.ended, len(filling.cells)) == (4, 12)
    assert {(k.arm, k.pairs) for k in filling.looks} == {("b", 1), ("c", 1)}
    state = {(c.arm, c.seed): c.state for c in filling.cells}
    assert (state["b", 2], state["c", 3]) == ("interrupted", "waiting")
    # every step took 0.01 s: 7 runs of 3 steps to come, and one step of b2
    assert filling.left_s == pytest.approx(0.01 * (7 * 3 + 1))


def test_a_run_that_has_ended_is_read_again_only_when_its_files_change(folder, monkeypatch):
    finish(folder, "a", 1)
    finish(folder, "b", 1)
    read = []
    outcome_of = filling._outcome
    monkeypatch.setattr(
        filling, "_outcome", lambda *words: read.append(words[:2]) or outcome_of(*words)
    )
    kept = {}
    first = read_filling(folder, kept)
    assert read_filling(folder, kept) == first
    assert read == [("a", 1), ("b", 1)]
    metrics = folder.parent.parent / "b1" / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace("1.3,", "1.25,"))
    changed = read_filling(folder, kept)
    assert read[2:] == [("b", 1)]
    assert {c.run: c.outcome for c in changed.cells if c.outcome} == {"a1": 1.5, "b1": 1.25}
