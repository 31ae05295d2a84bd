"""Multi-token prediction: further heads that are trained on later tokens, and only trained.

Head k reads what the next token's head reads and predicts the token k places after the next. What
the trunk learns for it helps the next token; sampling, evaluation and export know nothing of it.
Source: Gloeckle et al. 2024 (arXiv 2404.19737), here with one Linear a head instead of a layer, as
in Medusa (Cai et al. 2024, arXiv 2401.10774), on a trunk that is trained along.
"""

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from altgrad.model.config import GPTConfig, known

IGNORE_INDEX = -1
PREFIX = "mtp."
"""How the names of these heads' weights begin."""


class FutureHead(nn.Module):
    """hidden (B, T, C) -> logits (B, T, V) of a later token; the matrix is its own, never tied."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.lm_head = nn.Linear(config.n_embd, known(config.vocab_size), bias=False)

    def forward(self, hidden: Float[Tensor, "B T C"]) -> Float[Tensor, "B T V"]:
        return self.lm_head(hidden)


def later_targets(
    targets: Int[Tensor, "B T"], places: int, document_token: int | None
) -> Int[Tensor, "B S"]:
    """What follows each target `places` further on (S = T - places); -1 where that is of another
    document, whose beginning nothing in this one tells."""
    length = targets.size(1) - places
    later = targets[:, places:]
    if document_token is None:
        return later
    for earlier in range(places):
        begins = targets[:, earlier : earlier + length] == document_token
        later = later.masked_fill(begins, IGNORE_INDEX)
    return later


def mean_loss(logits: Float[Tensor, "B S V"], targets: Int[Tensor, "B S"]) -> Tensor:
    """Cross-entropy in nats over the targets that count; 0 where none does."""
    flat = targets.flatten().long()
    total = F.cross_entropy(logits.flatten(0, 1), flat, ignore_index=IGNORE_INDEX, reduction="sum")
    return total / (flat != IGNORE_INDEX).sum().clamp(min=1)
