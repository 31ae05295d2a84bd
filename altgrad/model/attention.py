"""Attention parts: [B, T, C] -> [B, T, C], where position t reads positions up to t only."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from altgrad.model.backends import attend
from altgrad.model.cache import KVCache
from altgrad.model.config import GPTConfig, known
from altgrad.model.documents import Documents
from altgrad.model.dropout import build_dropout
from altgrad.model.norm import PlainRMSNorm, build_norm
from altgrad.model.position import CosSin, apply_rotary_emb
from altgrad.model.products import products_of


class CausalSelfAttention(nn.Module):
    """Multi-head, grouped-query (n_kv_head < n_head) or multi-query (n_kv_head = 1) attention."""

    def __init__(self, config: GPTConfig, layer_idx: int):
        super().__init__()
        config = config.resolved()
        self.layer_idx = layer_idx
        self.n_head, self.n_kv_head = config.n_head, known(config.n_kv_head)
        self.head_dim = known(config.head_dim)
        self.backend = config.attention_backend
        self.window = config.window_of(layer_idx)
        q_width, kv_width = self.n_head * self.head_dim, self.n_kv_head * self.head_dim
        C = config.n_embd
        self.c_q = nn.Linear(C, q_width, bias=config.bias)
        self.c_k = nn.Linear(C, kv_width, bias=config.bias)
        self.c_v = nn.Linear(C, kv_width, bias=config.bias)
        self.c_proj = nn.Linear(q_width, C, bias=config.bias)
        self.q_norm = build_norm(config, self.head_dim) if config.qk_norm else nn.Identity()
        self.k_norm = build_norm(config, self.head_dim) if config.qk_norm else nn.Identity()
        # A gain or a mean belongs to a channel: after the rotation, which mixes channels by the
        # position, scores would no longer hang on distances alone. Plain RMS has neither: there
        # the order moves last bits, and is nanochat's.
        self.norm_first = not isinstance(self.q_norm, PlainRMSNorm)
        # The backends divide by √D; what is asked for beyond that goes into the queries.
        scale = config.attention_scale
        self.query_scale = None if scale is None else scale * self.head_dim**0.5
        self.dropout_p = config.dropout
        self.dropout = build_dropout(config.dropout)
        if config.has_value_embedding(layer_idx):
            self.value_gain = nn.Parameter(torch.ones(self.n_kv_head))

    def reset_parameters(self) -> None:
        if hasattr(self, "value_gain"):
            nn.init.ones_(self.value_gain)

    def forward(
        self,
        x: Float[Tensor, "B T C"],
        cos_sin: CosSin | None = None,
        kv_cache: KVCache | None = None,
        value_embedding: Float[Tensor, "B T KD"] | None = None,
        documents: Documents | None = None,
    ) -> Float[Tensor, "B T C"]:
        q, k, v = self._heads(x)  # each [B, T, heads, D]
        if value_embedding is not None:
            v = v + self.value_gain[:, None] * value_embedding.view_as(v)
        if self.norm_first:
            q, k = self.q_norm(q), self.k_norm(k)
        if cos_sin is not None:
            q, k = apply_rotary_emb(q, *cos_sin), apply_rotary_emb(k, *cos_sin)
        if not self.norm_first:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.query_scale is not None:
            q = q * self.query_scale
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # [B, heads, T, D]
        if kv_cache is not None:
            k, v = kv_cache.insert_kv(self.layer_idx, k, v)
        numbers = None if documents is None else documents.numbers
        how: dict[str, Any] = {"backend": self.backend, "window": self.window}
        y = attend(q, k, v, documents=numbers, dropout_p=self._dropout_p, **how)
        y = y.transpose(1, 2).flatten(2)  # heads side by side: [B, T, H·D]
        return self.dropout(self.c_proj(y))

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        B, T, _ = x.shape
        q, k, v = products_of(x, [self.c_q, self.c_k, self.c_v])
        shape = B, T, -1, self.head_dim
        return q.view(shape), k.view(shape), v.view(shape)

    @property
    def _dropout_p(self) -> float:
        return self.dropout_p if self.dropout_p and self.training else 0.0
