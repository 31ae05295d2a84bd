"""Two ways to do the same work, bit for bit: the native pass, and torch operations.

The torch version runs eagerly, in pieces whose temporaries stay in the cache, or is traced by
`torch.compile`, which fuses it with its neighbours; on an accelerator it runs as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from altgrad.quantization.formats import Format
from altgrad.quantization.rounding import counts, custom_op, in_pieces, native
from altgrad.quantization.rounding.checks import expand_scale
from altgrad.quantization.rounding.counts import Statistics
from altgrad.quantization.rounding.grid import (
    GridConstants,
    grid,
    held,
    round_to_grid,
    working_dtype,
)
from altgrad.quantization.rounding.random_bits import STRETCH
from altgrad.quantization.rounding.stochastic import BitSource, Stochastic

PIECE = STRETCH
"""Numbers per piece where the general version is cut: its temporaries stay in the caches, and a
piece is one stretch of random bits."""


class Scaling(Protocol):
    """What `scaling=` takes: see `scaling.py`."""

    def scales(self, x: Float[Tensor, "*shape"], f: Format) -> Float[Tensor, ...]:
        """The float32 scale of x, shaped as the scaling wants it."""

    def expand(self, scale: Tensor, x: Tensor) -> Tensor:
        """That scale in a shape that broadcasts against x."""

    def groups(self, x: Tensor) -> tuple[str, int, tuple[int, ...]] | None:
        """(rule of native.RULES, numbers per scale, shape of the scale) if x's scales belong to
        runs of neighbours and follow one of those rules; otherwise None."""


class Rounded(NamedTuple):
    """values: x's numbers on the grid. scale: float32, as the scaling shaped it (None: 1).
    stats: what was counted on the way, if asked."""

    values: Tensor
    scale: Tensor | None
    stats: Statistics | None


@dataclass(slots=True)
class Job:
    """The arguments of `round_values`, defaults resolved."""

    x: Tensor
    f: Format
    scale: float | Tensor | None
    scaling: Scaling | None
    rounding: str | Stochastic
    overflow: str
    out: Tensor | None
    out_dtype: torch.dtype
    unscaled: bool
    count_by: str | None

    @property
    def by_row(self) -> bool:
        return self.count_by == "row"

    def statistics(self, table: Tensor | None) -> Statistics | None:
        """A table [8] or [rows, 8] with how many numbers each of its lines counted."""
        if table is None:
            return None
        return Statistics(table, self.x.shape[-1] if self.by_row else self.x.numel())


def run(job: Job) -> Rounded:
    """Natively where possible, otherwise with torch operations."""
    traced = torch.compiler.is_compiling()
    counted = job.count_by is not None
    worth_it = not traced or custom_op.takes(job.rounding, job.x.numel(), counted=counted)
    if _native_can(job) and worth_it:
        layout = _native_layout(job)
        if layout is not None:
            return _native(job, layout)
    return _torch(job)


# --- the native version ----------------------------------------------------------------------


class _Layout(NamedTuple):
    rule: str
    group_size: int
    scales: Tensor | None
    shape: tuple[int, ...]


def _native_can(job: Job) -> bool:
    f, rounding = job.f, job.rounding
    hashed = (
        isinstance(rounding, Stochastic) and rounding.random_bits is None and rounding.bits is None
    )
    return (
        (hashed or rounding == "nearest_even")
        and (f.signed and f.has_zero)
        and type(job.x) in (Tensor, torch.nn.Parameter)
        and job.x.numel() > 0
        and working_dtype(f, job.x.dtype) == torch.float32
        and native.available(job.x, job.out_dtype)
    )


def _native_layout(job: Job) -> _Layout | None:
    """How x falls into groups of neighbours with one scale each; None for other layouts."""
    whole, last = job.x.numel(), job.x.shape[-1] if job.x.dim() else 1
    scale = job.scale
    if job.scaling is not None:
        groups = job.scaling.groups(job.x)
        if groups is not None and (not job.by_row or groups[1] == last):
            rule, size, shape = groups
            if rule == "given_each":
                scale = job.scaling.scales(job.x, job.f).contiguous().flatten()
                return _Layout(rule, size, scale, shape)
            return _Layout(rule, size, torch.empty(whole // size), shape)
        scale = job.scaling.scales(job.x, job.f)
        if scale.numel() != 1:
            return None
    if scale is None:
        return _Layout("unit", last if job.by_row else whole, None, ())
    scale = torch.as_tensor(scale, dtype=torch.float32)
    if scale.numel() == 1:
        size = last if job.by_row else whole
        return _Layout("given_one", size, scale.reshape(1), scale.shape)
    return _layout_of_many(job, scale, last)


def _layout_of_many(job: Job, scale: Tensor, last: int) -> _Layout | None:
    same_lead = scale.dim() == job.x.dim() and scale.shape[:-1] == job.x.shape[:-1]
    if not same_lead or last % scale.shape[-1] or (job.by_row and scale.shape[-1] != 1):
        return None
    size = last // scale.shape[-1]
    return _Layout("given_each", size, scale.contiguous().flatten(), scale.shape)


def _native(job: Job, layout: _Layout) -> Rounded:
    x, target, table = job.x.contiguous(), _target(job), None
    if job.count_by:
        lines = (x.numel() // layout.group_size,) if job.by_row else ()
        table = torch.zeros((*lines, len(counts.NAMES)), dtype=torch.float64)
    if torch.compiler.is_compiling():
        round_groups = partial(custom_op.round_groups, rounding=job.rounding)
    else:
        round_groups = partial(native.round_groups, keys=_keys(job.rounding))
    round_groups(
        x,
        job.f,
        out=target,
        group_size=layout.group_size,
        rule=layout.rule,
        scales=layout.scales,
        overflow=job.overflow,
        unscaled=job.unscaled,
        counts=table,
    )
    scale = None if layout.scales is None else layout.scales.view(layout.shape)
    return Rounded(_delivered(job, target), scale, job.statistics(table))


def _target(job: Job) -> Tensor:
    """Where to write: `out` itself where that is possible, otherwise a new tensor."""
    out = job.out
    if out is not None and out.is_contiguous() and out.dtype == job.out_dtype:
        return out
    return torch.empty(job.x.shape, dtype=job.out_dtype)


def _delivered(job: Job, target: Tensor) -> Tensor:
    return target if job.out is None or job.out is target else job.out.copy_(target)


def _keys(rounding: str | Stochastic) -> tuple[int, int] | None:
    if not isinstance(rounding, Stochastic):
        return None
    first, second = rounding.draw_keys()
    return int(first), int(second)


# --- the torch version -----------------------------------------------------------------------


def _torch(job: Job) -> Rounded:
    x, f = job.x, job.f
    work = working_dtype(f, x.dtype)
    scale = job.scaling.scales(x, f) if job.scaling is not None else job.scale
    wide = None
    if scale is not None:
        scale = torch.as_tensor(scale, dtype=torch.float32, device=x.device)
        expand = job.scaling.expand if job.scaling is not None else _expand
        wide = expand(scale, x).to(work)
    constants = grid(f, job.overflow, work)
    random = job.rounding
    bits = BitSource(random, f, work) if isinstance(random, Stochastic) else None
    if _worth_cutting(job, wide):
        values, table = _in_pieces(job, wide, constants, bits, work)
    else:
        values, table = _piece(job, x, wide, constants, bits, 0, work)
        values = in_dtype(values, job.out_dtype) if job.out is None else job.out.copy_(values)
    if not job.unscaled:
        values = held(values, scale, job.f, job.overflow)
    return Rounded(values, scale, job.statistics(table))


def in_dtype(x: Float[Tensor, "*shape"], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
    """`x.to(dtype)`, but no call where nothing changes.

    Compiled by torch 2.11, an autograd Function that returns the result of such a call gets no
    gradient at all, without a word; 2.13 is right.
    """
    return x if x.dtype == dtype else x.to(dtype)


def _expand(scale: Tensor, x: Tensor) -> Tensor:
    return expand_scale(scale, x.shape)


def _worth_cutting(job: Job, wide: Tensor | None) -> bool:
    eager_cpu = not torch.compiler.is_compiling() and job.x.device.type == "cpu"
    one_scale = wide is None or wide.numel() == 1
    return eager_cpu and one_scale and not job.by_row and job.x.numel() > 2 * PIECE


def _in_pieces(
    job: Job, wide, constants: GridConstants, bits, work
) -> tuple[Tensor, Tensor | None]:
    values = _target(job)
    flat, target, table = job.x.reshape(-1), values.view(-1), None
    if job.x.dtype == target.dtype == work == torch.float32 and not job.count_by:
        way = in_pieces.way_of(job.f, constants, job.rounding, bits and bits.keys, flat.numel())
        if way is not None:
            in_pieces.round_in_pieces(flat, target, wide, way, unscaled=job.unscaled)
            return _delivered(job, values), None
    for start in range(0, flat.numel(), PIECE):
        piece = flat[start : start + PIECE]
        part, found = _piece(job, piece, wide, constants, bits, start, work)
        target[start : start + PIECE] = part
        table = counts.add(table, found) if found is not None else None
    return _delivered(job, values), table


def _piece(job: Job, x, wide, constants: GridConstants, bits, start: int, work):
    """Scale, round, rescale and count one piece; everything in the working dtype."""
    x = x.to(work)
    scaled = x if wide is None else x / wide
    name = job.rounding if isinstance(job.rounding, str) else "stochastic"
    source, drawn = (scaled, None) if bits is None else bits(scaled, start)
    q = round_to_grid(source, constants, job.f, name, drawn)
    y = q if wide is None else q * wide
    table = counts.count(x, scaled, q, y, constants, rows=job.by_row) if job.count_by else None
    return (q if job.unscaled else y), table
