"""A door: `from altgrad.training.checkpoint import CheckpointManager`; see `checkpoints/`.

`save_checkpoint` and `load_checkpoint` are for training loops of one's own: a folder as a run's,
nothing in it needs unpickling.
"""

from pathlib import Path
from typing import Any

from torch import nn

from altgrad.training.checkpoints import (
    CheckpointError,
    CheckpointManager,
    load_checkpoint_content,
    load_into,
    save_checkpoint_content,
)

CONVERT = (
    "{path} is a file, and a checkpoint of altgrad is a folder. A file that needs unpickling (.pt, "
    ".pth, .ckpt, .bin) can run code and is never opened here. To convert one that you trust: "
    "`state = torch.load({path!r}, weights_only=True)`, then "
    "`model.load_state_dict(state['model'])` and `save_checkpoint('checkpoint', model, optimizer, "
    "None, step, config)`"
)


def save_checkpoint(
    filepath: str | Path,
    model: nn.Module,
    optimizer: Any = None,
    scaler: Any = None,
    step: int = 0,
    config: Any = None,
    quantization_state: Any = None,
) -> Path:
    """Write the folder `filepath`, whole or not at all; returns it.

    config: a `TrainConfig`, a dict, or None. quantization_state: any nest of dicts, lists, tensors,
    numbers and texts.

    Raises:
        TypeError: the state holds something that cannot be saved.
    """
    extra = {"quantization_state": quantization_state}
    state = {"optimizer": optimizer, "scaler": scaler, "config": config, "extra": extra}
    return save_checkpoint_content(Path(filepath), step, model, **state)


def load_checkpoint(
    filepath: str | Path, model: nn.Module, optimizer: Any = None, scaler: Any = None
) -> tuple[int, dict[str, Any], Any]:
    """Fill model, optimiser and scaler in place; returns (step, config, quantization_state).

    Raises:
        CheckpointError: a pickle (with how to convert it), missing, damaged, or of another model.
    """
    path = Path(filepath)
    if path.is_file():
        raise CheckpointError(CONVERT.format(path=str(path)))
    saved = load_checkpoint_content(path)
    load_into(model, saved.model)
    for part, state in ((optimizer, saved.optimizer), (scaler, saved.scaler)):
        if part is not None and state is not None:
            part.load_state_dict(state)
    return saved.step, saved.config, saved.extra.get("quantization_state")


__all__ = ["CheckpointError", "CheckpointManager", "load_checkpoint", "save_checkpoint"]
