"""Rounding as one operation of a compiled graph that the compiler does not look into.

On a CPU the native pass rounds and counts faster than what the compiler makes of the traced
operations, whose eight counts become reductions of their own. Outside a compiled graph, and on
accelerators, `ops.round_values` is called as it is; the bits are the same.
"""

from typing import Any

import torch
from torch import Tensor

from altgrad.quantization import native
from altgrad.quantization.counts import NAMES
from altgrad.quantization.ops import round_values
from altgrad.quantization.recipe import Cast
from altgrad.quantization.scaling import scaling_of
from altgrad.quantization.stochastic import Stochastic

_CASTS: dict[str, tuple[Cast, Any]] = {}
"""Key of a cast, as a graph can hold it -> the cast and its scaling object."""

TICK_STRIDE = 0x9E3779B1


def register(cast: Cast) -> str | None:
    """The key under which `round_operand` knows a cast, or None where it cannot serve it: a scale
    with a history is state, which a graph must see."""
    if cast.format is None or cast.scaling == "delayed" or native.library() is None:
        return None
    _CASTS[repr(cast)] = cast, scaling_of(cast)
    return repr(cast)


def rounding_mode(cast: Cast, tick: Tensor, seed: int) -> str | Stochastic:
    """How a cast rounds in step `tick`."""
    if cast.rounding != "stochastic":
        return cast.rounding
    return Stochastic(seed=tick * TICK_STRIDE + seed)


def round_operand(
    x: Tensor, key: str, tick: Tensor, seed: int, dtype: torch.dtype, count: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """(values, scale, counts): of one scale per tensor the format's own numbers and that scale, in
    `dtype`; of other scalings the rounded numbers in x's dtype and 1. Counts as counts.NAMES, empty
    unless `count`."""
    return torch.ops.altgrad.round_operand(x, key, tick, seed, dtype, count)


def _round(
    x: Tensor, key: str, tick: Tensor, seed: int, dtype: torch.dtype, count: bool
) -> tuple[Tensor, Tensor, Tensor]:
    cast, scaling = _CASTS[key]
    assert cast.format is not None
    rounded = round_values(
        x,
        cast.format,
        scaling=scaling,
        rounding=rounding_mode(cast, tick, seed),
        overflow=cast.overflow,
        unscaled=cast.one_scale,
        out_dtype=dtype if cast.one_scale else None,
        count_by="tensor" if count else None,
    )
    scale = rounded.scale if cast.one_scale and rounded.scale is not None else torch.ones(())
    table = torch.empty(0, dtype=torch.float64) if rounded.stats is None else rounded.stats.table
    return rounded.values.contiguous(), scale.reshape(()), table.view(-1)


def _shapes(
    x: Tensor, key: str, tick: Tensor, seed: int, dtype: torch.dtype, count: bool
) -> tuple[Tensor, Tensor, Tensor]:
    values = torch.empty(x.shape, dtype=dtype if _CASTS[key][0].one_scale else x.dtype)
    table = torch.empty(len(NAMES) if count else 0, dtype=torch.float64)
    return values, torch.empty(()), table


_LIBRARY = torch.library.Library("altgrad", "DEF")
_LIBRARY.define(
    "round_operand(Tensor x, str key, Tensor tick, int seed, ScalarType dtype, bool count)"
    " -> (Tensor, Tensor, Tensor)"
)
_LIBRARY.impl("round_operand", _round, "CPU")
torch.library.register_fake("altgrad::round_operand", _shapes, lib=_LIBRARY)
