"""Sums over many tensors at once: what the instruments of training read in every step.

On a CPU with a compiler one native pass (`sums.cpp`) reads each tensor once; elsewhere torch
operations do it tensor by tensor. Sums are in float64, so that both agree to about 1e-12. Nothing
here waits for the device.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from altgrad.quantization.formats import Format
from altgrad.quantization.rounding import native
from altgrad.quantization.rounding.grid import working_dtype
from altgrad.quantization.rounding.round import round_values


class GradientSums(NamedTuple):
    """`table`: float64, one line (mean, std, L2 norm, share below the threshold, largest magnitude)
    per tensor. `peaks`: float32, the largest magnitude in each row of each matrix, then the next
    tensor's; another shape than a matrix is one row."""

    table: Float[Tensor, "n 5"]
    peaks: Float[Tensor, " rows"]


def gradient_sums(tensors: Sequence[Tensor], threshold: float) -> GradientSums:
    """Of every tensor, float32 of any shape, none of them empty; |x| < threshold counts as dead."""
    sizes = [t.numel() for t in tensors]
    rows = [t.shape[0] if t.dim() == 2 else 1 for t in tensors]
    if not _native_can(tensors):
        return _gradient_sums(tensors, threshold)
    raw = torch.zeros(len(tensors), 6, dtype=torch.float64)
    peaks = torch.empty(sum(rows))
    _library().altgrad_gradient_sums(
        len(tensors),
        _pointers(tensors),
        _integers(sizes),
        _integers(rows),
        threshold,
        raw.data_ptr(),
        peaks.data_ptr(),
        torch.get_num_threads(),
    )
    shifted, squares, energy, dead, peak, first = raw.unbind(1)
    numbers = torch.tensor(sizes, dtype=torch.float64)
    mean, std = _moments(shifted, squares, first, numbers)
    table = torch.stack([mean, std, energy.sqrt(), dead / numbers, peak], 1)
    return GradientSums(table, peaks)


def _gradient_sums(tensors: Sequence[Tensor], threshold: float) -> GradientSums:
    lines, peaks = [], []
    for t in tensors:
        size = t.abs()
        std, mean = torch.std_mean(t.to(widest_dtype(t.device)), correction=min(t.numel() - 1, 1))
        rows = size.amax(1) if t.dim() == 2 else size.amax().reshape(1)
        length = torch.linalg.vector_norm(t, dtype=widest_dtype(t.device))
        dead = (size < threshold).to(widest_dtype(t.device)).mean()
        lines.append(torch.stack([mean, std, length, dead, rows.amax().to(mean)]))
        peaks.append(rows)
    return GradientSums(torch.stack(lines), torch.cat(peaks))


class PairSums(NamedTuple):
    """float64, one number per pair of tensors: products a·a, b·b, a·b, the squared distance
    |a - b|², and mean and standard deviation of both."""

    aa: Tensor
    bb: Tensor
    ab: Tensor
    distance: Tensor
    mean_a: Tensor
    std_a: Tensor
    mean_b: Tensor
    std_b: Tensor


def pair_sums(a: Sequence[Tensor], b: Sequence[Tensor]) -> PairSums:
    """Of every pair of tensors of one shape, not empty, float32."""
    if not _native_can([*a, *b]):
        columns = torch.stack([_pair(x, y) for x, y in zip(a, b, strict=True)])
        return PairSums(*columns.unbind(1))
    sizes = [t.numel() for t in a]
    table = torch.zeros(len(a), 10, dtype=torch.float64)
    _library().altgrad_pair_sums(
        len(a),
        _pointers(a),
        _pointers(b),
        _integers(sizes),
        table.data_ptr(),
        torch.get_num_threads(),
    )
    aa, bb, ab, distance, a1, a2, b1, b2, first_a, first_b = table.unbind(1)
    numbers = torch.tensor(sizes, dtype=torch.float64)
    of_a, of_b = _moments(a1, a2, first_a, numbers), _moments(b1, b2, first_b, numbers)
    return PairSums(aa, bb, ab, distance, *of_a, *of_b)


def _pair(a: Tensor, b: Tensor) -> Tensor:
    a, b = a.flatten().to(widest_dtype(a.device)), b.flatten().to(widest_dtype(b.device))
    freedom = min(a.numel() - 1, 1)
    std_a, mean_a = torch.std_mean(a, correction=freedom)
    std_b, mean_b = torch.std_mean(b, correction=freedom)
    products = [torch.dot(a, a), torch.dot(b, b), torch.dot(a, b), (a - b).square().sum()]
    return torch.stack([*products, mean_a, std_a, mean_b, std_b])


class _StoredStruct(ctypes.Structure):
    _fields_ = (
        [(name, ctypes.c_void_p) for name in ("before", "after", "kept", "grid")]
        + [(name, ctypes.c_int64) for name in ("size", "group_size")]
        + [(name, ctypes.c_int32) for name in ("rule", "max_exponent")]
        + [("format_max", ctypes.c_float)]
    )


Coding = tuple[Format, Any]
"""A format and its scaling (None: no scale)."""


class UpdateCounter:
    """Counts what became of an optimiser's step, for a fixed list of parameters.

    Args:
        parameters: what moves.
        codings: how each is stored; None = in float32, as it is.
    """

    def __init__(self, parameters: Sequence[Tensor], codings: Sequence[Coding | None]) -> None:
        self.codings = codings
        self.layouts = [_layout(p, c) for p, c in zip(parameters, codings, strict=True)]
        self.native = [i for i, layout in enumerate(self.layouts) if layout is not None]
        self.structs = (_StoredStruct * len(self.native))()
        for struct, i in zip(self.structs, self.native, strict=True):
            _describe(struct, parameters[i].numel(), codings[i], self.layouts[i])

    def count(
        self, before: Sequence[Tensor], after: Sequence[Tensor], kept: Sequence[Tensor]
    ) -> Integer[Tensor, "n 3"]:
        """Per parameter: numbers that kept their value; that the optimiser moved; of those, the
        ones whose code changed, with the scale of `before` (0 where nothing is coded).

        `after` is what the optimiser wanted, `kept` what was stored of it.
        """
        device = before[0].device
        here = self.native if _native_can([*before, *after, *kept]) else []
        found = torch.zeros(len(self.native), 3, dtype=torch.int64, device=device)
        if here:
            for struct, i in zip(self.structs, here, strict=True):
                struct.before, struct.after = before[i].data_ptr(), after[i].data_ptr()
                struct.kept = kept[i].data_ptr()
            _library().altgrad_lost_updates(
                len(here), self.structs, found.data_ptr(), torch.get_num_threads()
            )
        if len(here) == len(before):
            return found
        lines = dict(zip(here, found, strict=False))
        for i in range(len(before)):
            if i not in lines:
                lines[i] = _lost(before[i], after[i], kept[i], self.codings[i])
        return torch.stack([lines[i] for i in range(len(before))])


def _layout(p: Tensor, coding: Coding | None) -> tuple[str, int] | None:
    """(rule of native.RULES, numbers per scale), or None for the torch version."""
    if coding is None or coding[1] is None:
        return "unit", p.numel()
    f, scaling = coding
    if not (f.signed and f.has_zero) or working_dtype(f, torch.float32) != torch.float32:
        return None
    groups = scaling.groups(p)
    return None if groups is None else groups[:2]


def _describe(
    struct: _StoredStruct, size: int, coding: Coding | None, layout: tuple[str, int] | None
) -> None:
    assert layout is not None
    struct.size, struct.group_size, struct.rule = size, layout[1], native.RULES[layout[0]]
    if coding is not None:
        f = coding[0]
        struct.grid = native.grid_address(f, "saturate")
        struct.format_max, struct.max_exponent = f.max, f.max_exponent


def _lost(before: Tensor, after: Tensor, kept: Tensor, coding: Coding | None) -> Tensor:
    same = (before == kept).sum()
    if coding is None:
        return torch.stack([same, (before != after).sum(), torch.zeros_like(same)])
    f, scaling = coding
    scale = None if scaling is None else scaling.expand(scaling.scales(before, f), before)
    return torch.stack([same, *count_flips(before, after, kept, f, scale)])


def count_flips(
    before: Float[Tensor, "*shape"],
    after: Float[Tensor, "*shape"],
    kept: Float[Tensor, "*shape"],
    f: Format,
    scale: float | Tensor | None,
) -> tuple[Tensor, Tensor]:
    """How many numbers the optimiser moved, and of how many of those the code changed; 0-d each.

    `after` is what it wanted, `kept` what was stored of it. One scale serves before and after: a
    change of scale alone is no flip.
    """
    old, new = (round_values(t, f, scale=scale, unscaled=True).values for t in (before, kept))
    moved = before != after
    return moved.sum(), (moved & (old != new)).sum()


def widest_dtype(device: torch.device) -> torch.dtype:
    """float64, except on Apple's GPUs, which have none."""
    return torch.float32 if device.type == "mps" else torch.float64


def _moments(shifted: Tensor, squares: Tensor, first: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation from sums of x - first and of its square."""
    variance = (squares - shifted.square() / n).clamp_min(0) / (n - 1).clamp_min(1)
    return first + shifted / n, variance.sqrt()


def _native_can(tensors: Sequence[Tensor]) -> bool:
    usual = all(
        t.dtype == torch.float32
        and t.device.type == "cpu"
        and type(t) in (Tensor, torch.nn.Parameter)
        and t.is_contiguous()
        and t.numel()
        for t in tensors
    )
    return usual and bool(tensors) and native.library() is not None


def _library() -> ctypes.CDLL:
    found = native.library()
    assert found is not None
    return found


def _pointers(tensors: Sequence[Tensor]) -> ctypes.Array:
    return (ctypes.c_void_p * len(tensors))(*[t.data_ptr() for t in tensors])


def _integers(numbers: Sequence[int]) -> ctypes.Array:
    return (ctypes.c_int64 * len(numbers))(*numbers)
