"""The same settings start the same run, in whatever process; weights that are brought are told."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import altgrad
from altgrad.data import DataConfig
from altgrad.data.config import cache_root
from altgrad.data.metadata import Metadata, SplitInfo
from altgrad.data.prepare import folder_of
from altgrad.data.sources import find_source
from altgrad.data.tokenizers import identify
from altgrad.model import GPT, GPTConfig
from altgrad.runs.history import read_initial
from altgrad.settings import ConfigError
from altgrad.training import TrainConfig, Trainer
from altgrad.training.build import build_run
from altgrad.training.reproduce import reproduce

ROOT = Path(altgrad.__file__).parents[1]
README = (ROOT / "README.md").read_text()
SHORT = {"max_steps=200": "max_steps=2, device='cpu', eval_interval=2"}


@pytest.fixture
def shakespeare(monkeypatch, tmp_path):
    """Tokens in the place of Tiny Shakespeare's, so that nothing is fetched."""
    monkeypatch.setenv("ALTGRAD_CACHE", str(tmp_path / "cache"))
    config = DataConfig()
    folder = folder_of(config, find_source(config), identify("char", cache_root(config)))
    folder.mkdir(parents=True)
    counts = {"train": 3000, "val": 300}
    for split, count in counts.items():
        np.random.default_rng(0).integers(0, 65, count).astype(np.uint16).tofile(
            folder / f"{split}.bin"
        )
    vocabulary = "".join(map(chr, range(32, 97)))
    Metadata(
        corpus="shakespeare",
        licence="",
        sources=[],
        split_rule="",
        tokenizer={"name": "char", "vocabulary": vocabulary},
        vocab_size=65,
        dtype="uint16",
        splits={s: SplitInfo(tokens=n, bytes=n, characters=n) for s, n in counts.items()},
    ).write(folder)


def test_the_readmes_example_gives_one_loss_in_two_processes_and_in_both_ways(
    shakespeare, tmp_path
):
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    for long, short in SHORT.items():
        assert long in block
        block = block.replace(long, short)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    printed = [
        subprocess.run(
            [sys.executable, "-c", block],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for _ in range(2)
    ]
    assert printed[0] == printed[1]
    assert len(printed[0]) == 2
    assert printed[0][0] == printed[0][1]


def test_the_config_of_a_run_draws_the_weights_of_its_seed(make_config):
    drawn = {}
    for seed in (1, 2):
        config = make_config(seed=seed)
        first, again = GPT(config.model), GPT(config.model)
        own = GPT(config.model, torch.Generator().manual_seed(seed))
        drawn[seed] = first.lm_head.weight
        assert torch.equal(first.lm_head.weight, again.lm_head.weight)
        assert torch.equal(first.lm_head.weight, own.lm_head.weight)
    assert not torch.equal(drawn[1], drawn[2])


def test_a_seed_set_later_counts(make_config):
    config, other = make_config(seed=1), make_config(seed=2)
    config.seed = 2
    config.n_layer = 1
    other.n_layer = 1
    assert torch.equal(GPT(config.model).lm_head.weight, GPT(other.model).lm_head.weight)


def test_a_config_that_two_runs_share_keeps_their_seeds_apart():
    shared = GPTConfig(vocab_size=13, block_size=8, n_layer=1, n_head=1, n_embd=8)
    a, b = TrainConfig(model=shared, seed=1), TrainConfig(model=shared, seed=2)
    assert (a.model.run_seed, b.model.run_seed, shared.run_seed) == (1, 2, None)
    assert a.model == b.model


def run_of(config, model, data_dir) -> Path:
    trainer = Trainer(config, model, data_dir, "cpu")
    return Path(trainer.train()["run_dir"])


def notes_of(run: Path) -> str:
    lines = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    return " ".join(e["text"] for e in lines if e["event"] == "note")


def test_drawn_weights_are_recorded_with_their_seed(make_config, data_dir):
    config = make_config(max_steps=1)
    run = run_of(config, GPT(config.model), data_dir)
    assert read_initial(run)["from"] == f"seed {config.seed}"
    assert "initial weights" not in notes_of(run)


def other_generator(config: TrainConfig) -> GPT:
    return GPT(config.model, torch.Generator().manual_seed(99))


def loaded(config: TrainConfig) -> GPT:
    model = GPT(config.model)
    model.load_state_dict(other_generator(config).state_dict())
    return model


class Own(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = GPT(GPTConfig(vocab_size=13, block_size=8, n_layer=1, n_head=1, n_embd=8))

    def forward(self, idx, targets=None):
        return self.net(idx, targets)


@pytest.mark.parametrize("make", [other_generator, loaded, lambda config: Own()])
def test_weights_that_are_brought_train_and_are_told(make, make_config, data_dir):
    config = make_config(max_steps=1)
    run = run_of(config, make(config), data_dir)
    assert read_initial(run)["from"] == "given"
    assert "initial weights: given, not drawn from seed=1337" in notes_of(run)


def test_a_run_of_given_weights_is_not_repeated_with_others(make_config, data_dir):
    config = make_config(max_steps=1)
    config.data.path = str(data_dir)
    run = run_of(config, other_generator(config), data_dir)
    with pytest.raises(ConfigError, match="started from weights that were given"):
        reproduce(run)


def test_a_run_made_part_by_part_is_reproduced_bit_for_bit(make_config, data_dir):
    config = make_config(max_steps=2)
    config.data.path = str(data_dir)
    run = run_of(config, GPT(config.model), data_dir)
    assert reproduce(run).likeness.identical


def test_the_hash_is_of_the_weights_before_anything_was_done_to_them(make_config, data_dir):
    """Another precision or optimiser starts from the same weights, and that is what is kept."""
    found = []
    for name, changes in {"plain": {}, "rounded": {"use_fp8": True, "learning_rate": 0.3}}.items():
        config = make_config(max_steps=1, run_dir=name, **changes)
        config.data.path = str(data_dir)
        if changes:
            config.precision.storage = "rounded"
        found.append(read_initial(Path(build_run(config).train()["run_dir"])))
    assert found[0] == found[1]
    assert "transformer.h.0.attn.c_q.weight" in found[0]["tensors"]
