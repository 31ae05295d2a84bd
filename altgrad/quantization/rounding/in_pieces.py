"""Long float32 tensors with torch operations on a CPU, where nothing is compiled.

A tensor is taken in pieces whose temporaries stay in the caches of the cores; a piece is rounded by
a few operations that write into buffers which are there already. Two cases have such a way: to
nearest by adding and subtracting (`grid.py` says why that rounds), and stochastically with
hashed bits, lifting what is below the smallest normal number. Both give the bits of the general
version.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from altgrad.quantization.formats import Format
from altgrad.quantization.rounding.grid import (
    EXPONENT_BITS,
    GridConstants,
    adding_rounds,
    round_to_grid,
)
from altgrad.quantization.rounding.random_bits import STRETCH, spread, stretch_keys, trailing_bits
from altgrad.quantization.rounding.stochastic import Stochastic

_MOST_THREADS = 16
_MAGNITUDE = 0x7FFFFFFF


class Way(Protocol):
    """Rounds piece `x` of at most `length` numbers, which begins at element `start`, into `out`,
    which is not x."""

    length: int

    def __call__(self, x: Tensor, out: Tensor, start: int) -> None: ...


def length_of_pieces() -> int:
    """One stretch of random bits for every thread."""
    return STRETCH * min(torch.get_num_threads(), _MOST_THREADS)


def way_of(
    f: Format, g: GridConstants, rounding: str | Stochastic, keys: tuple | None, numel: int
) -> Way | None:
    """The short way for `numel` numbers in float32; None where only the general one is right."""
    if isinstance(rounding, Stochastic):
        whole = rounding.random_bits is None and rounding.bits is None
        usual = whole and g.over_hi == g.hi and f.signed and f.has_zero
        return _Lifting(f, g, keys, numel) if usual and keys is not None else None
    return _Adding(g) if adding_rounds(f, g, rounding, torch.float32) else None


def round_in_pieces(
    x: Tensor, out: Tensor, scale: Tensor | None, way: Way, *, unscaled: bool
) -> None:
    """Flat `x` into flat `out`, which may be x itself; `scale` is one number or None."""
    same = x.untyped_storage().data_ptr() == out.untyped_storage().data_ptr()
    length = way.length
    buffer = torch.empty(length) if same or scale is not None else None
    for start in range(0, x.numel(), length):
        source, target = x[start : start + length], out[start : start + length]
        if buffer is not None:
            held = buffer[: source.numel()]
            source = held.copy_(source) if scale is None else torch.div(source, scale, out=held)
        way(source, target, start)
        if scale is not None and not unscaled:
            target.mul_(scale)


class _Adding:
    """x + c - c with c = 1.5·2^23 spacings of x's own binade."""

    def __init__(self, g: GridConstants) -> None:
        self.grid, self.length = g, length_of_pieces()
        self.scratch = torch.empty(self.length)

    def __call__(self, x: Tensor, out: Tensor, start: int) -> None:
        g, binade = self.grid, self.scratch[: x.numel()]
        torch.bitwise_and(x.view(torch.int32), EXPONENT_BITS, out=binade.view(torch.int32))
        binade.clamp_(g.min_normal, 2.0**100)
        spacings = 1.5 * 2.0**23 * g.relative_spacing
        torch.add(x, binade, alpha=spacings, out=out).sub_(binade, alpha=spacings)
        out.clamp_(g.lo, g.hi)
        if math.copysign(1.0, g.zero) < 0:
            out.copysign_(x)


class _Lifting:
    """Random bits added to the bit pattern, of magnitudes lifted where the spacing is fixed."""

    def __init__(self, f: Format, g: GridConstants, keys: tuple, numel: int) -> None:
        self.format, self.grid, self.keys = f, g, keys
        self.length = length_of_pieces()
        self.table = spread(torch.arange(STRETCH, dtype=torch.int32), keys[0])
        stretches = torch.arange(-(-numel // STRETCH)).bitwise_and_(0xFFFF).to(torch.int32)
        many, add = stretch_keys(stretches, *keys)
        self.many, self.add = many.tolist(), add.unbind()
        self.magnitudes, self.below = torch.empty(2, self.length)
        self.bits = torch.empty(self.length, dtype=torch.int32)

    def __call__(self, x: Tensor, out: Tensor, start: int) -> None:
        g, n = self.grid, x.numel()
        low, high = (float(end) for end in torch.aminmax(x))
        if math.isnan(low):
            return self._generally(x, out, start)
        if low < g.lo or high > g.hi:
            x = x.clamp(g.lo, g.hi)  # what saturates needs no random bits
        a, below = self.magnitudes[:n], self.below[:n]
        word = a.view(torch.int32)
        torch.bitwise_and(x.view(torch.int32), _MAGNITUDE, out=word)
        torch.lt(a, g.min_normal, out=below)
        a.add_(below, alpha=g.lift)
        word.add_(self._bits(start, n)).bitwise_and_(g.keep)
        a.sub_(below, alpha=g.lift)
        torch.copysign(a, x, out=out)
        if math.copysign(1.0, g.zero) > 0:
            out.add_(0.0)
        return None

    def _bits(self, start: int, n: int) -> Tensor:
        bits, first = self.bits[:n], start // STRETCH
        for row, part in enumerate(bits.split(STRETCH)):
            add, many = self.add[first + row], self.many[first + row]
            torch.add(add, self.table[: len(part)], alpha=many, out=part)
        return bits.bitwise_right_shift_(32 - self.grid.shift).bitwise_and_(
            (1 << self.grid.shift) - 1
        )

    def _generally(self, x: Tensor, out: Tensor, start: int) -> None:
        stop, number = start + x.numel(), self.grid.shift
        bits = trailing_bits(start, stop, self.keys, number, torch.int32, x.device)
        out.copy_(round_to_grid(x, self.grid, self.format, "stochastic", bits))
