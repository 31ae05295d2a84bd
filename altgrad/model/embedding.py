"""Embedding parts: token ids [B, T] -> [B, T, C]. `weight` is the matrix a tied head shares."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from altgrad.model.cache import KVCache
from altgrad.model.config import GPTConfig, known
from altgrad.model.documents import Documents
from altgrad.model.lookup import Lookup

# Odd multipliers that spread (previous, token) pairs over the rows of a hashed table.
HASH_PREVIOUS, HASH_TOKEN = 36313, 27191


class TokenEmbedding(Lookup):
    """One learned vector per token."""

    def __init__(self, config: GPTConfig):
        super().__init__(known(config.vocab_size), config.n_embd)

    def forward(
        self,
        idx: Int[Tensor, "B T"],
        kv_cache: KVCache | None = None,
        documents: Documents | None = None,
    ) -> Float[Tensor, "B T C"]:
        return super().forward(idx)


class BigramEmbedding(TokenEmbedding):
    """The token's vector plus one for the pair (previous token, token).

    V·V rows where that many are allowed (`bigram_rows`), else pairs share rows by a hash.
    The first position has no previous token and gets no pair. Starts at zero (`init.py`).
    """

    def __init__(self, config: GPTConfig):
        super().__init__(config)
        pairs = self.num_embeddings**2
        self.exact = pairs <= config.bigram_rows
        self.bigram = Lookup(pairs if self.exact else config.bigram_rows, config.n_embd)

    def forward(
        self,
        idx: Int[Tensor, "B T"],
        kv_cache: KVCache | None = None,
        documents: Documents | None = None,
    ) -> Float[Tensor, "B T C"]:
        before = None if kv_cache is None else kv_cache.last_idx
        previous = F.pad(idx[:, :-1], (1, 0)) if before is None else _shifted(before, idx)
        pair = self.bigram(self.row(previous, idx))
        if before is None:
            pair = pair * (torch.arange(idx.size(1), device=idx.device) > 0)[:, None]
        if documents is not None:
            pair = pair.masked_fill(documents.first, 0.0)
        if kv_cache is not None:
            kv_cache.last_idx = idx[:, -1:]
        return super().forward(idx) + pair

    def row(self, previous: Int[Tensor, "B T"], idx: Int[Tensor, "B T"]) -> Int[Tensor, "B T"]:
        """The table's row of each pair."""
        if self.exact:
            return previous * self.num_embeddings + idx
        mixed = (previous.long() * HASH_PREVIOUS) ^ (idx.long() * HASH_TOKEN)
        return mixed % self.bigram.num_embeddings


def _shifted(before: Int[Tensor, "B 1"], idx: Int[Tensor, "B T"]) -> Int[Tensor, "B T"]:
    return torch.cat((before, idx[:, :-1]), dim=1)
