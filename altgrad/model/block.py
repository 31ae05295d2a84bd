"""One layer: attention, then the MLP, each reading a normalised stream and adding to it."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from altgrad.model.cache import KVCache
from altgrad.model.config import GPTConfig
from altgrad.model.norm import build_norm
from altgrad.model.parts import resolve
from altgrad.model.position import CosSin


class Block(nn.Module):
    """x += attn(norm(x)); x += mlp(norm(x)). With both `c_proj` at zero it is the identity."""

    def __init__(self, config: GPTConfig, layer_idx: int):
        super().__init__()
        self.ln_1 = build_norm(config, config.n_embd)
        self.attn = resolve("attention", config.attention)(config, layer_idx)
        self.ln_2 = build_norm(config, config.n_embd)
        self.mlp = resolve("mlp", config.mlp)(config)

    def forward(
        self,
        x: Float[Tensor, "B T C"],
        cos_sin: CosSin | None = None,
        kv_cache: KVCache | None = None,
        **extra: Any,
    ) -> Float[Tensor, "B T C"]:
        x = x + self.attn(self.ln_1(x), cos_sin, kv_cache, **extra)
        return x + self.mlp(self.ln_2(x))
