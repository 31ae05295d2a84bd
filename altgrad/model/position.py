"""Position parts: `Position(config)(x, start) -> (x, cos_sin)`.

Learned positions change the embedded tokens; rotary ones hand `cos_sin` to every attention.
`start` is the number of tokens already in the KV cache. With `documents` each begins at 0.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from altgrad.model.config import GPTConfig
from altgrad.model.documents import Documents
from altgrad.model.lookup import Lookup

CosSin = tuple[Tensor, Tensor]

# Rotary tables reach this many times past block_size, for generation beyond the trained length.
TABLE_FACTOR = 10


class LearnedPosition(Lookup):
    """GPT-2's: one learned vector per position, added to the token's."""

    def __init__(self, config: GPTConfig):
        super().__init__(config.block_size, config.n_embd)

    def forward(  # type: ignore[override]
        self, x: Float[Tensor, "B T C"], start: int, documents: Documents | None = None
    ) -> tuple[Tensor, CosSin | None]:
        if documents is not None:
            return x + super().forward(documents.places), None
        return x + self.weight[start : start + x.size(1)], None


class NoPosition(nn.Module):
    """Order reaches the network through the causal mask alone (NoPE, arXiv 2305.19466)."""

    def __init__(self, config: GPTConfig):
        super().__init__()

    def forward(
        self, x: Float[Tensor, "B T C"], start: int, documents: Documents | None = None
    ) -> tuple[Tensor, CosSin | None]:
        return x, None


class RotaryPosition(nn.Module):
    """RoPE (Su et al. 2021, arXiv 2104.09864): pair (j, j + D/2) turns by t·base^(-2j/D).

    Scores then depend on the distance of query and key only. Turns by +angle, as Llama does.
    The tables are constants: buffers, and not in the state_dict.
    """

    cos: Tensor
    sin: Tensor
    sign = -1.0  # of sin, so that `apply_rotary_emb`, which turns by -angle, turns by +angle

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.n_positions = TABLE_FACTOR * config.block_size
        self.head_dim = config.resolved_head_dim
        self.base = config.rope_base
        self.dtype = getattr(torch, config.rope_dtype)
        cos, sin = self._tables(None)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def _tables(self, device: torch.device | None) -> CosSin:
        """cos and sin, each (1, positions, 1, D/2), computed in float32."""
        j = torch.arange(0, self.head_dim, 2, dtype=torch.float32, device=device)
        t = torch.arange(self.n_positions, dtype=torch.float32, device=device)
        angle = torch.outer(t, self.base ** -(j / self.head_dim))[None, :, None, :]
        return angle.cos().to(self.dtype), (self.sign * angle.sin()).to(self.dtype)

    def reset_parameters(self) -> None:
        """Rebuild the tables, which `to_empty` leaves as raw memory."""
        cos, sin = self._tables(self.cos.device)
        self.cos.copy_(cos)
        self.sin.copy_(sin)

    def forward(
        self, x: Float[Tensor, "B T C"], start: int, documents: Documents | None = None
    ) -> tuple[Tensor, CosSin | None]:
        if documents is not None:
            places = documents.places
            return x, (self.cos[0][places], self.sin[0][places])
        stop = start + x.size(1)
        return x, (self.cos[:, start:stop], self.sin[:, start:stop])


class ReversedRotaryPosition(RotaryPosition):
    """nanochat's direction: turns by -angle. As good as the other, but with other weights."""

    sign = 1.0


def apply_rotary_emb(
    x: Float[Tensor, "B T H D"],
    cos: Float[Tensor, "#B T 1 D_half"],
    sin: Float[Tensor, "#B T 1 D_half"],
) -> Float[Tensor, "B T H D"]:
    """Turn each pair (x1, x2) = (x[j], x[j + D/2]): y1 = x1·cos + x2·sin, y2 = x2·cos - x1·sin."""
    x1, x2 = x.chunk(2, dim=-1)
    y = torch.cat((x1 * cos + x2 * sin, x2 * cos - x1 * sin), dim=-1)
    return y.to(x.dtype)
