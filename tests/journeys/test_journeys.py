"""The three journeys of the house, each walked from the typed words to what they leave behind."""

import json
import sys
from pathlib import Path

import pytest
import torch
import yaml

from altgrad.cli import main
from altgrad.quantization import Format
from altgrad.training.build import load_run
from altgrad.training.checkpoints.manager import find_checkpoint, load_weights

# The default model, made small by sizes alone: its parts are those that a newcomer meets.
SMALL = [
    "model.n_layer=2",
    "model.n_head=2",
    "model.n_kv_head=null",
    "model.n_embd=16",
    "model.block_size=8",
    "data.path=text.txt",
    "data.batch_size=2",
    "compile=false",
    "device=cpu",
    "max_steps=4",
    "eval_interval=2",
    "sample_tokens=5",
    "run_dir=run",
]
STRANGER = """
from torch import nn

class Attention(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.mix = nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x, cos_sin=None, kv_cache=None):
        return self.mix(x).cumsum(1)
"""


@pytest.fixture(autouse=True)
def text(tmp_path):
    (tmp_path / "text.txt").write_text("To be, or not to be, that is the question.\n" * 20)


def lines() -> list[dict]:
    return [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]


def test_a_batch_becomes_one_line_of_numbers():
    assert main(["train", *SMALL, "precision=e4m3", "shadow.enabled=true"]) == 0
    assert [line["step"] for line in lines()] == [1, 2, 3, 4]
    assert all(0 < line["grad_cos_sim/mean"] <= 1.0001 for line in lines())
    assert [("val_loss" in line) for line in lines()] == [False, True, False, True]


def test_a_typed_precision_reaches_the_stored_weights():
    words = ["precision=e5m2", "precision.storage=rounded", "precision.weight.scaling=none"]
    assert main(["train", *SMALL, *words]) == 0
    assert yaml.safe_load(Path("run/config.yaml").read_text())["precision"]["format"] == "e5m2"
    values = set(Format.named("e5m2").values())
    weights = load_weights(find_checkpoint(Path("run")))
    inner = {name: w for name, w in weights.items() if "attn.c_" in name}
    assert inner
    assert all(v in values for w in inner.values() for v in w.flatten().tolist())


def test_a_strangers_attention_is_trained_rounded_shadowed_saved_and_sampled(monkeypatch, capsys):
    Path("stranger.py").write_text(STRANGER)
    monkeypatch.setattr(sys, "path", [".", *sys.path])
    words = ["model.attention=stranger:Attention", "precision=e4m3"]
    assert main(["train", *SMALL, *words, "shadow.enabled=true"]) == 0
    names = lines()[-1]
    assert any(name.startswith("overflows%/weight/transformer.h.0.attn.mix") for name in names)
    assert "grad_cos_sim/transformer.h.1.attn.mix.weight" in names
    loaded = load_run(Path("run"))
    assert type(loaded.model.transformer.h[0].attn).__name__ == "Attention"
    assert torch.isfinite(loaded.model.transformer.h[0].attn.mix.weight).all()
    capsys.readouterr()
    assert main(["sample", "run", "--prompt", "To", "--tokens", "4"]) == 0
    assert capsys.readouterr().out.startswith("To")
