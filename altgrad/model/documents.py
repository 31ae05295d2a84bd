"""Where documents lie in a row of tokens, so that none of them sees the one before.

`model.document_token`, the end-of-text token that stands between documents, opens the document
after it. So the network finds them in the tokens themselves, and training, evaluation, generation
and a resumed run cannot disagree about them. A document that was packed with others gives the same
logits as alone: keys of other documents are masked, parts that look a few positions back (bigram
and trigram embedding, shift and conv block) find nothing before its first token, and positions,
learned or rotary, count from there.
"""

import inspect
from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from altgrad.model.cache import KVCache


class Documents(NamedTuple):
    """`numbers`: of the document of each key, cached ones included. `places`: how far each new
    token is from the first of its document (or of its row, if that began earlier)."""

    numbers: Int[Tensor, "B S"]
    places: Int[Tensor, "B T"]

    @property
    def first(self) -> Bool[Tensor, "B T 1"]:
        """Whether a new token has nothing before it."""
        return self.near_first(1)

    def near_first(self, k: int) -> Bool[Tensor, "B T 1"]:
        """Whether a new token has fewer than `k` before it."""
        return (self.places < k)[..., None]


def find_documents(
    idx: Int[Tensor, "B T"], token: int, kv_cache: KVCache | None = None
) -> Documents:
    """The documents in `idx` and in what the cache has read before it."""
    opens = idx == token
    if kv_cache is not None:
        opens = kv_cache.join_opens(opens)
    at = torch.arange(opens.size(1), device=idx.device)
    start = torch.where(opens, at, 0).cummax(dim=1).values
    return Documents(opens.cumsum(dim=1), (at - start)[:, -idx.size(1) :])


def check_takes(parts: Iterable[nn.Module], argument: str, *, setting: str, part: str) -> None:
    """Refuse an outside part whose forward has no place for an extra argument.

    `setting` is what asks for it, `part` the setting that names the part.
    """
    for module in parts:
        parameters = inspect.signature(module.forward).parameters
        anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        if argument not in parameters and not anything:
            kind = part.partition("=")[0].removeprefix("model.")
            raise ValueError(
                f"model.{setting} needs {'an' if kind[0] in 'ae' else 'a'} {kind} whose forward "
                f"takes {argument}; {part} does not"
            )
