"""What is kept of a run's state, and how it stays whole.

`manager` decides which checkpoints stay, `files` writes and reads one, `manifest` covers every byte
of it by a sha256, `tensor_file` and `state_json` are its two kinds of content (no code in either),
`background` writes while training goes on, `tied_weights` saves a shared tensor once, `garbage`
removes what no resume will need.
"""

from altgrad.training.checkpoints.background import SaveOutcome, Saver
from altgrad.training.checkpoints.files import Checkpoint, available_memory, read_shapes
from altgrad.training.checkpoints.manager import (
    CheckpointManager,
    checkpoints_of,
    find_checkpoint,
    load_checkpoint,
    load_checkpoint_content,
    load_weights,
    save_checkpoint_content,
    step_of,
)
from altgrad.training.checkpoints.manifest import CheckpointError, read_manifest
from altgrad.training.checkpoints.tied_weights import load_into

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "CheckpointManager",
    "SaveOutcome",
    "Saver",
    "available_memory",
    "checkpoints_of",
    "find_checkpoint",
    "load_checkpoint",
    "load_checkpoint_content",
    "load_into",
    "load_weights",
    "read_manifest",
    "read_shapes",
    "save_checkpoint_content",
    "step_of",
]
