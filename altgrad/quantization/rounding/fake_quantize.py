"""`fake_quantize`: checked rounding of a tensor that keeps its dtype and its gradient.

Every number becomes the nearest one the format has (times a scale). A pure function: no global
generator, no state, no hidden calibration. Which code does the work (native C++, torch operations
in pieces that fit the cache, or the same operations traced by `torch.compile`) changes the time,
never a bit.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from altgrad.quantization.formats import Format
from altgrad.quantization.rounding.checks import as_format, check, check_out
from altgrad.quantization.rounding.choose import Scaling
from altgrad.quantization.rounding.counts import Statistics
from altgrad.quantization.rounding.round import round_values
from altgrad.quantization.rounding.stochastic import Stochastic
from altgrad.quantization.rounding.straight_through import pass_through


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
    table: Tensor | None
    if torch.is_grad_enabled() and x.requires_grad:
        if out is not None:
            raise ValueError("out= cannot be given for a tensor that needs a gradient; drop out=")
        y, table = pass_through(x, f, count_by=count_by, **arguments)
    else:
        rounded = round_values(x, f, out=out, count_by=count_by, **arguments)
        y, table = rounded.values, rounded.stats and rounded.stats.table
    if table is None or not count_by:
        return y
    return y, Statistics(table, x.shape[-1] if count_by == "row" else x.numel())


def _count_by(return_stats: bool | str) -> str | None:
    choices = {False: None, True: "tensor", "row": "row"}
    if return_stats not in choices:
        raise ValueError(f"return_stats={return_stats!r}: choose from False, True, 'row'")
    return choices[return_stats]
