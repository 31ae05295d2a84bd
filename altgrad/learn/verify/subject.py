"""What is verified: the configured parts at a size at which proofs take seconds."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from altgrad.model import GPT, GPTConfig

B, T, V = 3, 8, 23
HEAD_DIM = 8


@dataclass
class Subject:
    """A configuration and small models made from it."""

    config: Any  # TrainConfig
    model_config: GPTConfig

    def fresh(self, *, seed: int = 0, **changes: Any) -> GPT:
        """A newly initialised model in evaluation mode, with some settings changed."""
        config = replace(self.model_config, **changes)
        return GPT(config, torch.Generator().manual_seed(seed)).eval()

    def awake(self, *, dtype: torch.dtype = torch.float64, **changes: Any) -> GPT:
        """The same with noise on every parameter, so that nothing is hidden by zeros."""
        model = self.fresh(**changes).to(dtype)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.add_(0.3 * noise.to(dtype))
        return model

    def ids(self, batch: int = B, length: int = T, *, seed: int = 0) -> Tensor:
        return torch.randint(
            V, (batch, length), generator=torch.Generator().manual_seed(100 + seed)
        )


def shrink(config: GPTConfig) -> GPTConfig:
    """The same parts, ratios of heads and pattern of layers, in few and narrow layers."""
    n_kv_head = config.n_head if config.n_kv_head is None else config.n_kv_head
    group = config.n_head // n_kv_head
    kv_heads = 1 if n_kv_head == 1 else 2
    n_head = kv_heads * group if group <= 4 else kv_heads * 2
    n_layer = max(2, len(config.windows))
    return replace(
        config,
        vocab_size=V,
        block_size=T,
        n_layer=n_layer,
        n_head=n_head,
        n_kv_head=kv_heads,
        n_embd=n_head * HEAD_DIM,
        head_dim=None,
        n_inner=None,
        dropout=0.0,
        windows=[w if w == -1 else min(w, T - 2) for w in config.windows],
    )
