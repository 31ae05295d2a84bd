"""Import paths that outside users already know."""

import subprocess
import sys
from pathlib import Path

import pytest

DOORS = (
    "altgrad.training: GPT, GPTConfig, FP32ShadowModel, Trainer, TrainConfig",
    "altgrad.training: CheckpointManager, build_run, load_run, save_checkpoint, load_checkpoint, "
    "compute_gradient_stats, compute_perplexity, gradient_cosine_similarity, get_batch, "
    "prepare_eurlex, WandbTracker, set_seed",
    "altgrad.training.model: GPT, GPTConfig",
    "altgrad.training.trainer: Trainer",
    "altgrad.training.shadow: FP32ShadowModel",
    "altgrad.training.config: TrainConfig, ConfigError",
    "altgrad.training.metrics: gradient_cosine_similarity, compute_gradient_stats",
    "altgrad.training.metrics: compute_perplexity",
    "altgrad.training.checkpoint: CheckpointManager, save_checkpoint, load_checkpoint",
    "altgrad.training.callbacks: WandbTracker",
    "altgrad.training.data: get_batch, prepare_eurlex",
    "altgrad.quantization: BitStallDetector",
)


EACH_ALONE = """
import os, sys
import lightning_fabric, torch  # not ours, and slow: loaded once for all doors
assert not [name for name in sys.modules if name.startswith("altgrad")]
for door in sys.argv[1:]:
    if os.fork() == 0:
        module, _, names = door.partition(": ")
        try:
            exec(f"from {module} import {names}; assert all([{names}])", {})
        except BaseException as error:
            print(door, repr(error))
            sys.stdout.flush()
        os._exit(0)
    os.wait()
"""


def test_what_outside_users_import_is_there():
    """Each door in a process that has loaded nothing of the package before."""
    command = [sys.executable, "-W", "ignore", "-c", EACH_ALONE, *DOORS]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == ""


def test_the_face_of_training_loads_nothing_until_a_name_is_used():
    program = (
        "import sys, altgrad.training; assert not {'torch', 'lightning_fabric'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_everything_that_training_names_is_behind_a_door_here():
    from altgrad import training

    listed = {n for d in DOORS[:2] for n in d.partition(": ")[2].split(", ")}
    assert listed == set(training.__all__)


SCRIPTS = {
    "get_batch": """
from altgrad.training import get_batch
x, y = get_batch("train", "tokens", 8, 4, "cpu")
assert x.shape == y.shape == (4, 8) and (x[:, 1:] == y[:, :-1]).all()
""",
    "compute_gradient_stats": """
import torch
from altgrad.training import compute_gradient_stats
model = torch.nn.Linear(2, 1, bias=False)
model(torch.tensor([[3.0, 4.0]])).sum().backward()
stats = compute_gradient_stats(model)
assert stats["grad_norm_l2/weight"] == 5.0 and stats["grad_norm_linf/max"] == 4.0, stats
""",
    "gradient_cosine_similarity": """
import torch
from altgrad.training import gradient_cosine_similarity
a, b = torch.nn.Linear(2, 1, bias=False), torch.nn.Linear(2, 1, bias=False)
a(torch.tensor([[1.0, 0.0]])).sum().backward()
b(torch.tensor([[3.0, 4.0]])).sum().backward()
assert abs(gradient_cosine_similarity(a, b)["grad_cos_sim/mean"] - 0.6) < 1e-6
""",
    "compute_perplexity": """
import math
from altgrad.training import compute_perplexity
assert abs(compute_perplexity(math.log(65)) - 65) < 1e-9
assert compute_perplexity(1e4) == math.inf
""",
    "CheckpointManager": """
import torch
from altgrad.training import CheckpointManager
manager = CheckpointManager("kept", max_checkpoints=1)
for step, loss in ((1, 2.0), (2, 3.0), (3, 4.0)):
    manager.save(step, torch.nn.Linear(2, 2), val_loss=loss)
assert manager.best().name == "step_00000001" and manager.latest().name == "step_00000003"
assert len(manager.all()) == 2
""",
    "set_seed": """
import random
import numpy, torch
from altgrad.training import set_seed
def draw():
    set_seed(7)
    return random.random(), numpy.random.rand(), torch.rand(1).item()
torch.manual_seed(7)
wanted = torch.rand(1).item()
assert draw() == draw() and draw()[2] == wanted
""",
    "save_checkpoint and load_checkpoint": """
import torch
from altgrad.training import load_checkpoint, save_checkpoint
def made():
    model = torch.nn.Linear(3, 2)
    return model, torch.optim.AdamW(model.parameters(), lr=0.1)
def step(model, optimizer):
    optimizer.zero_grad()
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
model, optimizer = made()
step(model, optimizer)
state = {"format": "e4m3", "amax": [torch.tensor(2.0), 3]}
save_checkpoint("out/ckpt.pt", model, optimizer, None, 5, {"lr": 0.1}, state)
save_checkpoint("out/ckpt.pt", model, optimizer, None, 6, {"lr": 0.1}, state)
other, its = made()
found = load_checkpoint("out/ckpt.pt", other, its, None)
assert found[:2] == (6, {"lr": 0.1}) and found[2]["amax"] == [torch.tensor(2.0), 3], found
step(model, optimizer)
step(other, its)
assert torch.equal(model.weight, other.weight)
""",
    "a pickle": """
import torch
from altgrad.training import load_checkpoint
torch.save({"model": {}}, "old.pt")
try:
    load_checkpoint("old.pt", torch.nn.Linear(1, 1))
except ValueError as error:
    assert "never opened" in str(error) and "weights_only=True" in str(error), error
else:
    raise AssertionError("it was opened")
""",
    "WandbTracker.check_alerts": """
import math
from altgrad.training.callbacks import Decider
from altgrad.training import TrainConfig
decider = Decider(TrainConfig(nan_patience=3, guards={"divergence_patience": 2, "nan_patience": 3}))
asked = lambda **m: decider.judge(m)[0]
assert asked(loss=2.0, grad_norm=1.0) == "continue"
assert [asked(loss=math.nan) for _ in range(3)] == ["save_checkpoint", "continue", "stop"]
assert [asked(loss=1.0, val_loss=v) for v in (1.0, 2.0, 3.0)] == ["continue"] * 2 + [
    "save_checkpoint"
]
""",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_that_uses_nothing_else(name, data_dir):
    exec(compile(SCRIPTS[name], name, "exec"), {})


def test_a_script_with_wandb(monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    from altgrad.training import WandbTracker

    config = {"learning_rate": 0.1, "n_layer": 2, "project": "mine"}
    tracker = WandbTracker(config, run_id="known1")
    tracker.log_step(1, {"loss": 2.0})
    assert tracker.check_alerts(1, {"loss": 2.0}, config) == "continue"
    assert tracker.check_alerts(2, {"loss": float("nan")}, config) == "save_checkpoint"
    tracker.close("finished")
    assert tracker.id == "known1"
    assert list(Path("runs/known1/wandb").glob("offline-run-*known1"))
    with pytest.raises(ValueError, match="Did you mean"):
        WandbTracker({"learning_rat": 0.1})
