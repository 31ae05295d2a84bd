"""Comparisons of tiny runs: a dozen steps of a model of a few hundred weights."""

from pathlib import Path

import pytest
import yaml

from altgrad.compare.comparison import Comparison
from altgrad.compare.conclusion import conclude
from altgrad.compare.launching.launch import take_launch_words
from altgrad.compare.question import read_question
from altgrad.training.config import TrainConfig
from tests.conftest import VOCABULARY


@pytest.fixture
def compose(data_dir):
    """Words -> settings, without Hydra: every word is a full setting name."""
    return composing(data_dir)


def composing(data_dir: Path):
    def make(words: list[str]) -> TrainConfig:
        values = TrainConfig(
            n_layer=1, n_head=1, n_embd=8, block_size=8, vocab_size=VOCABULARY, batch_size=2
        ).to_dict()
        values |= {"max_steps": 6, "eval_interval": 3, "device": "cpu"}
        values["data"]["path"] = str(data_dir)
        for word in words:
            name, _, text = word.partition("=")
            *path, leaf = name.split(".")
            group = values
            for part in path:
                group = group[part]
            group[leaf] = yaml.safe_load(text.replace("1e-", "1.0e-"))
        return TrainConfig.from_dict(values)

    return make


@pytest.fixture
def ask(compose):
    """`ask("optim.lr=0.1,0.2 seeds=2")`: a comparison, not yet run."""

    def make(words: str, **how) -> Comparison:
        launch, rest = take_launch_words(["threads=1", *words.split()])
        return Comparison(read_question(rest), compose, launch=launch, command=words, **how)

    return make


@pytest.fixture
def here(monkeypatch):
    """Runs are made in this process instead of a child: the launcher is not what is tested."""
    run_here(monkeypatch)


def run_here(monkeypatch) -> None:
    from altgrad.compare.launching import sweep

    def run(tasks, how, slots, done):
        from altgrad.compare.launching.worker import run_task

        for task in tasks:
            try:
                run_task(task)
            except Exception:
                assert (Path(task.run) / "events.jsonl").is_file()
            done(task)

    monkeypatch.setitem(sweep.LAUNCHERS, "local", run)


@pytest.fixture
def finished(ask, here):
    """`finished("…")`: the conclusion of a comparison that has run."""
    return lambda words: conclude(ask(words).run())
