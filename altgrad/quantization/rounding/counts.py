"""What one pass of rounding can count, as tensors: nothing here waits for the device.

Definitions (x the input, s its scale, q the rounded x/s):

    amax       largest finite |x|
    overflow   |x|/s > max + half a spacing, before saturation, against the scale really used
    underflow  x != 0 and q = 0
    subnormal  q != 0 and |q| below the smallest normal number
    nan, inf   in x
    signal, noise   sum of x² and of (x - q·s)² over the finite x
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from altgrad.quantization.rounding.grid import GridConstants

NAMES = ("amax", "overflow", "underflow", "subnormal", "nan", "inf", "signal", "noise")


Energy = TypeVar("Energy", float, Tensor)


def decibels(signal: Energy, noise: Energy) -> Energy:
    """10·log10(signal/noise) of two energies (sums of squares): inf without noise, -inf without
    signal. Of floats, or elementwise of tensors of one shape."""
    if isinstance(signal, Tensor):
        return torch.where(noise == 0, math.inf, 10 * torch.log10(signal / noise))
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


class Statistics(NamedTuple):
    """`table`: float64, [8] for a whole tensor or [rows, 8], in the order of NAMES.
    `numel`: how many numbers each line of it counted."""

    table: Tensor
    numel: int

    @property
    def amax(self) -> Float[Tensor, "*rows"]:
        """Largest finite |x|."""
        return self.table[..., 0]

    @property
    def overflow(self) -> Float[Tensor, "*rows"]:
        """Numbers beyond the range."""
        return self.table[..., 1]

    @property
    def underflow(self) -> Float[Tensor, "*rows"]:
        """Numbers rounded to zero."""
        return self.table[..., 2]

    @property
    def subnormal(self) -> Float[Tensor, "*rows"]:
        """Results below the smallest normal number."""
        return self.table[..., 3]

    @property
    def nan(self) -> Float[Tensor, "*rows"]:
        """NaN in x."""
        return self.table[..., 4]

    @property
    def inf(self) -> Float[Tensor, "*rows"]:
        """Infinities in x."""
        return self.table[..., 5]

    @property
    def sqnr_db(self) -> Float[Tensor, "*rows"]:
        """Signal to quantisation noise, 20·log10(‖x‖/‖x - q(x)‖), in dB; inf without noise."""
        return decibels(self.table[..., 6], self.table[..., 7])

    def share(self, name: str) -> Float[Tensor, "*rows"]:
        """A count divided by the number of numbers: `share("underflow")`."""
        return self.table[..., NAMES.index(name)] / max(self.numel, 1)


def count(
    x: Tensor, scaled: Tensor, q: Tensor, y: Tensor, g: GridConstants, *, rows: bool
) -> Tensor:
    """The table for input x, x/scale, its rounding q and q·scale, all of one shape."""
    dims = (-1,) if rows else tuple(range(x.dim()))
    finite, size = torch.isfinite(x), q.abs()
    zero = torch.zeros((), dtype=x.dtype, device=x.device)
    lines = x.shape[:-1] if rows else ()
    error = y - x
    columns = [
        torch.where(finite, x.abs(), zero).amax(dims) if x.numel() else x.new_zeros(lines),
        ((scaled > g.hi_threshold) | (scaled < g.lo_threshold)).sum(dims),
        ((x != 0) & (q == 0)).sum(dims),
        ((size < g.smallest_normal) & (size > 0)).sum(dims),
        torch.isnan(x).sum(dims),
        torch.isinf(x).sum(dims),
        torch.where(finite, x * x, zero).sum(dims),
        torch.where(finite, error * error, zero).sum(dims),
    ]
    table = torch.stack([column.to(torch.float64) for column in columns], dim=-1)
    return table.reshape(-1, len(NAMES)) if rows else table


def add(total: Tensor | None, table: Tensor) -> Tensor:
    """Join the tables (…, 8) of two parts of one tensor: counts add, the largest amax stays."""
    if total is None:
        return table
    return torch.cat(
        [torch.maximum(total[..., :1], table[..., :1]), total[..., 1:] + table[..., 1:]], dim=-1
    )
