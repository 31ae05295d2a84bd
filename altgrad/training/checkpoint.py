"""A door: `from altgrad.training.checkpoint import CheckpointManager`; see `checkpoints/`."""

from altgrad.training.checkpoints import CheckpointError, CheckpointManager

__all__ = ["CheckpointError", "CheckpointManager"]
