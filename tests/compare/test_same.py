"""An effect of nothing is no effect: unread settings are refused, equal arms are said to be one."""

import json

import pytest

from altgrad.compare.comparison import Comparison
from altgrad.compare.conclusion import conclude
from altgrad.compare.question import read_question
from altgrad.compare.report.html import page
from altgrad.compare.report.markdown import markdown
from altgrad.compare.report.words import headline, verdict_lines
from altgrad.compose import compose_config
from altgrad.runs.folder import RunFolder
from altgrad.runs.history import last_weights
from altgrad.runs.summary import read_settings
from altgrad.settings import ConfigError
from altgrad.training import TrainConfig
from altgrad.training.build import build_run

BIT_FOR_BIT = "their weights are equal bit for bit"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("optim.momentum=0.9,0.1", "optim.momentum=0.9 is read with optim.name=muon, sgd"),
        ("optim.lr=0.1,0.2 optim.momentum=0.1", "optim.momentum=0.1 is read with"),
        ("seeds=2 optim.lr=0.1,0.2 tune=schedule.decay_fraction", "schedule.decay_fraction=0.4"),
        ("optim.name=adamw,sgd optim.ns_steps=3", "optim.name=muon"),
        (
            "optim.name=grid precision.simulate=true precision.storage=master,rounded",
            "precision.storage=master cannot be had with optim.name=grid",
        ),
    ],
)
def test_what_no_arm_reads_is_refused_before_any_run(ask, words, expected, tmp_path):
    with pytest.raises(ConfigError, match=expected):
        ask(words)
    assert not (tmp_path / "runs").exists()


def test_what_one_arm_reads_may_be_said_to_all(ask):
    assert ask("optim.name=adamw,sgd optim.momentum=0.5").arms


def test_a_storage_that_is_dictated_is_a_difference_to_declare(ask):
    words = "optim.name=sgd,grid optim.nesterov=false precision.simulate=true"
    with pytest.raises(ConfigError, match=r"precision\.storage"):
        ask(words).prepare()
    ask(f"{words} precision.storage=rounded").prepare()


def test_equal_arms_are_said_to_be_one(finished):
    found = finished("guards.nan_patience=5,6 seeds=2")
    (evidence,) = found.evidence
    assert evidence.verdict == "the same arm"
    assert found.same_arms == [("nan_patience=5", "nan_patience=6")]
    for text in (verdict_lines(found)[0], markdown(found), page(found)):
        assert BIT_FOR_BIT in text
    assert headline(found) == "nan_patience=6 the same arm as nan_patience=5"
    assert found.to_dict()["same_arms"] == [["nan_patience=5", "nan_patience=6"]]
    assert found.needed() == {}


def test_no_interaction_is_made_of_one_arm_twice(finished):
    found = finished("optim.lr=0.001,0.5 guards.nan_patience=5,6 design=crossed seeds=2 delta=1e-4")
    _, dead, contrast = found.contrasts
    assert dead.verdict == contrast.verdict == "the same arm"
    assert BIT_FOR_BIT in contrast.words
    others = "lr=0.5 + nan_patience=5 and lr=0.5 + nan_patience=6 are the same arm"
    assert any(others in line for line in verdict_lines(found))
    assert "interaction" not in headline(found)
    assert contrast.to_dict()["mean"] is None


def test_arms_that_differ_in_one_bit_are_two(finished):
    found = finished("optim.lr=0.01,0.010000001 seeds=2")
    assert found.same_arms == []
    assert found.evidence[0].verdict == "equivalent"


def test_runs_that_do_not_say_are_not_called_the_same(finished):
    found = finished("guards.nan_patience=5,6 seeds=2")
    for run in (run for by_seed in found.runs.values() for run in by_seed.values()):
        events = RunFolder(run).events
        lines = [json.loads(line) for line in events.read_text().splitlines()]
        kept = [{k: v for k, v in line.items() if k != "weights"} for line in lines]
        events.write_text("".join(json.dumps(line) + "\n" for line in kept))
    assert conclude(found.folder).same_arms == []


def test_an_average_of_the_weights_belongs_to_them(finished):
    found = finished("optim.ema_decay=0.0,0.9 seeds=1")
    hashes = {last_weights(run) for by_seed in found.runs.values() for run in by_seed.values()}
    assert len(hashes) == 2


def start_of(found) -> str:
    (check,) = (c for c in found.fairness.checks if c.what == "initial weights")
    return check.found


def test_the_same_start_is_looked_up(finished):
    found = finished("optim.lr=0.01,0.02 seeds=2")
    assert start_of(found) == "equal bit for bit for the same seed"
    weights = RunFolder(found.runs["lr=0.02"][2]).weights
    kept = json.loads(weights.read_text())
    kept["tensors"]["lm_head.weight"] = kept["tensors"]["transformer.wte.weight"] = "other"
    weights.write_text(json.dumps(kept))
    told = start_of(conclude(found.folder))
    assert told.startswith("differs from lr=0.01's: lr=0.02 (seed 2) (1 tensors, the first ")
    weights.unlink()
    assert start_of(conclude(found.folder)) == "not recorded by 1 of 4 runs"


def test_networks_that_differ_are_compared_in_what_they_share(finished):
    told = start_of(finished("model.position=learned,rope seeds=1"))
    assert told == "equal bit for bit for the same seed, in the tensors that the arms share"


TEXT = "To be, or not to be, that is the question: whether 'tis nobler in the mind.\n" * 8
FEWER = "the mind in question is nobler.\n" * 20


def test_tuned_arms_settle_as_tuned_runs_do(here, tmp_path, monkeypatch):
    """Four-bit bases do not compile: then no arm does, or the compiler would differ too."""
    pytest.importorskip("peft")
    pytest.importorskip("bitsandbytes")
    (tmp_path / "base.txt").write_text(TEXT)
    (tmp_path / "fewer.txt").write_text(FEWER)
    config = TrainConfig(
        n_layer=1, n_head=2, n_embd=32, block_size=8, batch_size=2, max_steps=2, device="cpu"
    )
    config.data.path, config.run_dir = "base.txt", "runs/base"
    build_run(config).train()
    words = "finetune=lora,qlora init_from=runs/base data.path=fewer.txt max_steps=2 seeds=1"
    words += " data.batch_size=2 eval_interval=2 device=cpu precision=fp32"

    def compose(given):
        return compose_config(given, all_read=False)

    found = conclude(Comparison(read_question(words.split()), compose).run())
    assert all(not row[0].lost for row in found.outcomes.values())
    (run,) = found.runs["qlora"].values()
    assert read_settings(RunFolder(run).config)["compile"] is False
    assert Comparison(read_question(words.split()), compose).registry.base.name == "runs"
    again = Comparison(read_question(words.split()), compose)
    again.run()
    assert len(again.registry.reused) == 2  # the same identity as the runs themselves wrote
