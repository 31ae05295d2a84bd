"""Sampling from a GPT, token by token.

Each token is drawn from the distribution the model gives for the last `block_size` tokens. While
they all fit, a KV cache saves recomputing them; beyond that every position has moved by one, so the
window is computed afresh for each token. Either way the tokens are the same.
"""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from altgrad.model.cache import KVCache
from altgrad.model.config import GPTConfig


@runtime_checkable
class LanguageModel(Protocol):
    """What sampling needs of a network; `GPT` has it, and so may another class."""

    config: GPTConfig
    training: bool

    def __call__(
        self, idx: Int[Tensor, "B T"], *, kv_cache: KVCache | None
    ) -> tuple[Tensor, Any]: ...

    def train(self, mode: bool = True) -> Any: ...

    def eval(self) -> Any: ...


MIN_TEMPERATURE = 1e-6
"""Below it a quotient may leave float32, and the likeliest token is drawn all the same."""


def filter_logits(
    logits: Float[Tensor, "B V"], *, top_k: int | None = None, top_p: float | None = None
) -> Float[Tensor, "B V"]:
    """-inf for all but the k best (ties with the k-th stay), then but the smallest set of
    probability >= top_p."""
    if top_k is not None and top_k < logits.size(-1):
        kth = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < kth, float("-inf"))
    if top_p is not None and top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True, stable=True)
        probs = ordered.softmax(dim=-1)
        reached = probs.cumsum(dim=-1) - probs >= top_p  # before this one
        reached[:, 0] = False  # the best stays, also where float32 takes top_p for 0
        drop = torch.zeros_like(reached).scatter(-1, order, reached)
        logits = logits.masked_fill(drop, float("-inf"))
    return logits


def pick_token(
    logits: Float[Tensor, "B V"],
    *,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    generator: torch.Generator,
) -> Int[Tensor, "B 1"]:
    """Draw one token per row; the most probable one when temperature is 0."""
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)
    logits = filter_logits(logits / temperature, top_k=top_k, top_p=top_p)
    try:
        return torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)
    except RuntimeError:
        if torch.isfinite(logits).any(dim=-1).all() and not torch.isnan(logits).any():
            raise
        raise ValueError("the model gives NaN or infinite logits: its weights are no use") from None


def stream(
    model: LanguageModel,
    idx: Int[Tensor, "B T"],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    generator: torch.Generator | None = None,
    use_cache: bool | None = None,
    vocab_size: int | None = None,
) -> Iterator[Int[Tensor, "B 1"]]:
    """Yield `max_new_tokens` tokens, one [B, 1] tensor at a time, as they are drawn.

    `use_cache=None` uses the KV cache where the attention fills it, as an outside one need not;
    True insists on it. `seed` (default 0) makes a generator of its own; or give `generator`, on
    idx's device. `vocab_size`: only tokens below it are drawn, where the model's vocabulary was
    padded beyond the tokenizer's. Dropout is off; the model's training mode is left as it was.
    Raises ValueError for impossible settings.
    """
    _check(idx, max_new_tokens, temperature, top_k, top_p)
    if seed is not None and generator is not None:
        raise ValueError("give seed or generator, not both")
    generator = generator or torch.Generator(idx.device).manual_seed(seed or 0)
    return _stream(
        model,
        idx,
        max_new_tokens,
        {"temperature": temperature, "top_k": top_k, "top_p": top_p, "generator": generator},
        use_cache,
        vocab_size,
    )


def _stream(
    model: LanguageModel,
    idx: Tensor,
    max_new_tokens: int,
    how: dict,
    use_cache: bool | None,
    vocab_size: int | None,
) -> Iterator[Tensor]:
    block_size = model.config.block_size
    cache = None if use_cache is False else KVCache(model.config)
    for _ in range(max_new_tokens):
        if idx.size(1) > block_size:
            cache = None
        seen = 0 if cache is None else cache.get_pos()
        logits = _last_logits(model, idx[:, -block_size:][:, seen:], cache)
        if cache is not None and cache.get_pos() != idx.size(1):
            if use_cache:
                raise ValueError(
                    f"model.attention={model.config.attention} does not fill the KV cache "
                    "(kv_cache.insert_kv): generate with use_cache=False"
                )
            cache = None
        token = pick_token(logits[:, :vocab_size], **how)
        idx = torch.cat((idx, token.to(idx.dtype)), dim=1)
        yield token


@torch.no_grad()
def _last_logits(model: LanguageModel, idx: Tensor, cache: KVCache | None) -> Tensor:
    was_training = model.training
    model.eval()
    try:
        logits, _ = model(idx, kv_cache=cache)
    finally:
        model.train(was_training)
    return logits[:, -1].float()


def _check(
    idx: Tensor, max_new_tokens: int, temperature: float, top_k: int | None, top_p: float | None
) -> None:
    if idx.dim() != 2 or idx.size(1) == 0:
        raise ValueError(f"idx must be [B, T] with T >= 1, got shape {list(idx.shape)}")
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens={max_new_tokens} must be at least 0")
    if temperature != 0 and not MIN_TEMPERATURE <= temperature < float("inf"):
        raise ValueError(
            f"temperature={temperature} must be 0 (greedy) or at least {MIN_TEMPERATURE}"
        )
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k={top_k} must be at least 1, or None for all tokens")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p={top_p} must be above 0 and at most 1, or None for all tokens")
