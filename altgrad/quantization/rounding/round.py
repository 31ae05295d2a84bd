"""Tensors to number formats and back: `fake_quantize` and `round_values` (codes: `codes.py`).

`fake_quantize` replaces every number by the nearest one the format has (times a scale) and keeps
the dtype. These are pure functions: no global generator, no
state, no hidden calibration. Which code does the work (native C++, torch operations in pieces that
fit the cache, or the same operations traced by `torch.compile`) changes the time, never a bit.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from altgrad.quantization.formats import Format
from altgrad.quantization.rounding import choose
from altgrad.quantization.rounding.checks import as_format, check, check_out, expand_scale
from altgrad.quantization.rounding.choose import Rounded, Scaling
from altgrad.quantization.rounding.counts import Statistics
from altgrad.quantization.rounding.grid import grid, working_dtype
from altgrad.quantization.rounding.stochastic import Stochastic

_WORD = {torch.float32: (torch.int32, 23), torch.float64: (torch.int64, 52)}


def fake_quantize(
    x: Float[Tensor, "*shape"],
    f: Format | str,
    *,
    scale: float | Tensor | None = None,
    scaling: Scaling | None = None,
    rounding: str | Stochastic = "nearest_even",
    overflow: str = "saturate",
    out: Tensor | None = None,
    return_stats: bool | str = False,
) -> Any:
    """x rounded to what `f` can represent, in x's dtype and shape.

    With a scale s the result is q(x/s)·s, divided and multiplied in float32. `scale` may have any
    shape whose every dimension divides x's (one per tensor, row, column, block or tile); `scaling`
    computes it. `overflow`: what is beyond the largest number becomes it (`saturate`, infinities
    too), `inf` or `nan`. NaN stays NaN. `out` may be x itself. `return_stats=True` (or `"row"`,
    per row of the last dimension) also returns a `Statistics`. The gradient, where x needs one, is
    passed straight through. Raises `ValueError` for arguments that make no sense.
    """
    f = as_format(f)
    check(x, f, scale, scaling, rounding, overflow)
    check_out(out, x)
    count_by = _count_by(return_stats)
    if count_by == "row" and x.dim() == 0:
        raise ValueError("return_stats='row': a single number has no rows; use True")
    arguments: dict[str, Any] = {
        "scale": scale,
        "scaling": scaling,
        "rounding": rounding,
        "overflow": overflow,
    }
    if torch.is_grad_enabled() and x.requires_grad:
        from altgrad.quantization.rounding.straight_through import pass_through

        if out is not None:
            raise ValueError("out= cannot be given for a tensor that needs a gradient; drop out=")
        y, table = pass_through(x, f, count_by=count_by, **arguments)
    else:
        rounded = round_values(x, f, out=out, count_by=count_by, **arguments)
        y, table = rounded.values, rounded.stats and rounded.stats.table
    per_line = x.shape[-1] if count_by == "row" else x.numel()
    return (y, Statistics(table, per_line)) if count_by else y


def _count_by(return_stats: bool | str) -> str | None:
    choices = {False: None, True: "tensor", "row": "row"}
    if return_stats not in choices:
        raise ValueError(f"return_stats={return_stats!r}: choose from False, True, 'row'")
    return choices[return_stats]


def round_values(
    x: Tensor,
    f: Format,
    *,
    scale: float | Tensor | None = None,
    scaling: Scaling | None = None,
    rounding: str | Stochastic = "nearest_even",
    overflow: str = "saturate",
    out: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
    unscaled: bool = False,
    count_by: str | None = None,
) -> Rounded:
    """`fake_quantize` for callers that need the scale: unchecked, without a gradient.

    `unscaled` leaves q(x/s), the format's own numbers; `out_dtype=torch.bfloat16` holds those
    exactly for formats of up to 7 mantissa bits.
    """
    job = choose.Job(
        x.detach(),
        f,
        scale=scale,
        scaling=scaling,
        rounding=rounding,
        overflow=overflow,
        out=out,
        out_dtype=out_dtype or x.dtype,
        unscaled=unscaled,
        count_by=count_by,
    )
    return choose.run(job)


def ulp(x: Tensor, f: Format | str, *, scale: float | Tensor | None = None) -> Tensor:
    """The grid's spacing at each |x| (upwards at a power of two; at most the top binade's), in x's
    units, as float32 (float64 for float64)."""
    f = as_format(f)
    work = working_dtype(f, x.dtype)
    magnitude = x.detach().to(work).abs()
    if scale is not None:
        scale = torch.as_tensor(scale, dtype=work, device=x.device)
        scale = expand_scale(scale, x.shape)
        magnitude = magnitude / scale
    word, wide = _WORD[work]
    held = torch.clamp(magnitude, max=f.max)
    binade = (held.view(word) & ~((1 << wide) - 1)).view(work)
    g = grid(f, "saturate", work)
    spacing = torch.where(held < g.min_normal, g.spacing, binade * g.relative_spacing)
    spacing = torch.where(torch.isnan(magnitude), math.nan, spacing)
    return spacing if scale is None else spacing * scale
