"""Normalisation parts: `Norm(width, config)` acts on the last dimension."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from altgrad.model.config import GPTConfig
from altgrad.model.parts import resolve


class LayerNorm(nn.LayerNorm):
    """(x - mean) / sqrt(var + eps) · weight + bias (Ba et al. 2016, arXiv 1607.06450)."""

    def __init__(self, width: int, config: GPTConfig):
        super().__init__(width, eps=config.norm_eps, bias=config.bias)


class RMSNorm(nn.RMSNorm):
    """x / sqrt(mean(x²) + eps) · weight (Zhang & Sennrich 2019, arXiv 1910.07467)."""

    def __init__(self, width: int, config: GPTConfig):
        super().__init__(width, eps=config.norm_eps)


class PlainRMSNorm(nn.Module):
    """x / sqrt(mean(x²) + eps): nothing to learn."""

    def __init__(self, width: int, config: GPTConfig):
        super().__init__()
        self.width = width
        self.eps = config.norm_eps

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        return F.rms_norm(x, (self.width,), eps=self.eps)


def build_norm(config: GPTConfig, width: int) -> nn.Module:
    """The configured norm over `width` channels."""
    return resolve("norm", config.norm)(width, config)
