"""Causal attention, given queries, keys and values: one definition and several ways to compute it.

`explicit` is the definition: every score written out, in four lines. The others must agree with it:

    auto       on a CPU and short enough: `chunked` when compiled, `blocks` where bf16 is trained
               eagerly; else what torch.scaled_dot_product_attention picks
    flash      its tiled kernel, which never stores the scores
    efficient  its memory-efficient kernel (CUDA)
    math       its composite of matrix products
    blocks     explicit for 256 queries at a time, masked by the product that makes the scores:
               matrix products and a softmax only, the fastest eager way on a CPU in bf16, with
               scores of that precision
    chunked    explicit, for 64 queries at a time, skipping the blocks that the mask would empty

The last query is always at the last key: with a cache there are more keys than queries.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

CHUNK = 64
BLOCK = 256
# Beyond this many queries the unrolled chunks take longer to compile than they save, and the scores
# kept for the backward pass more memory than they are worth.
MAX_CHUNKED_QUERIES = 512


def causal_mask(
    n_query: int, n_key: int, *, window: int, device: torch.device
) -> Bool[Tensor, "Tq Tk"]:
    """True where query i may look at key j: at most window - 1 positions back, never ahead."""
    query = torch.arange(n_key - n_query, n_key, device=device)[:, None]
    key = torch.arange(n_key, device=device)[None, :]
    return (key <= query) & (key > query - window)


def visible(
    q: Float[Tensor, "B H Tq D"],
    k: Float[Tensor, "B H Tk D"],
    *,
    window: int,
    documents: Int[Tensor, "B 1 Tk 1"] | None,
) -> Bool[Tensor, "*rows Tq Tk"]:
    """`causal_mask`, and of each row only the keys of the query's own document."""
    mask = causal_mask(q.size(-2), k.size(-2), window=window, device=q.device)
    if documents is None:
        return mask
    return mask & (documents[..., -q.size(-2) :, :] == documents.transpose(-2, -1))


def explicit(
    q: Float[Tensor, "B H Tq D"],
    k: Float[Tensor, "B H Tk D"],
    v: Float[Tensor, "B H Tk D"],
    *,
    window: int,
    dropout_p: float,
    documents: Int[Tensor, "B 1 Tk 1"] | None = None,
) -> Float[Tensor, "B H Tq D"]:
    """softmax(q·k / sqrt(D) + mask)·v, with every score in memory."""
    return F.dropout(attention_weights(q, k, window=window, documents=documents), dropout_p) @ v


def attention_weights(
    q: Float[Tensor, "B H Tq D"],
    k: Float[Tensor, "B H Tk D"],
    *,
    window: int,
    documents: Int[Tensor, "B 1 Tk 1"] | None = None,
) -> Float[Tensor, "B H Tq Tk"]:
    """How much each query takes of each key's value: rows of sum 1."""
    mask = visible(q, k, window=window, documents=documents)
    scores = (q @ k.transpose(-2, -1)) / q.size(-1) ** 0.5
    return scores.masked_fill(~mask, float("-inf")).softmax(dim=-1)


def chunked(
    q: Float[Tensor, "B H Tq D"],
    k: Float[Tensor, "B H Tk D"],
    v: Float[Tensor, "B H Tk D"],
    *,
    window: int,
    dropout_p: float,
    documents: Int[Tensor, "B 1 Tk 1"] | None = None,
) -> Float[Tensor, "B H Tq D"]:
    """`explicit` on blocks of queries, each with only the blocks of keys that it may see.

    Keys are cut once and joined again for each block of queries: then the gradient of a block of
    keys is a plain sum, which compiles better than the gradient of overlapping slices.
    """
    cached = k.size(-2) - q.size(-2)
    queries = q.split(CHUNK, dim=-2)
    widths = [part.size(-2) for part in queries]
    widths[0] += cached
    keys, values = k.split(widths, dim=-2), v.split(widths, dim=-2)
    numbers = None if documents is None else documents.split(widths, dim=-2)
    outputs = []
    for i, query in enumerate(queries):
        # The first query sees window - 1 keys before it; block i - j ends (j - 1) CHUNK + 1 before.
        first = max(0, i - 1 - (window - 2) // CHUNK)
        part = query, _join(keys[first : i + 1]), _join(values[first : i + 1])
        own = None if numbers is None else _join(numbers[first : i + 1])
        outputs.append(explicit(*part, window=window, dropout_p=dropout_p, documents=own))
    return _join(outputs)


def blocks(
    q: Float[Tensor, "B H Tq D"],
    k: Float[Tensor, "B H Tk D"],
    v: Float[Tensor, "B H Tk D"],
    *,
    window: int,
    dropout_p: float,
    documents: Int[Tensor, "B 1 Tk 1"] | None = None,
) -> Float[Tensor, "B H Tq D"]:
    """`explicit` on blocks of queries; a sliding window and documents go to `chunked`."""
    if window < k.size(-2) or documents is not None:
        return chunked(q, k, v, window=window, dropout_p=dropout_p, documents=documents)
    flat_q, flat_k, flat_v = q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)  # [B·H, T, D]
    cached = k.size(-2) - q.size(-2)
    outputs = []
    for start in range(0, q.size(-2), BLOCK):
        part = flat_q[:, start : start + BLOCK]
        last = cached + start + part.size(1)
        ahead = _ahead(part.size(1), last, part)
        scores = torch.baddbmm(ahead, part, flat_k[:, :last].mT, alpha=q.size(-1) ** -0.5)
        weights = F.dropout(scores.softmax(dim=-1), dropout_p)
        outputs.append(torch.bmm(weights, flat_v[:, :last]))
    return _join(outputs).unflatten(0, q.shape[:2])


def _ahead(n_query: int, n_key: int, like: Tensor) -> Float[Tensor, "Tq Tk"]:
    """-inf where key j is ahead of query i, else 0: what is added to the scores."""
    hidden = ~causal_mask(n_query, n_key, window=n_key, device=like.device)
    return like.new_zeros(n_query, n_key).masked_fill_(hidden, float("-inf"))


def _join(blocks: Sequence[Tensor]) -> Tensor:
    return blocks[0] if len(blocks) == 1 else torch.cat(list(blocks), dim=-2)


def _sdpa(
    q: Float[Tensor, "B H Tq D"],
    k: Float[Tensor, "B H Tk D"],
    v: Float[Tensor, "B H Tk D"],
    *,
    window: int,
    dropout_p: float,
    documents: Int[Tensor, "B 1 Tk 1"] | None = None,
) -> Float[Tensor, "B H Tq D"]:
    n_query, n_key = q.size(-2), k.size(-2)
    triangle = n_query == n_key and window >= n_key and documents is None
    mask = None
    if documents is not None or (not triangle and (n_query > 1 or window < n_key)):
        mask = visible(q, k, window=window, documents=documents)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout_p, is_causal=triangle and n_query > 1
    )


def _auto(q: Tensor, k: Tensor, v: Tensor, **how: Any) -> Tensor:
    if q.device.type != "cpu" or q.size(-2) > MAX_CHUNKED_QUERIES:
        return _sdpa(q, k, v, **how)
    # On a CPU torch's tiled kernel runs at a tenth of the speed of its matrix products in bf16,
    # mostly in its backward pass (`benchmarks/attention.py`).
    if torch.compiler.is_compiling():
        return chunked(q, k, v, **how)
    way = blocks if _trained_in_bf16(q) and q.size(-2) > 1 else _sdpa
    return way(q, k, v, **how)


def _trained_in_bf16(q: Tensor) -> bool:
    half = q.dtype == torch.bfloat16
    if torch.is_autocast_enabled("cpu"):
        half = torch.get_autocast_dtype("cpu") == torch.bfloat16
    return half and torch.is_grad_enabled() and q.requires_grad


def _forced(kernel: SDPBackend, name: str) -> Callable[..., Tensor]:
    def attend_with(q: Tensor, k: Tensor, v: Tensor, **how: Any) -> Tensor:
        masked = q.size(-2) != k.size(-2) or how["window"] < k.size(-2) or "documents" in how
        _refuse(name, q, masked=masked, dropout=how["dropout_p"])
        with sdpa_kernel(kernel):
            return _sdpa(q, k, v, **how)

    return attend_with


def _refuse(name: str, q: Tensor, *, masked: bool, dropout: float) -> None:
    """ValueError where torch has no such kernel, instead of its 'No available kernel'."""
    device, half = q.device.type, q.dtype in (torch.bfloat16, torch.float16)
    reason = None
    if name == "efficient" and device != "cuda":
        reason = f"needs a CUDA device, this is {device}"
    elif name == "efficient" and q.dtype == torch.float64:
        reason = "has no float64"
    elif name == "flash" and device == "cpu" and dropout:
        reason = f"has no dropout on the CPU (model.dropout={dropout})"
    elif name == "flash" and device == "cuda" and not half:
        reason = f"needs bfloat16 or float16 on CUDA, this is {str(q.dtype)[6:]}"
    elif name == "flash" and device == "cuda" and masked:
        reason = (
            "takes no mask on CUDA, which documents, a sliding window or a chunk after a cache need"
        )
    if reason:
        raise ValueError(f"model.attention_backend={name} {reason}: use auto, math or explicit")


BACKENDS: dict[str, Callable[..., Tensor]] = {
    "auto": _auto,
    "flash": _forced(SDPBackend.FLASH_ATTENTION, "flash"),
    "efficient": _forced(SDPBackend.EFFICIENT_ATTENTION, "efficient"),
    "math": _forced(SDPBackend.MATH, "math"),
    "explicit": explicit,
    "chunked": chunked,
    "blocks": blocks,
}


def attend(
    q: Float[Tensor, "B H Tq D"],
    k: Float[Tensor, "B K Tk D"],
    v: Float[Tensor, "B K Tk D"],
    *,
    backend: str = "auto",
    window: int | None = None,
    dropout_p: float = 0.0,
    documents: Int[Tensor, "B Tk"] | None = None,
) -> Float[Tensor, "B H Tq D"]:
    """Causal attention; query head h uses key/value head floor(h / (H / K)).

    `window` limits how many keys a query sees, itself included. `documents` numbers the document
    of every key: a query sees those of its own only. Raises ValueError where the backend cannot do
    what is asked on this device or dtype.
    """
    groups = q.size(1) // k.size(1)
    if groups > 1:
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    window = k.size(-2) if window is None else window
    how: dict[str, Any] = {"window": window, "dropout_p": dropout_p}
    if documents is not None:
        how["documents"] = documents[:, None, :, None]
    for see in _watchers:
        see(attention_weights(q, k, window=window, documents=how.get("documents")))
    return BACKENDS[backend](q, k, v, **how)


_watchers: list[Callable[[Tensor], None]] = []


@contextmanager
def watched(see: Callable[[Tensor], None]) -> Iterator[None]:
    """Inside, `see` gets the weights of every layer's attention, [B, H, Tq, Tk], layer by layer;
    they are computed once more for it, whatever the backend."""
    _watchers.append(see)
    try:
        yield
    finally:
        _watchers.remove(see)
