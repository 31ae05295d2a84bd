"""Import paths that outside users already know, each in an interpreter of its own."""

import subprocess
import sys

import pytest

DOORS = (
    "altgrad.training: GPT, GPTConfig, FP32ShadowModel, Trainer, TrainConfig",
    "altgrad.training: CheckpointManager, build_run, load_run",
    "altgrad.training.model: GPT, GPTConfig",
    "altgrad.training.trainer: Trainer",
    "altgrad.training.shadow: FP32ShadowModel",
    "altgrad.training.config: TrainConfig, ConfigError",
    "altgrad.training.metrics: gradient_cosine_similarity, compute_gradient_stats",
    "altgrad.training.metrics: compute_perplexity",
    "altgrad.training.checkpoint: CheckpointManager",
    "altgrad.training.callbacks: WandbTracker",
    "altgrad.training.data: get_batch",
    "altgrad.quantization: BitStallDetector",
)


@pytest.mark.parametrize("door", DOORS)
def test_what_outside_users_import_is_there(door):
    module, _, names = door.partition(": ")
    program = f"from {module} import {names}; assert all([{names}])"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_face_of_training_loads_nothing_until_a_name_is_used():
    program = "import sys, altgrad.training; assert not {'torch', 'lightning'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_everything_that_training_names_is_behind_a_door_here():
    from altgrad import training

    listed = {n for d in DOORS[:2] for n in d.partition(": ")[2].split(", ")}
    assert listed == set(training.__all__)
