"""An attention of your own. As it stands it is the usual one: change what is marked.

    altgrad verify model.attention=mine:Attention          is it sound?
    altgrad train model.attention=mine:Attention           does it train?
    altgrad compare model.attention=causal,mine:Attention seeds=5    is it better?

Contract
    __init__(config, layer_idx)   config: `model.*` (n_embd, n_head, block_size, dropout, bias, …)
    forward(x, cos_sin=None, kv_cache=None)
        x         [B, T, C], the normalised stream; position t may read positions up to t only
        cos_sin   tables for `apply_rotary_emb` where model.position rotates, else None
        kv_cache  while text is written: gives the earlier keys and values, too; else None
        returns   [B, T, C], which the block adds to the stream
    c_proj        whatever writes into the stream has this name, and starts smaller than the rest
    switch_off()  optional: from then on it computes what the control does (`verify`'s null test)
"""

import math

import torch
from torch import Tensor, nn

from altgrad.model.cache import KVCache
from altgrad.model.config import GPTConfig
from altgrad.model.position import CosSin, apply_rotary_emb


class Attention(nn.Module):
    def __init__(self, config: GPTConfig, layer_idx: int):
        super().__init__()
        self.layer_idx, self.n_head = layer_idx, config.n_head
        self.c_qkv = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, cos_sin: CosSin | None = None, kv_cache: KVCache | None = None
    ) -> Tensor:
        q, k, v = (h.unflatten(-1, (self.n_head, -1)) for h in self.c_qkv(x).chunk(3, -1))
        if cos_sin is not None:
            q, k = apply_rotary_emb(q, *cos_sin), apply_rotary_emb(k, *cos_sin)
        q, k, v = (h.transpose(1, 2) for h in (q, k, v))  # [B, H, T, D]
        if kv_cache is not None:
            k, v = kv_cache.insert_kv(self.layer_idx, k, v)  # [B, H, S, D]
        T, S = q.size(2), k.size(2)
        later = torch.ones(T, S, dtype=torch.bool, device=x.device).triu(S - T + 1)
        scores = q @ k.mT / math.sqrt(q.size(-1))  # [B, H, T, S]
        # Yours begins here.
        weights = scores.masked_fill(later, -math.inf).softmax(-1)
        # Yours ends here.
        y = weights @ v  # [B, H, T, D]
        return self.dropout(self.c_proj(y.transpose(1, 2).flatten(2)))
