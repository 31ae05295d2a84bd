"""A door: `from altgrad.training.data import get_batch`. Tokens live in `data/`."""

from altgrad.data import get_batch

__all__ = ["get_batch"]
