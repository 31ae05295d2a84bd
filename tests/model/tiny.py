"""A GPT small enough to run a battery of checks on, with all its weights awake."""

from typing import Any

import torch
from torch import Tensor

from altgrad.model import GPT, GPTConfig

V, T = 11, 8


def tiny_config(**changes: Any) -> GPTConfig:
    """Two layers, four heads of four channels, with the given settings."""
    sizes = {"n_layer": 2, "n_head": 4, "n_embd": 16, "block_size": T, "vocab_size": V}
    return GPTConfig(**sizes | changes)


def awake(config: GPTConfig, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> GPT:
    """A model in evaluation mode whose every parameter, zero-initialised ones too, is random."""
    generator = torch.Generator().manual_seed(seed)
    model = GPT(config, generator).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.3 * noise.to(dtype))
    return model.eval()


def tokens(batch: int = 2, length: int = T, *, seed: int = 5, vocab_size: int = V) -> Tensor:
    return torch.randint(vocab_size, (batch, length), generator=torch.Generator().manual_seed(seed))
