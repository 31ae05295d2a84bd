"""Numbers to the grid of a format, without a gradient: `round_values`; and the grid's spacing.

Pure functions: no global generator, no state, no hidden calibration.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from altgrad.quantization.formats import Format
from altgrad.quantization.rounding import choose
from altgrad.quantization.rounding.checks import as_format, expand_scale
from altgrad.quantization.rounding.choose import Rounded, Scaling
from altgrad.quantization.rounding.grid import grid, working_dtype
from altgrad.quantization.rounding.stochastic import Stochastic

_WORD = {torch.float32: (torch.int32, 23), torch.float64: (torch.int64, 52)}


def round_values(
    x: Float[Tensor, "*shape"],
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


def ulp(
    x: Float[Tensor, "*shape"], f: Format | str, *, scale: float | Tensor | None = None
) -> Float[Tensor, "*shape"]:
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
