"""What a run remembers, told by scripted evaluations and clocks instead of by the run itself."""

import json
import math
import random

import numpy as np
import pytest
import torch

from altgrad.runs.history import alterations
from altgrad.runs.lines import read_jsonl
from altgrad.runs.summary import summarise_run
from altgrad.runs.watch import Follower
from altgrad.settings import ConfigError, coerce
from altgrad.training import Trainer
from altgrad.training.evaluation import Evaluator
from altgrad.training.health.guards import Finding
from altgrad.training.randomness import global_state, restore_global_state, seed_dropout
from altgrad.training.recording.costs import RunClock
from altgrad.training.resume import refuse_changes
from altgrad.training.run_differences import is_timing


@pytest.fixture
def make_trainer(make_config, make_model, data_dir):
    def make(**settings) -> Trainer:
        config = make_config(**settings)
        return Trainer(config, make_model(config), data_dir, "cpu")

    return make


@pytest.fixture
def evaluations(monkeypatch):
    """`evaluations(3.0, 1.0)`: what the evaluations of a run give, one after the other."""

    def script(*values: float) -> None:
        left = iter(values)
        monkeypatch.setattr(Evaluator, "loss", lambda self: next(left))

    return script


def test_the_best_loss_is_the_lowest_and_outlives_a_resumption(make_trainer, evaluations, tmp_path):
    evaluations(3.0, 1.0, 2.0, 1.5, 0.5)
    trainer = make_trainer(max_steps=9)
    summary = trainer.train()
    assert (summary["best_val_loss"], summary["val_loss"]) == (1.0, 2.0)
    assert trainer.checkpoint_manager.best().name == "step_00000006"
    again = make_trainer(max_steps=15, run_dir=str(tmp_path / "again"))
    again.resume(summary["run_dir"])
    assert again.best_val_loss == 1.0
    again.train(12)
    assert again.best_val_loss == 1.0
    assert again.train(15)["best_val_loss"] == 0.5


def test_a_table_of_runs_shows_the_lowest_finite_loss_and_the_last(make_trainer, evaluations):
    evaluations(3.0, math.inf, 1.0, 2.0)
    summary = summarise_run(make_trainer(max_steps=12).train()["run_dir"])
    assert (summary.best_val_loss, summary.val_loss) == (1.0, 2.0)


def test_evaluations_come_at_their_interval_and_at_the_end(make_trainer, evaluations):
    evaluations(1.0, 2.0, 3.0)
    trainer = make_trainer(max_steps=7, eval_interval=3)
    trainer.train()
    lines = list(read_jsonl(trainer.recorder.folder.metrics))
    assert {m["step"]: m["val_loss"] for m in lines if "val_loss" in m} == {3: 1.0, 6: 2.0, 7: 3.0}


@pytest.mark.parametrize("training", [True, False])
def test_an_evaluation_leaves_the_mode_as_it_was(make_trainer, training):
    trainer = make_trainer(dropout=0.5)
    trainer._network.train(training)
    assert trainer.eval_step() == trainer.eval_step()
    assert trainer._network.training == training


def test_a_step_that_is_passed_over_moves_neither_weights_nor_their_average(make_trainer):
    trainer = make_trainer()
    trainer.config.optim.ema_decay = 0.9
    trainer = Trainer(trainer.config, trainer.model, trainer.data_dir, "cpu")
    batch = trainer.batches.next_batch()
    actions = iter(("continue", "skip", "continue"))
    trainer.guard.judge = lambda loss, norm: Finding(next(actions))
    skipped, moved = [], []
    for _ in range(3):
        before = [p.detach().clone() for p in trainer.model.parameters()]
        skipped.append(trainer.train_step(*batch)["skipped"])
        after = trainer.model.parameters()
        moved.append(any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)))
    assert (skipped, moved) == ([0.0, 1.0, 0.0], [True, False, True])
    assert (trainer.average.updates, trainer.step) == (2, 3)


def test_micro_batches_are_read_one_after_the_other(make_trainer):
    trainer = make_trainer(accumulation=3, batch_size=2)
    expected = [trainer.batches.batch_at(k)[0] for k in range(3)]
    x, _ = trainer._next_batch()
    assert torch.equal(x, torch.cat(expected))
    assert trainer.batches.position == 3


def test_every_generator_comes_back():
    def draw():
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    state = global_state()
    first = draw()
    draw()
    restore_global_state(state)
    assert draw() == first


def test_processes_draw_their_own_dropout():
    drawn = []
    for seed, rank in ((3, 0), (3, 1), (4, 0), (3, 0)):
        seed_dropout(seed, rank)
        drawn.append((float(torch.rand(())), float(np.random.rand()), random.random()))
    assert drawn[0] == drawn[3]
    for column in zip(*drawn[:3], strict=True):
        assert len(set(column)) == 3


def test_costs_go_on_from_the_session_before():
    now = [100.0]
    clock = RunClock(clock=lambda: now[0])
    now[0] = 107.0
    assert clock.wall_s == 7.0
    state = {"train_s": 5.0, "wall_s": 50.0, "energy_j": 0.0, "peak_memory_bytes": 1 << 60}
    clock.load_state_dict(state)
    now[0] = 110.0
    assert (clock.train_s, clock.wall_s, clock.peak_memory_bytes) == (5.0, 53.0, 1 << 60)


def test_other_settings_and_other_code_are_alterations_from_their_first_step_on(tmp_path):
    events = [
        {"event": "started", "step": 0},
        {"event": "resumed", "step": 4, "changed": {"optim.lr": [1, 2]}},
        {"event": "resumed", "step": 9, "changed": {"optim.lr": [2, 3]}, "code": {"torch": 1}},
    ]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    assert alterations(tmp_path) == {"optim.lr": 4, "code of torch": 9}


def test_times_and_speeds_are_no_likeness():
    names = ("step_ms", "train_s", "mfu", "loss", "val_loss", "grad_norm")
    assert [is_timing(name) for name in names] == [True, True, True, False, False, False]


def test_a_line_that_is_still_being_written_waits(tmp_path):
    path = tmp_path / "metrics.jsonl"
    follower = Follower(path)
    path.write_text('{"step": 1}\n{"st')
    assert list(follower.new_lines()) == [{"step": 1}]
    path.write_text('{"step": 1}\n{"step": 2}\n')
    assert list(follower.new_lines()) == [{"step": 2}]


@pytest.mark.parametrize(
    ("value", "kind"), [(2.5, int), (True, int), (True, float), ("1", int), (1, bool), (1, str)]
)
def test_a_value_of_another_kind_is_refused(value, kind):
    with pytest.raises(ConfigError, match="must be"):
        coerce(value, kind, "name")


def test_whole_numbers_and_fractions_pass_as_each_other_only_without_loss():
    assert (coerce(3.0, int, "n"), coerce(3, float, "n")) == (3, 3.0)
    assert type(coerce(3.0, int, "n")) is int


def test_allowing_one_setting_allows_no_other():
    changes = {"optim.lr": (1, 2), "optim.lr_extra": (1, 2)}
    with pytest.raises(ConfigError, match=r"optim\.lr_extra"):
        refuse_changes(changes, ["optim.lr"])
    refuse_changes(changes, ["optim"])


def test_alpha_left_open_is_twice_the_rank():
    pytest.importorskip("peft")
    from altgrad.model import GPT, GPTConfig
    from altgrad.training.adapters import adapt
    from altgrad.training.finetune import FinetuneConfig

    for alpha, scaling in ((None, 2.0), (3, 0.75)):
        model = GPT(GPTConfig(vocab_size=11, block_size=4, n_layer=1, n_head=1, n_embd=8))
        adapt(model, FinetuneConfig(name="lora", r=4, alpha=alpha), seed=1)
        found = {m.scaling["default"] for m in model.modules() if hasattr(m, "scaling")}
        assert found == {scaling}
