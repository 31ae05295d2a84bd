"""MLP parts: [B, T, C] -> [B, T, C], each position by itself. `c_proj` writes into the stream."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from altgrad.model.config import GPTConfig
from altgrad.model.dropout import build_dropout
from altgrad.model.products import products_of


class MLP(nn.Module):
    """C -> n_inner (4C) -> activation -> C; a variant gives the activation."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        n_inner = config.n_inner or 4 * config.n_embd
        self.c_fc = nn.Linear(config.n_embd, n_inner, bias=config.bias)
        self.c_proj = nn.Linear(n_inner, config.n_embd, bias=config.bias)
        self.dropout = build_dropout(config.dropout)

    def activation(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        return self.dropout(self.c_proj(self.activation(self.c_fc(x))))


class GELU(MLP):
    """x·Phi(x), exact (Hendrycks & Gimpel 2016, arXiv 1606.08415)."""

    def activation(self, x: Tensor) -> Tensor:
        return F.gelu(x)


class TanhGELU(MLP):
    """GELU by the tanh formula, as GPT-2 was trained; up to 5e-4 from the exact one."""

    def activation(self, x: Tensor) -> Tensor:
        return F.gelu(x, approximate="tanh")


class SquaredReLU(MLP):
    """max(x, 0)² (Primer, arXiv 2109.08668)."""

    def activation(self, x: Tensor) -> Tensor:
        return F.relu(x).square()


class SwiGLU(nn.Module):
    """c_proj(silu(c_gate(x)) · c_fc(x)) (Shazeer 2020, arXiv 2002.05202; Llama).

    Three matrices instead of two: n_inner defaults to 8C/3, rounded up to a multiple of 32, which
    keeps the parameter count near that of the other MLPs.
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        n_inner = config.n_inner or -(-8 * config.n_embd // 96) * 32
        self.c_gate = nn.Linear(config.n_embd, n_inner, bias=config.bias)
        self.c_fc = nn.Linear(config.n_embd, n_inner, bias=config.bias)
        self.c_proj = nn.Linear(n_inner, config.n_embd, bias=config.bias)
        self.dropout = build_dropout(config.dropout)

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        gate, value = products_of(x, [self.c_gate, self.c_fc])
        return self.dropout(self.c_proj(F.silu(gate) * value))
