"""Numbers of a run that must be right by themselves: hand-computed, or by definition."""

import math
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from altgrad.data.metadata import Metadata, SplitInfo
from altgrad.data.tokenizers import ByteTokenizer
from altgrad.evaluate.corpus import evaluate_file, mean_loss
from altgrad.model import GPT, GPTConfig
from altgrad.quantization.rounding import decibels
from altgrad.training.checkpoints.background import Saver
from altgrad.training.checkpoints.manager import CheckpointManager
from altgrad.training.evaluation import Evaluator
from altgrad.training.health.fallback import Emergency
from altgrad.training.health.watches import AlertDesk, DivergenceWatch, Watch
from altgrad.training.instruments.gradients import mean_of_finite, mean_over_std
from altgrad.training.metrics import bits_per_byte, compute_perplexity, model_flops_utilisation


class Uniform(nn.Module):
    """Gives every one of 256 tokens the same chance: ln 256 nats, 8 bits a token."""

    def __init__(self, vocab_size: int = 256):
        super().__init__()
        self.vocab_size = vocab_size
        self.weight = nn.Parameter(torch.zeros(()))
        self.config = SimpleNamespace(block_size=4)

    def forward(self, x, y, loss_reduction="mean"):
        logits = self.weight.expand(y.numel(), self.vocab_size)
        how = {"ignore_index": -1, "reduction": loss_reduction}
        return logits, nn.functional.cross_entropy(logits, y.flatten(), **how)


def test_a_byte_that_may_be_any_costs_eight_bits():
    assert bits_per_byte(math.log(256), predicted=10, n_bytes=10) == pytest.approx(8.0)


def test_a_token_of_four_bytes_costs_each_of_them_a_quarter():
    assert bits_per_byte(math.log(65_536), predicted=10, n_bytes=40) == pytest.approx(4.0)


def test_a_run_that_knows_nothing_reports_eight_bits_per_byte():
    split = SplitInfo(tokens=41, bytes=82)
    metadata = Metadata("c", "l", [], "r", None, 256, "uint16", {"val": split})
    tokens = np.arange(41, dtype=np.uint16)
    evaluator = Evaluator(
        Uniform(),
        tokens,
        block_size=4,
        batch_size=3,
        device=torch.device("cpu"),
        text_bytes=lambda _: metadata.text_bytes("val"),
    )
    found = evaluator.metrics()
    assert found["val_loss"] == pytest.approx(math.log(256))
    assert found["val_perplexity"] == pytest.approx(256)
    assert found["val_bits_per_byte"] == pytest.approx(40 * 8 / 82)  # 40 predictions, 82 bytes


def test_the_mean_over_a_split_weighs_tokens_not_batches():
    """Ten predictions in batches of eight: the last two are as good as the first eight."""

    class Half(Uniform):
        def forward(self, x, y, loss_reduction="mean"):
            known = y.flatten() >= 0
            losses = torch.where(y.flatten() < 8, 1.0, 6.0)[known]
            return None, losses.mean() if loss_reduction == "mean" else losses.sum()

    tokens = np.arange(11, dtype=np.uint16)
    expected = (7 * 1.0 + 3 * 6.0) / 10
    metadata = Metadata("c", "l", [], "r", None, 256, "uint16", {"val": SplitInfo(tokens=11)})
    how = {"device": torch.device("cpu"), "text_bytes": lambda _: metadata.text_bytes("val")}
    evaluator = Evaluator(Half(), tokens, block_size=4, batch_size=2, **how)
    assert evaluator.loss() == pytest.approx(expected)
    assert mean_loss(Half(), tokens, batch_size=2) == pytest.approx(expected)


def test_bits_per_byte_of_a_text_count_bytes_not_letters(tmp_path):
    """Of letters that take two bytes each every byte is a token: 8 bits a byte, 16 a letter."""
    (tmp_path / "text.txt").write_text("äöü" * 40)
    model = GPT(GPTConfig(vocab_size=256, block_size=16, n_layer=1, n_head=1, n_embd=8))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    found = evaluate_file(model, ByteTokenizer(), tmp_path / "text.txt")
    assert (found.tokens, found.bytes) == (240, 240)
    assert found.loss == pytest.approx(math.log(256), rel=1e-5)
    assert found.bits_per_byte == pytest.approx(8.0, rel=0.01)


def test_perplexity_and_utilisation():
    assert compute_perplexity(math.log(50)) == pytest.approx(50)
    assert compute_perplexity(1e4) == math.inf
    assert model_flops_utilisation(1000.0, 5e9, 1e13) == pytest.approx(0.5)


def test_decibels_are_of_energies():
    assert decibels(1000.0, 10.0) == pytest.approx(20.0)
    assert decibels(1.0, 0.0) == math.inf


def test_a_ratio_to_the_spread_has_no_sign_and_infinite_ones_leave_the_mean():
    assert mean_over_std(-3.0, 2.0) == 1.5
    assert mean_of_finite([1.0, math.inf, 3.0, math.nan]) == 2.0


# -- alerts ---------------------------------------------------------------------------------------


def test_a_limit_alarms_above_it_only_and_once_in_its_cool_down():
    now = [0.0]
    watch = Watch("stall", "bit_stall/total", 0.5, "lost")
    desk = AlertDesk([watch], {"warning": 300.0}, clock=lambda: now[0])
    found = []
    for second, value in ((0, 0.5), (10, 0.6), (309, 0.7), (310, 0.7), (320, 0.9)):
        now[0] = float(second)
        if desk.consider({"bit_stall/total": value}):
            found.append(second)
    assert found == [10, 310]


def test_a_divergence_is_a_rise_in_a_row():
    watch = DivergenceWatch(2)
    losses = (3.0, 3.1, 3.0, 3.1, 3.2)
    assert [watch.observe(v) is not None for v in losses] == [False] * 4 + [True]


def test_a_format_changes_after_bad_steps_in_a_row():
    config = SimpleNamespace(fallback=["e5m2", "none"], fallback_after=3, loses_updates=True)
    emergency = Emergency(config, 0.5)
    stalls = (0.9, 0.9, 0.5, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9)
    found = [emergency.observe(refused=False, bit_stall=s) for s in stalls]
    assert found == [None] * 5 + ["e5m2", None, None, "none", None]


# -- saving ---------------------------------------------------------------------------------------


def test_a_background_save_holds_what_was_there_when_it_was_asked_for(tmp_path):
    """The run goes on while the disk is slow; weights and moments change under the save."""
    manager = CheckpointManager(tmp_path)
    go_on = threading.Event()
    saver = Saver(manager, background=True, before_write=lambda: go_on.wait(30))
    model = {"w": torch.zeros(5), "b": torch.zeros(2, dtype=torch.float64)}
    moments = {"m": torch.zeros(3)}
    for step in (1, 2):
        go_on.clear()
        saver.save({"step": step, "model": model, "extra": {"moments": moments}})
        for tensor in (*model.values(), *moments.values()):
            tensor += 1
        go_on.set()
        saver.wait()
        path, saved, _ = manager.load_newest()
        assert path.name == f"step_{step:08d}"
        for tensor in (*saved.model.values(), saved.extra["moments"]["m"]):
            assert (tensor == step - 1).all()


def test_a_second_background_save_waits_for_the_first(tmp_path):
    manager, order = CheckpointManager(tmp_path), []
    real = manager.write
    manager.write = lambda captured: (order.append(captured.step), real(captured))[1]
    entered, go_on = threading.Event(), threading.Event()

    def slow():
        entered.set()
        go_on.wait(30)

    saver = Saver(manager, background=True, before_write=slow)
    saver.save({"step": 1, "model": {"w": torch.zeros(1)}})
    entered.wait(30)
    second = threading.Thread(target=saver.save, args=({"step": 2, "model": {"w": torch.ones(1)}},))
    second.start()
    second.join(0.2)
    assert second.is_alive()
    go_on.set()
    second.join(30)
    saver.wait()
    assert order == [1, 2]
    assert [outcome.step for outcome in saver.outcomes()] == [1, 2]


def test_minutes_are_counted_from_the_last_save(tmp_path):
    now = [0.0]
    saver = Saver(CheckpointManager(tmp_path), every_minutes=1, clock=lambda: now[0])
    now[0] = 61.0
    assert saver.due_by_time()
    saver.save({"step": 1, "model": {"w": torch.zeros(1)}})
    now[0] = 120.0
    assert not saver.due_by_time()
    now[0] = 121.0
    assert saver.due_by_time()


def test_steps_and_the_end_are_due():
    saver = Saver(SimpleNamespace(), every_steps=4)
    assert [s for s in range(1, 11) if saver.due_by_step(s, 10)] == [4, 8, 10]
