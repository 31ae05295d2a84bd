"""Embedding parts: token ids [B, T] -> [B, T, C]. `weight` is the matrix a tied head shares."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from altgrad.model.cache import KVCache
from altgrad.model.config import GPTConfig, known
from altgrad.model.documents import Documents
from altgrad.model.lookup import Lookup

# Odd multipliers that spread (before that, previous, token) over the rows of a hashed table.
HASH_BEFORE, HASH_PREVIOUS, HASH_TOKEN = 40503, 36313, 27191


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
        previous = F.pad(idx[:, :-1], (1, 0)) if before is None else _shifted(before[:, -1:], idx)
        pair = self.bigram(self.row(previous, idx))
        if before is None:
            pair = pair * (torch.arange(idx.size(1), device=idx.device) > 0)[:, None]
        if documents is not None:
            pair = pair.masked_fill(documents.first, 0.0)
        if kv_cache is not None:
            kv_cache.keep_idx(idx)
        return super().forward(idx) + pair

    def row(self, previous: Int[Tensor, "B T"], idx: Int[Tensor, "B T"]) -> Int[Tensor, "B T"]:
        """The table's row of each pair."""
        if self.exact:
            return previous * self.num_embeddings + idx
        mixed = (previous.long() * HASH_PREVIOUS) ^ (idx.long() * HASH_TOKEN)
        return mixed % self.bigram.num_embeddings


class TrigramEmbedding(BigramEmbedding):
    """`BigramEmbedding` plus a vector for three tokens in a row, hashed to `trigram_rows` rows.

    Triples share rows, so the table is a guess that the layers correct; it costs a row read a
    token, and its optimiser's state. The first two positions have no triple and get none. Starts at
    zero (`init.py`). Source: the hashed n-gram embeddings of modded-nanogpt's speed runs.
    """

    def __init__(self, config: GPTConfig):
        super().__init__(config)
        self.trigram = Lookup(config.trigram_rows, config.n_embd)

    def forward(
        self,
        idx: Int[Tensor, "B T"],
        kv_cache: KVCache | None = None,
        documents: Documents | None = None,
    ) -> Float[Tensor, "B T C"]:
        # Read before `super().forward`, which puts the new tokens there.
        seen = idx[:, :0] if kv_cache is None or kv_cache.last_idx is None else kv_cache.last_idx
        before = seen.size(1)
        joined = F.pad(torch.cat((seen, idx), dim=1), (2 - before, 0))  # [B, 2 + T]
        row = self.triple_row(joined[:, :-2], joined[:, 1:-1], joined[:, 2:])
        triple = self.trigram(row)  # [B, T, C]
        triple = triple * (torch.arange(idx.size(1), device=idx.device) >= 2 - before)[:, None]
        if documents is not None:
            triple = triple.masked_fill(documents.near_first(2), 0.0)
        return super().forward(idx, kv_cache, documents) + triple

    def triple_row(
        self,
        before: Int[Tensor, "B T"],
        previous: Int[Tensor, "B T"],
        idx: Int[Tensor, "B T"],
    ) -> Int[Tensor, "B T"]:
        """The table's row of each three tokens."""
        mixed = (before.long() * HASH_BEFORE) ^ (previous.long() * HASH_PREVIOUS)
        return (mixed ^ (idx.long() * HASH_TOKEN)) % self.trigram.num_embeddings


def _shifted(before: Int[Tensor, "B 1"], idx: Int[Tensor, "B T"]) -> Int[Tensor, "B T"]:
    return torch.cat((before, idx[:, :-1]), dim=1)
