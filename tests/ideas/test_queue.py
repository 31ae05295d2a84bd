"""A queue, unattended: killed anywhere, asked again, it ends as if nothing had happened."""

import random

import pytest

from altgrad.ideas.bench import Bench
from altgrad.ideas.history import read_history
from altgrad.ideas.ledger import LedgerFile
from altgrad.ideas.queue import read_queue, work_off
from altgrad.settings import ConfigError

BASE = "optim.lr=0.001 delta=0.002"
QUEUE = """\
- {settings: "optim.weight_decay=0.3", why: harmful}
- optim.lr=0.03
- {words: "optim.lr=0.03", why: duplicate} # as queues had it before
- "seed=3"
- optim.grad_clip=0.5
- model.norm_eps=1.1e-05
- model.norm_eps=1.1e-05
"""


class Killed(BaseException):
    pass


@pytest.fixture
def queue(tmp_path):
    path = tmp_path / "ideas.yaml"
    path.write_text(QUEUE)
    return path


def without_times(entries):
    return [{k: v for k, v in e.items() if k not in ("time", "prev")} for e in entries]


def test_a_queue_is_worked_off_and_reckoned(ledger, queue):
    made = ledger(BASE)
    entries = list(work_off(made, read_queue(queue)))
    verdicts = [e.get("verdict", e["kind"]) for e in entries]
    assert verdicts[0] in ("no gain", "parked")
    assert verdicts[1:4] == ["nominated", "refused", "refused"]
    assert verdicts[-1] == "reckon"
    assert "i1" in entries[-1]["found"]
    assert list(work_off(made, read_queue(queue))) == []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_killed_queue_ends_as_the_uninterrupted_one(ledger, queue, monkeypatch, seed):
    rng = random.Random(seed)
    whole = ledger(BASE, name="whole")
    list(work_off(whole, read_queue(queue)))
    killed = ledger(BASE, name="killed")
    run, write = Bench.run, LedgerFile._write

    def perhaps(call, before):
        def wrapped(self, *arguments):
            if rng.random() < 0.35:
                before(self, *arguments)
                raise Killed
            return call(self, *arguments)

        return wrapped

    def half(self, at, line):
        """What a kill in the middle of a write leaves behind."""
        write(self, at, line[: rng.randrange(len(line))])

    monkeypatch.setattr(Bench, "run", perhaps(run, lambda *_: None))
    monkeypatch.setattr(LedgerFile, "_write", perhaps(write, half))
    kills = 0
    while True:
        try:
            list(work_off(killed, read_queue(queue)))
            break
        except Killed:
            kills += 1
    assert kills
    assert without_times(killed.file.entries()) == without_times(whole.file.entries())


def test_a_queue_stops_when_the_hours_are_spent(ledger, queue):
    made = ledger(f"{BASE} hours=0.003")  # 10.8 s; a made-up run takes one
    entries = list(work_off(made, read_queue(queue)))
    assert made.state().spent_s() >= 10.8
    assert len(entries) < 7
    assert entries[-1]["kind"] == "try"


def test_changes_are_reckoned_when_enough_wait(ledger, queue):
    made = ledger(f"{BASE} reckon_at=1")
    kinds = [e["kind"] for e in work_off(made, read_queue(queue))]
    assert kinds.count("reckon") == 2


def test_ideas_may_be_added_to_a_queue(ledger, queue):
    made = ledger(BASE)
    list(work_off(made, read_queue(queue)))
    queue.write_text(QUEUE + "- optim.eps=1.0e-6\n")
    (entry, reckoned) = work_off(made, read_queue(queue))
    assert entry["words"] == ["optim.eps=1.0e-6"]
    assert reckoned["kind"] == "reckon"


def test_an_open_reckoning_is_ended_before_anything_is_tried(ledger, queue, monkeypatch):
    made = ledger(BASE)
    made.try_(["optim.lr=0.03"])
    run = Bench.run
    monkeypatch.setattr(Bench, "run", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        made.reckon()
    monkeypatch.setattr(Bench, "run", run)
    with pytest.raises(ConfigError, match="has begun and has not ended"):
        made.try_(["optim.grad_clip=0.5"])
    assert next(iter(work_off(made, read_queue(queue))))["kind"] == "reckon"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("5", "must be a list"),
        ("- {word: a=1}", "unknown"),
        ("- {words: a=1, settings: b=1}", "say one"),
        ("- 7", "neither a text of settings nor a mapping"),
        ("- nothing", "not KEY=VALUE"),
        ("- {why: x}", "at least one KEY=VALUE"),
        ("- {patch: missing.diff}", "patch"),
        ("{", "no readable queue"),
    ],
)
def test_a_queue_that_cannot_be_read_is_refused_before_any_run(tmp_path, text, said):
    path = tmp_path / "q.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_queue(path)


def test_a_table_of_an_earlier_loop_is_history_and_no_champion(ledger, tmp_path):
    path = tmp_path / "results.tsv"
    path.write_text(
        "commit\tval_bpb\tmemory_gb\tstatus\tdescription\n"
        "a1\t0.9979\t44.0\tkeep\tbaseline\n"
        "b2\t0.0000\t0.0\tcrash\tdouble model width (OOM)\n"
    )
    rows = read_history(path)
    assert rows[0] == {"name": "baseline", "value": 0.9979, "status": "keep"}
    assert rows[1]["value"] is None
    made = ledger(BASE)
    made.take_over("results.tsv", rows)
    assert made.state().champion == []
    path.write_text("a\tb\n1\t2\n")
    with pytest.raises(ConfigError, match="needs a heading"):
        read_history(path)
