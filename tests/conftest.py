"""Small things to train on. Nothing here is downloaded."""

import signal
from pathlib import Path

import numpy as np
import pytest

from altgrad import trust
from altgrad.model import GPT, GPTConfig
from altgrad.training import TrainConfig
from tests import oracle_tally

VOCABULARY = 13

# A shell that runs the tests in the background has SIGINT ignored, and children inherit that: no
# Ctrl-C that a test sends would reach them then.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter):
    found = oracle_tally.totals(terminalreporter.stats.get("passed", []))
    if found:
        terminalreporter.section("outside oracles")
        for line in oracle_tally.lines(found):
            terminalreporter.write_line(line)


@pytest.fixture
def compared(record_property):
    """`compared(oracle, what, cases)` notes that so many cases were found equal."""
    return lambda oracle, what, cases: record_property(
        oracle_tally.PROPERTY, (oracle, what, int(cases))
    )


@pytest.fixture
def bit_equal(compared):
    """`bit_equal(oracle, what, mine, theirs)`: equal arrays, NaN for NaN, with equal zero signs."""

    def check(oracle: str, what: str, mine, theirs) -> None:
        mine, theirs = np.asarray(mine), np.asarray(theirs)
        assert mine.shape == theirs.shape
        both_nan = np.isnan(mine) & np.isnan(theirs)
        equal = both_nan | ((mine == theirs) & (np.signbit(mine) == np.signbit(theirs)))
        assert equal.all(), f"{(~equal).sum()} of {equal.size} differ from {oracle}"
        compared(oracle, what, mine.size)

    return check


@pytest.fixture(autouse=True)
def _private_places(tmp_path, monkeypatch):
    """Every test has its own working folder, cache and memory of what its person has typed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(trust, "_said", {})
    monkeypatch.setattr(trust, "_typed", set())
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
