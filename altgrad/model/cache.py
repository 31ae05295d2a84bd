"""Keys and values of the tokens seen so far, so that generation computes each of them once."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from altgrad.model.config import GPTConfig


class KVCache:
    """Storage for `max_len` positions of every layer, allocated at the first insert.

    Each attention calls `insert_kv(layer_idx, k, v)` once per forward pass and attends over what
    it returns; the position advances when the last layer has inserted.
    """

    def __init__(self, config: GPTConfig, max_len: int | None = None):
        self.n_layer = config.n_layer
        self.max_len = config.block_size if max_len is None else max_len
        self.last_idx: Int[Tensor, "B K"] | None = None  # up to 2, for embeddings that look back
        self._opens: Bool[Tensor, "B S"] | None = None  # whether each token opens a document
        self._last: dict[int, Tensor] = {}  # layer -> stream [B, K, C], of blocks that look back
        self._storage: Tensor | None = None
        self._pos = 0

    def get_pos(self) -> int:
        """Number of positions that every layer has already stored."""
        return self._pos

    def insert_kv(
        self, layer_idx: int, k: Float[Tensor, "B K T D"], v: Float[Tensor, "B K T D"]
    ) -> tuple[Float[Tensor, "B K S D"], Float[Tensor, "B K S D"]]:
        """Store the new positions of one layer; returns all its keys and values so far.

        Raises ValueError when they do not fit into `max_len`.
        """
        stop = self._pos + k.size(2)
        if stop > self.max_len:
            raise ValueError(f"{stop} positions do not fit into a cache of {self.max_len}")
        if self._storage is None:
            B, K, _, D = k.shape
            self._storage = torch.empty(
                2, self.n_layer, B, K, self.max_len, D, dtype=k.dtype, device=k.device
            )
        keys, values = self._storage[0, layer_idx], self._storage[1, layer_idx]
        keys[:, :, self._pos : stop] = k
        values[:, :, self._pos : stop] = v
        if layer_idx == self.n_layer - 1:
            self._pos = stop
        return keys[:, :, :stop], values[:, :, :stop]

    def repeated(self, counts: Int[Tensor, "B"], max_len: int) -> "KVCache":
        """A copy in which row b stands `counts[b]` times, with room for `max_len` positions."""
        assert self._storage is not None, "nothing stored yet"
        copy = KVCache.__new__(KVCache)
        copy.n_layer, copy.max_len, copy._pos = self.n_layer, max_len, self._pos
        last = self.last_idx
        copy.last_idx = None if last is None else last.repeat_interleave(counts, dim=0)
        opens = self._opens
        copy._opens = None if opens is None else opens.repeat_interleave(counts, dim=0)
        copy._last = {i: x.repeat_interleave(counts, dim=0) for i, x in self._last.items()}
        _, L, _, K, _, D = self._storage.shape
        copy._storage = self._storage.new_empty(2, L, int(counts.sum()), K, max_len, D)
        kept = self._storage[..., : self._pos, :]
        copy._storage[..., : self._pos, :] = kept.repeat_interleave(counts, dim=2)
        return copy

    def join_opens(self, opens: Bool[Tensor, "B T"]) -> Bool[Tensor, "B S"]:
        """Which tokens open a document, of all that were read so far; keeps those of the new."""
        self._opens = opens if self._opens is None else torch.cat((self._opens, opens), dim=1)
        return self._opens

    def keep_idx(self, idx: Int[Tensor, "B T"]) -> None:
        """Remember the last two tokens so far, `idx` being the newest."""
        before = idx[:, :0] if self.last_idx is None else self.last_idx
        self.last_idx = torch.cat((before, idx), dim=1)[:, -2:]

    def swap_last(self, layer_idx: int, x: Float[Tensor, "B T C"], keep: int = 1) -> Tensor | None:
        """The stream of a layer at the `keep` positions before these (None at the start; fewer
        where there were no more); remembers the last ones, with these."""
        before = self._last.get(layer_idx)
        joined = x if before is None else torch.cat((before, x), dim=1)
        self._last[layer_idx] = joined[:, -keep:]
        return before
