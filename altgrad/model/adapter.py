"""Classes written for nanoGPT and nanochat, taken as they are where they say enough.

    class CausalSelfAttention(nn.Module):        nanoGPT: no layer index, no tables, no cache
        def __init__(self, config): ...
        def forward(self, x): ...

A part is called with all that `contract.py` lists; one that takes less gets what it takes: the
first arguments of `__init__`, and of `forward` the stream and those that it names. It becomes a
subclass, so that its weights keep their names. What it would miss without a word is refused: a
rotary table that nobody applies means a model that does not know the order of its tokens.
"""

import inspect
from functools import lru_cache
from typing import Any, cast

from torch import nn

from altgrad.model.contract import CONTRACT, takes

ADAPTED = ("attention", "block", "norm")
"""Kinds that nanoGPT's and nanochat's classes have in another form; their MLPs fit as they are."""

ROTATE = (
    "give it `def forward(self, x, cos_sin=None, kv_cache=None)` and the line "
    "`q, k = apply_rotary_emb(q, *cos_sin), apply_rotary_emb(k, *cos_sin)` (from "
    "altgrad.model.position, q and k as [B, T, H, D]), or choose model.position=learned"
)


def adapted(kind: str, name: str, part: type[nn.Module]) -> type[nn.Module]:
    """`part`, or a subclass of it that is called as the network calls a part of this kind."""
    if ":" not in name or kind not in ADAPTED or part.forward is nn.Module.forward:
        return part
    made, called = CONTRACT[kind]
    fits = takes(part, "__init__", made) and takes(part, "forward", called)
    special = _wants_bias(kind, part) or "cos_sin" in _needed(part)
    return part if fits and not special else _adapted(kind, name, cast(Any, part))


@lru_cache(maxsize=64)  # one class for one class: copies and compiled graphs go by it
def _adapted(kind: str, name: str, part: Any) -> type[nn.Module]:
    count, wanted = _first(part), _named(kind, part)
    if count == 0 or wanted is None or (kind == "norm" and _asks_for_config(part)):
        return part  # `check_contract` says what is to be written

    def __init__(self: Any, first: Any, second: Any = None) -> None:
        if kind != "norm":
            _refuse_position(name, part, wanted, first.position)
        config = second if kind == "norm" else first
        given = (first, config.bias if _wants_bias(kind, part) else second)
        part.__init__(self, *given[:count])

    def forward(self: Any, x: Any, cos_sin: Any = None, kv_cache: Any = None) -> Any:
        known = {"cos_sin": cos_sin, "kv_cache": kv_cache}
        return part.forward(self, x, **{argument: known[argument] for argument in wanted})

    inside = {"__init__": __init__, "forward": forward, "__module__": part.__module__}
    return type(part.__name__, (part,), inside)


def _refuse_position(name: str, part: Any, wanted: list[str], position: str) -> None:
    rotates = position.startswith("rope")
    if rotates and "cos_sin" not in wanted:
        raise ValueError(f"model.position={position} is not for {name}: {ROTATE}")
    if not rotates and "cos_sin" in _needed(part):
        raise ValueError(
            f"model.position={position} is not for {name}, which always rotates by cos_sin: choose "
            "model.position=rope (rope_reversed turns as nanochat does), or begin its forward with "
            "`if cos_sin is not None:`"
        )


def _first(part: type[nn.Module]) -> int:
    """How many of the arguments of `__init__` it takes, by position; 0 if that is none of ours."""
    return next((n for n in (2, 1) if takes(part, "__init__", ", ".join("ab"[:n]))), 0)


def _named(kind: str, part: type[nn.Module]) -> list[str] | None:
    """The arguments of `forward`, beside the stream, that it names; None if it needs others."""
    known = () if kind == "norm" else ("cos_sin", "kv_cache")
    others = list(inspect.signature(part.forward).parameters)[2:]
    if not takes(part, "forward", ", ".join(["x", *_needed(part)])) or _needed(part) - set(known):
        return None
    return [argument for argument in others if argument in known]


def _needed(part: type[nn.Module]) -> set[str]:
    """What `forward` must be given beside the stream."""
    others = list(inspect.signature(part.forward).parameters.values())[2:]
    any_ = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {p.name for p in others if p.default is p.empty and p.kind not in any_}


def _asks_for_config(part: type[nn.Module]) -> bool:
    """A norm whose one argument is no width."""
    return list(inspect.signature(part.__init__).parameters)[1:] == ["config"]


def _wants_bias(kind: str, part: type[nn.Module]) -> bool:
    """nanoGPT's LayerNorm(ndim, bias): the second argument is no configuration."""
    return kind == "norm" and list(inspect.signature(part.__init__).parameters)[2:3] == ["bias"]
