"""A door: `from altgrad.training.model import GPT, GPTConfig`. The network lives in `model/`."""

from altgrad.model import GPT, GPTConfig

__all__ = ["GPT", "GPTConfig"]
