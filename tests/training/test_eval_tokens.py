"""A fixed part of the validation split: its loss, its bits per byte, and who says so."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from altgrad.compare.fairness import _evaluated
from altgrad.data import load_tokenizer
from altgrad.quantization import PrecisionConfig
from altgrad.runs.lines import read_jsonl
from altgrad.training import TrainConfig, Trainer
from altgrad.training.build import build_run

TEXT = "Ünder the greenwood tree, who loves to lie with me?\n" * 60


def test_it_is_the_mean_over_the_first_tokens(make_config, make_model, data_dir):
    config = make_config(eval_tokens=37)
    trainer = Trainer(config, make_model(config), data_dir, "cpu")
    ids = torch.from_numpy(np.fromfile(data_dir / "val.bin", np.uint16).astype(np.int64))
    losses = []
    for start in range(0, 37, 8):  # blocks of 8, the last of 5
        x, y = ids[start : min(start + 8, 37)], ids[start + 1 : min(start + 9, 38)]
        with torch.no_grad():
            losses.append(trainer.model.eval()(x[None], y[None], loss_reduction="sum")[1].item())
    assert trainer.eval_step() == pytest.approx(sum(losses) / 37, rel=1e-6)


def test_more_than_there_is_is_all_of_it(make_config, make_model, data_dir):
    whole, more = (
        Trainer(c, make_model(c), data_dir, "cpu")
        for c in (make_config(), make_config(eval_tokens=10**9))
    )
    assert whole.eval_step() == more.eval_step()


def test_bits_per_byte_are_of_the_bytes_of_that_part(make_config):
    Path("text.txt").write_text(TEXT)
    config = make_config(max_steps=1, eval_interval=1, eval_tokens=100)
    config.data.path, config.model.vocab_size = "text.txt", None
    trainer = build_run(config)
    run = Path(trainer.train()["run_dir"])
    last = list(read_jsonl(run / "metrics.jsonl"))[-1]
    ids = trainer.evaluator.tokens
    assert len(ids) == 101
    n_bytes = len(load_tokenizer(trainer.data_dir).decode(ids.tolist()).encode())
    assert n_bytes > 101
    told = last["val_loss"] * 100 / math.log(2) / last["val_bits_per_byte"]
    assert told == pytest.approx(n_bytes, rel=1e-9)


def test_the_unrounded_loss_is_there_only_when_asked_for(make_config, make_model, data_dir):
    found = []
    for asked in (False, True):
        config = make_config(
            precision=PrecisionConfig(simulate=True, format="e4m3"),
            max_steps=1,
            eval_interval=1,
            eval_unrounded=asked,
            run_dir=f"runs/{asked}",
        )
        trainer = Trainer(config, make_model(config), data_dir, "cpu")
        trainer.train()
        found.append(list(read_jsonl(trainer.recorder.folder.metrics))[-1])
    assert "val_loss_unrounded" not in found[0]
    assert found[1]["val_loss_unrounded"] != found[1]["val_loss"]
    assert found[0]["val_loss"] == found[1]["val_loss"]


def test_it_is_checked_and_a_report_says_it():
    with pytest.raises(ValueError, match="eval_tokens=0 must be at least 1"):
        TrainConfig(eval_tokens=0)
    limited = _evaluated(TrainConfig(eval_tokens=65536).to_dict())
    assert limited == "the first 65,536 tokens of the validation split"
    assert _evaluated({}) == "the whole validation split"
