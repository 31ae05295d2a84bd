"""Everything between the token ids and the head: embedding, positions, blocks, final norm."""

import inspect
from collections.abc import Iterable
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from altgrad.model.cache import KVCache
from altgrad.model.config import GPTConfig, known
from altgrad.model.dropout import build_dropout
from altgrad.model.lookup import Lookup
from altgrad.model.norm import build_norm
from altgrad.model.parts import resolve


class Trunk(nn.Module):
    """The module that nanoGPT and Hugging Face call `transformer`, with their names inside."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        block, residual = resolve("block", config.block), resolve("residual", config.residual)
        layers = range(config.n_layer)
        self.wte = resolve("embedding", config.embedding)(config)
        self.wpe = resolve("position", config.position)(config)
        self.ln_e = build_norm(config, config.n_embd) if config.embedding_norm else nn.Identity()
        self.drop = build_dropout(config.dropout)
        self.h = nn.ModuleList(block(config, i) for i in layers)
        self.residual = nn.ModuleList(residual(config) for _ in layers)
        self.ln_f = build_norm(config, config.n_embd)
        self.value_embeddings = nn.ModuleDict()
        self.passes_values = config.value_embeddings
        if config.value_embeddings:
            _check_takes_values(self.h, config)
            width = known(config.n_kv_head) * known(config.head_dim)
            for i in filter(config.has_value_embedding, layers):
                self.value_embeddings[str(i)] = Lookup(known(config.vocab_size), width)

    def forward(
        self, idx: Int[Tensor, "B T"], kv_cache: KVCache | None = None
    ) -> Float[Tensor, "B T C"]:
        start = 0 if kv_cache is None else kv_cache.get_pos()
        x = self.ln_e(self.wte(idx, kv_cache))
        x, cos_sin = self.wpe(x, start)
        x = x0 = self.drop(x)
        for i, (block, residual) in enumerate(zip(self.h, self.residual, strict=True)):
            x = block(residual(x, x0), cos_sin, kv_cache, **self._extra(i, idx))
        return self.ln_f(x)

    def _extra(self, layer_idx: int, idx: Tensor) -> dict[str, Any]:
        """Arguments beyond those that every block takes, where the configuration asks for them."""
        if not self.passes_values:
            return {}
        key = str(layer_idx)
        if key not in self.value_embeddings:
            return {"value_embedding": None}
        return {"value_embedding": self.value_embeddings[key](idx)}


def _check_takes_values(blocks: Iterable[nn.Module], config: GPTConfig) -> None:
    """Refuse an outside attention whose forward has no place for a value embedding."""
    for attention in (getattr(block, "attn", None) for block in blocks):
        if attention and "value_embedding" not in inspect.signature(attention.forward).parameters:
            raise ValueError(
                f"model.value_embeddings=true needs an attention whose forward takes "
                f"value_embedding; model.attention={config.attention} does not"
            )
