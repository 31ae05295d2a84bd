"""The first steps may see shorter blocks: the same tokens in the same order, cut smaller."""

import copy
import json

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from altgrad.runs.folder import RunFolder
from altgrad.settings import ConfigError
from altgrad.training.build import build_run
from altgrad.training.config import TrainConfig

STEPS, SHORT = 6, 4


@pytest.fixture
def config(make_config, data_dir):
    """Half of six steps in pieces of four tokens."""
    made = make_config(max_steps=STEPS, eval_interval=-1)
    made.data.path = str(data_dir)
    made.schedule.short_context = SHORT
    assert made.model.block_size > SHORT
    return made


def weights(trainer):
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


def test_short_steps_are_those_of_the_batch_cut_by_hand(config, tmp_path):
    plain = copy.deepcopy(config)
    plain.schedule.short_context, plain.run_dir = None, str(tmp_path / "plain")
    ours, by_hand = build_run(config), build_run(plain)
    for step in range(STEPS):
        x, y = ours._next_batch()
        pieces = (SHORT if step < STEPS // 2 else x.size(1),)
        rows = [t.reshape(-1, *pieces) for t in (x, y)]
        assert torch.equal(rows[0][:, 1:], rows[1][:, :-1])  # a target is the token after
        assert ours.train_step(x, y)["loss"] == by_hand.train_step(*rows)["loss"]
    for name, p in weights(by_hand).items():
        assert torch.equal(p, weights(ours)[name]), name


@pytest.mark.parametrize("stop", [STEPS // 2 - 1, STEPS // 2])
def test_a_run_resumed_at_the_switch_ends_as_the_uninterrupted_one(config, tmp_path, stop):
    config.checkpoint_interval = stop
    whole = build_run(config)
    whole.train()
    other = copy.deepcopy(config)
    other.run_dir = str(tmp_path / "other")
    first = build_run(other)
    first.train(stop)
    other.run_dir = str(tmp_path / "third")
    second = build_run(other)
    second.resume(first.recorder.folder.root)
    second.train()
    for name, p in weights(whole).items():
        assert torch.equal(p, weights(second)[name]), name


def test_a_step_has_as_many_tokens_in_both_contexts(config):
    seen = []
    trainer = build_run(config)
    take = trainer._take_step
    trainer._take_step = lambda x, y, step: (seen.append(tuple(x.shape)), take(x, y, step))[1]
    trainer.train()
    batch, block = config.data.batch_size, config.model.block_size
    short = (batch * block // SHORT, SHORT)
    assert seen == [short] * 3 + [(batch, block)] * 3


def test_each_context_gets_graphs_of_its_own_and_no_other(config, monkeypatch):
    torch._dynamo.reset()
    counter, real = CompileCounter(), torch.compile
    # Fabric compiles its copy with the words it finds, the backend among them.
    monkeypatch.setattr(torch, "compile", lambda m, **how: real(m, **how | {"backend": counter}))
    config.compile, config.eval_interval = True, STEPS
    trainer = build_run(config)
    summary = trainer.train()
    assert counter.frame_count == 2 * 3  # embedding, layer, head
    lines = [
        json.loads(line) for line in RunFolder(config.run_dir).metrics.read_text().split("\n")[:-1]
    ]
    compiled = [line["step"] for line in lines if "compile_s" in line]
    assert compiled == [1, STEPS // 2 + 1]  # neither counts as training
    assert summary["compile_s"] == sum(line.get("compile_s", 0.0) for line in lines)


@pytest.mark.parametrize("short", [0, 3, 1000])
def test_a_context_that_does_not_divide_the_block_is_refused(short):
    with pytest.raises(ValueError, match=rf"short_context={short} must divide model.block_size=8"):
        TrainConfig(block_size=8, schedule={"short_context": short})


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_that_leaves_one_context_is_refused(share):
    with pytest.raises((ValueError, ConfigError), match=f"short_fraction={share} must lie between"):
        TrainConfig(schedule={"short_context": 8, "short_fraction": share})
