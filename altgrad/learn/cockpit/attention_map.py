"""Which positions a head looks at: the attention weights of a learner's own model.

They are asked of the attention itself, however it computes them. Its output is linear in the
values, so the layer is run once for every position s, on the same input, with values that are one
at s and zero elsewhere: what then arrives at c_proj for head h and position t is the weight that t
gives to s. An attention that makes its values past `c_v` (a fused projection) is asked another way:
what it hands to torch's softmax or scaled_dot_product_attention is listened to.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

LONGEST = 64  # positions that a terminal can still show, one character each


@dataclass(frozen=True)
class AttentionMap:
    """weights[h][t][s] of one layer: how much position t of head h takes from position s."""

    layer: int
    tokens: list[str]
    weights: list[list[list[float]]]
    remarks: list[str] = field(default_factory=list)

    @property
    def heads(self) -> int:
        return len(self.weights)

    def looking_ahead(self) -> str:
        """The first position that takes something from a later one, in words; empty for none."""
        for h, rows in enumerate(self.weights):
            for t, row in enumerate(rows):
                later = [s for s in range(t + 1, len(row)) if abs(row[s]) > 1e-6]
                if later:
                    takes = f"position {t} takes {row[later[0]]:.2g} of position {later[0]}"
                    return f"head {h} looks ahead: {takes}"
        return ""


@torch.no_grad()
def attention_map(
    model: nn.Module, ids: list[int], tokens: list[str], *, layer: int, n_head: int
) -> AttentionMap:
    """The map of one layer for one text.

    model: a GPT of either track, called with ids (1, T); its blocks are `transformer.h[i].attn`.

    Raises:
        ValueError: no such layer; an attention that shows its weights in neither way.
    """
    attention = _attention_of(model, layer)
    model.eval()
    args, kwargs = _given_to(attention, lambda: model(torch.tensor([ids])))
    asked = _ask(attention, args, kwargs, n_head)
    if asked is None:
        asked = _overheard(attention, args, kwargs)
    if asked is None:
        raise ValueError(
            f"the attention of layer {layer} shows its weights neither by `c_v` and `c_proj` nor "
            "by a call of softmax or scaled_dot_product_attention"
        )
    weights, remarks = asked
    return AttentionMap(layer, tokens, weights.double().tolist(), remarks)


def _attention_of(model: Any, layer: int) -> nn.Module:
    try:
        blocks = list(model.transformer["h"])
        if not 0 <= layer < len(blocks):
            raise ValueError(f"layer {layer} is not one of 0 … {len(blocks) - 1}")
        return blocks[layer].attn
    except (AttributeError, KeyError, TypeError):
        raise ValueError(
            'this model has no transformer["h"][i].attn, which is where a map is looked for'
        ) from None


def _given_to(module: nn.Module, run: Callable[[], Any]) -> tuple[tuple, dict[str, Any]]:
    """The arguments of the module's call during `run()`."""
    seen: list[tuple[tuple, dict[str, Any]]] = []

    def keep(_: Any, args: tuple, kwargs: dict[str, Any]) -> None:
        seen.append((args, kwargs))

    with _hooked(module.register_forward_pre_hook(keep, with_kwargs=True)):
        run()
    if not seen:
        raise ValueError("the model's forward never calls this layer's attention")
    return seen[0]


@contextmanager
def _hooked(*handles: Any) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _ask(
    attention: Any, args: tuple, kwargs: dict[str, Any], n_head: int
) -> tuple[Tensor, list[str]] | None:
    """(H, T, T) by values of one position at a time; None where c_v or c_proj is not called."""
    if not all(isinstance(getattr(attention, n, None), nn.Module) for n in ("c_v", "c_proj")):
        return None
    T = _input(args, kwargs).size(1)
    joined: list[Tensor] = []

    def one_at_a_time(_: Any, __: Any, values: Tensor) -> Tensor:
        marked.append(True)
        eye = torch.eye(T, dtype=values.dtype)[:, :, None]  # copy s has ones at position s
        return eye.expand(T, T, values.size(-1)).contiguous()

    marked: list[bool] = []
    with _hooked(
        attention.c_v.register_forward_hook(one_at_a_time),
        attention.c_proj.register_forward_pre_hook(lambda _, given: joined.append(given[0])),
    ):
        attention(*_copied(args, T), **_copied_words(kwargs, T))
    if not marked or not joined or joined[0].shape[:2] != (T, T):
        return None
    by_head = joined[0].unflatten(-1, (n_head, -1))  # (s, t, H, D)
    spread = (by_head.amax(-1) - by_head.amin(-1)).max().item()
    odd = "the numbers of one head differ here: are the heads joined in their order?"
    return by_head.mean(-1).permute(2, 1, 0), [odd] if spread > 1e-3 else []


def _input(args: tuple, kwargs: dict[str, Any]) -> Tensor:
    """x (B, T, C): the first argument, by whatever name."""
    return next(v for v in [*args, *kwargs.values()] if isinstance(v, Tensor))


def _copied(args: tuple, count: int) -> tuple:
    """x repeated; what else is given (tables of positions, a cache that is None) stays."""
    if args and isinstance(args[0], Tensor):
        return (args[0].expand(count, -1, -1), *args[1:])
    return args


def _copied_words(kwargs: dict[str, Any], count: int) -> dict[str, Any]:
    x = kwargs.get("x")
    return kwargs | {"x": x.expand(count, -1, -1)} if isinstance(x, Tensor) else kwargs


class _Listening(TorchFunctionMode):
    """Keeps the attention weights that pass through torch's own functions."""

    def __init__(self, T: int):
        super().__init__()
        self.T, self.heard = T, list[Tensor]()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            self.heard.append(_weights_of(*args, **kwargs))
        elif getattr(func, "__name__", "") == "softmax" and result.shape[-2:] == (self.T, self.T):
            self.heard.append(result)
        return result


def _weights_of(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(q·k·scale + mask), as `scaled_dot_product_attention` has it."""
    if enable_gqa:
        k = k.repeat_interleave(q.size(-3) // k.size(-3), -3)
    scores = q @ k.transpose(-2, -1) * (1 / math.sqrt(q.size(-1)) if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(-1).nan_to_num()


def _overheard(
    attention: nn.Module, args: tuple, kwargs: dict[str, Any]
) -> tuple[Tensor, list[str]] | None:
    with _Listening(_input(args, kwargs).size(1)) as listening:
        attention(*args, **kwargs)
    maps = [x for x in listening.heard if x.dim() == 4]
    return (maps[0][0], []) if maps else None
