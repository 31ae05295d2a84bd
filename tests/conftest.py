"""Small things to train on. Nothing here is downloaded."""

from pathlib import Path

import numpy as np
import pytest

from altgrad.model import GPT, GPTConfig
from altgrad.training import TrainConfig

VOCABULARY = 13


@pytest.fixture(autouse=True)
def _private_places(tmp_path, monkeypatch):
    """Every test has its own working folder and its own cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALTGRAD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data_dir(tmp_path) -> Path:
    """A folder as nanoGPT makes it: learnable tokens, without metadata."""
    folder = tmp_path / "tokens"
    folder.mkdir()
    ids = (np.arange(4000) % VOCABULARY).astype(np.uint16)
    ids[:3500].tofile(folder / "train.bin")
    ids[3500:].tofile(folder / "val.bin")
    return folder


@pytest.fixture
def make_config(tmp_path):
    """`make_config(max_steps=3, …)`: settings of a run that takes a second."""

    def make(**settings) -> TrainConfig:
        tiny = {
            "n_layer": 2,
            "n_head": 2,
            "n_embd": 16,
            "block_size": 8,
            "vocab_size": VOCABULARY,
            "batch_size": 4,
            "learning_rate": 1e-2,
            "max_steps": 6,
            "eval_interval": 3,
            "device": "cpu",
            "run_dir": str(tmp_path / "run"),
        }
        return TrainConfig(**{**tiny, **settings})

    return make


@pytest.fixture
def make_model():
    """`make_model(config)`: its network, initialised from its seed."""
    import torch

    def make(config: TrainConfig) -> GPT:
        assert isinstance(config.model, GPTConfig)
        return GPT(config.model, torch.Generator().manual_seed(config.seed))

    return make
