"""Two processes on CPU (gloo) do what one process does with twice the accumulation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import altgrad
from altgrad.training import Trainer
from altgrad.training.checkpoints.manager import find_checkpoint, load_weights

SCRIPT = """
import sys, json
from altgrad.training import TrainConfig, Trainer, GPT
import torch
settings = json.loads(sys.argv[1])
config = TrainConfig(**settings)
model = GPT(config.model, torch.Generator().manual_seed(config.seed))
trainer = Trainer(config, model, sys.argv[2], "cpu")
if len(sys.argv) > 3 and sys.argv[3]:
    trainer.resume(sys.argv[3])
trainer.train(int(sys.argv[4]) if len(sys.argv) > 4 else None)
"""


def run_script(*words: str) -> None:
    root = Path(altgrad.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "script.py", *words],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_two_processes_equal_one_with_twice_the_accumulation(
    make_config, make_model, data_dir, tmp_path, strategy, optimiser
):
    Path("script.py").write_text(SCRIPT)
    config = make_config(accumulation=2, max_steps=4, run_dir=str(tmp_path / "one"))
    config.optim.name = optimiser
    Trainer(config, make_model(config), data_dir, "cpu").train()

    settings = {
        **config.to_dict(),
        "accumulation": 1,
        "devices": 2,
        "strategy": strategy,
        "run_dir": str(tmp_path / "two"),
    }
    run_script(json.dumps(settings), str(data_dir))
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=1e-5)
    one = load_weights(find_checkpoint(tmp_path / "one"))
    two = load_weights(find_checkpoint(tmp_path / "two"))
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_resume_exactly(make_config, data_dir, tmp_path, strategy):
    """With dropout: each process finds its own generators again."""
    Path("script.py").write_text(SCRIPT)
    config = make_config(max_steps=6, eval_interval=-1, dropout=0.2)
    shared = {**config.to_dict(), "devices": 2, "strategy": strategy}
    whole = {**shared, "run_dir": str(tmp_path / "whole")}
    cut = {**shared, "run_dir": str(tmp_path / "cut")}
    run_script(json.dumps(whole), str(data_dir))
    run_script(json.dumps(cut), str(data_dir), "", "3")
    run_script(json.dumps(cut), str(data_dir), str(tmp_path / "cut"))
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")
    one = load_weights(find_checkpoint(tmp_path / "whole"))
    two = load_weights(find_checkpoint(tmp_path / "cut"))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_run_of_two_processes_ends_with_a_sample(tmp_path, strategy):
    """Each process of fsdp holds a part of the weights: the sample needs both."""
    (tmp_path / "text.txt").write_text("to be or not to be\n" * 300)
    words = [
        *("model=gpt2", "model.n_layer=1", "model.n_head=1", "model.n_embd=8"),
        *("model.block_size=8", "model.mtp_heads=1", "optim=adamw", "max_steps=2", "compile=false"),
        *("eval_tokens=64", "sample_tokens=4", "device=cpu", "precision=fp32"),
        *("devices=2", f"strategy={strategy}", "data.path=text.txt", "run_dir=run"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "altgrad", "train", *words],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "sample:\n" in done.stdout + done.stderr
    assert "no sample" not in done.stdout + done.stderr
