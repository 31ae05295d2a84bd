"""A block of your own. As it stands it is GPT-2's: change what is marked.

    altgrad verify model.block=mine:Block
    altgrad train model.block=mine:Block
    altgrad compare model.block=prenorm,mine:Block seeds=5

Contract
    __init__(config, layer_idx)   config: the settings `model.*`; layers count from 0
    forward(x, cos_sin=None, kv_cache=None, **extra)
        x        [B, T, C], the stream; returns the stream after this layer
        others   hand them to the attention; `extra` carries what model.value_embeddings and
                 data.mask_documents add, and may be left out where neither is used
    attn, mlp, ln_1, ln_2   the names that GPT-2's weights have; keep those you keep
"""

from typing import Any

from torch import Tensor, nn

from altgrad.model.cache import KVCache
from altgrad.model.config import GPTConfig
from altgrad.model.norm import build_norm
from altgrad.model.parts import resolve
from altgrad.model.position import CosSin


class Block(nn.Module):
    def __init__(self, config: GPTConfig, layer_idx: int):
        super().__init__()
        self.ln_1 = build_norm(config, config.n_embd)
        self.attn = resolve("attention", config.attention)(config, layer_idx)
        self.ln_2 = build_norm(config, config.n_embd)
        self.mlp = resolve("mlp", config.mlp)(config)

    def forward(
        self,
        x: Tensor,
        cos_sin: CosSin | None = None,
        kv_cache: KVCache | None = None,
        **extra: Any,
    ) -> Tensor:
        # Yours begins here.
        x = x + self.attn(self.ln_1(x), cos_sin, kv_cache, **extra)
        return x + self.mlp(self.ln_2(x))
        # Yours ends here.
