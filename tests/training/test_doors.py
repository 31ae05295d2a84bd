"""Import paths that outside users already know."""

import subprocess
import sys

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


EACH_ALONE = """
import os, sys
import lightning.fabric, torch  # not ours, and slow: loaded once for all doors
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
    program = "import sys, altgrad.training; assert not {'torch', 'lightning'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_everything_that_training_names_is_behind_a_door_here():
    from altgrad import training

    listed = {n for d in DOORS[:2] for n in d.partition(": ")[2].split(", ")}
    assert listed == set(training.__all__)
