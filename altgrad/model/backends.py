"""Causal attention, given queries, keys and values: one definition and several ways to compute it.

`explicit` is the definition: every score written out, in four lines. The others must agree with it:

    auto       `chunked` when compiled for a CPU and short enough, else what
               torch.scaled_dot_product_attention picks
    flash      its tiled kernel, which never stores the scores
    efficient  its memory-efficient kernel (CUDA)
    math       its composite of matrix products
    blocks     explicit for 128 queries at a time, masking only the square on the diagonal: the
               fastest without gradients on a CPU, in half precision with scores of that precision
    chunked    explicit, for 64 queries at a time, skipping the blocks that the mask would empty

The last query is always at the last key: with a cache there are more keys than queries.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

CHUNK = 64
BLOCK = 128
# Beyond this many queries the unrolled chunks take longer to compile than they save.
MAX_CHUNKED_QUERIES = 512


def causal_mask(
    n_query: int, n_key: int, *, window: int, device: torch.device
) -> Bool[Tensor, "Tq Tk"]:
    """True where query i may look at key j: at most window - 1 positions back, never ahead."""
    query = torch.arange(n_key - n_query, n_key, device=device)[:, None]
    key = torch.arange(n_key, device=device)[None, :]
    return (key <= query) & (key > query - window)


def explicit(
    q: Float[Tensor, "B H Tq D"],
    k: Float[Tensor, "B H Tk D"],
    v: Float[Tensor, "B H Tk D"],
    *,
    window: int,
    dropout_p: float,
) -> Float[Tensor, "B H Tq D"]:
    """softmax(q·k / sqrt(D) + mask)·v, with every score in memory."""
    mask = causal_mask(q.size(-2), k.size(-2), window=window, device=q.device)
    scores = (q @ k.transpose(-2, -1)) / q.size(-1) ** 0.5
    weights = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1)
    return F.dropout(weights, dropout_p) @ v


def chunked(
    q: Float[Tensor, "B H Tq D"],
    k: Float[Tensor, "B H Tk D"],
    v: Float[Tensor, "B H Tk D"],
    *,
    window: int,
    dropout_p: float,
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
    outputs = []
    for i, query in enumerate(queries):
        # The first query sees window - 1 keys before it; block i - j ends (j - 1) CHUNK + 1 before.
        first = max(0, i - 1 - (window - 2) // CHUNK)
        part = query, _join(keys[first : i + 1]), _join(values[first : i + 1])
        outputs.append(explicit(*part, window=window, dropout_p=dropout_p))
    return _join(outputs)


def blocks(
    q: Float[Tensor, "B H Tq D"],
    k: Float[Tensor, "B H Tk D"],
    v: Float[Tensor, "B H Tk D"],
    *,
    window: int,
    dropout_p: float,
) -> Float[Tensor, "B H Tq D"]:
    """`explicit` on blocks of queries; a sliding window goes to `chunked`."""
    if window < k.size(-2):
        return chunked(q, k, v, window=window, dropout_p=dropout_p)
    cached = k.size(-2) - q.size(-2)
    q = q / q.size(-1) ** 0.5
    outputs = []
    for start in range(0, q.size(-2), BLOCK):
        part = q[..., start : start + BLOCK, :]
        n = part.size(-2)
        last = cached + start + n
        scores = part @ k[..., :last, :].transpose(-2, -1)
        ahead = torch.ones(n, n, dtype=torch.bool, device=q.device).triu(1)
        scores[..., last - n :].masked_fill_(ahead, float("-inf"))
        weights = F.dropout(scores.softmax(dim=-1), dropout_p)
        outputs.append(weights @ v[..., :last, :])
    return _join(outputs)


def _join(blocks: Sequence[Tensor]) -> Tensor:
    return blocks[0] if len(blocks) == 1 else torch.cat(list(blocks), dim=-2)


def _sdpa(
    q: Float[Tensor, "B H Tq D"],
    k: Float[Tensor, "B H Tk D"],
    v: Float[Tensor, "B H Tk D"],
    *,
    window: int,
    dropout_p: float,
) -> Float[Tensor, "B H Tq D"]:
    n_query, n_key = q.size(-2), k.size(-2)
    triangle = n_query == n_key and window >= n_key
    mask = None
    if not triangle and (n_query > 1 or window < n_key):
        mask = causal_mask(n_query, n_key, window=window, device=q.device)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout_p, is_causal=triangle and n_query > 1
    )


def _auto(q: Tensor, k: Tensor, v: Tensor, *, window: int, dropout_p: float) -> Tensor:
    # On a CPU torch's tiled kernel runs at a tenth of the speed of its matrix products in bf16.
    fused = torch.compiler.is_compiling() and q.device.type == "cpu"
    way = chunked if fused and q.size(-2) <= MAX_CHUNKED_QUERIES else _sdpa
    return way(q, k, v, window=window, dropout_p=dropout_p)


def _forced(kernel: SDPBackend, name: str) -> Callable[..., Tensor]:
    def attend_with(q: Tensor, k: Tensor, v: Tensor, *, window: int, dropout_p: float) -> Tensor:
        _refuse(name, q, masked=q.size(-2) != k.size(-2) or window < k.size(-2), dropout=dropout_p)
        with sdpa_kernel(kernel):
            return _sdpa(q, k, v, window=window, dropout_p=dropout_p)

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
        reason = "takes no mask on CUDA, which a sliding window or a chunk after a cache needs"
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
) -> Float[Tensor, "B H Tq D"]:
    """Causal attention; query head h uses key/value head floor(h / (H / K)).

    `window` limits how many keys a query sees, itself included. Raises ValueError where the
    backend cannot do what is asked on this device or dtype.
    """
    groups = q.size(1) // k.size(1)
    if groups > 1:
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    window = k.size(-2) if window is None else window
    return BACKENDS[backend](q, k, v, window=window, dropout_p=dropout_p)
