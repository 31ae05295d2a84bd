"""What rounding did, counted: on tensors already in hand, without waiting for the device.

Overflow, underflow and SQNR come out of the rounding pass itself (`counts.Statistics`); this file
has what needs codes or two points in time. Stall: the optimiser moved a number and its stored code
did not change (with the scale of that step: a change of scale alone is no flip). Flip: the code
changed.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from altgrad.quantization.formats import Format
from altgrad.quantization.rounding import (
    as_format,
    count_flips,
    decibels,
    quantize,
    round_values,
    ulp,
)


def sqnr_db(x: Float[Tensor, "*shape"], rounded: Float[Tensor, "*shape"]) -> Tensor:
    """20·log10(‖x‖/‖x - rounded‖), 0-d, in dB; inf where nothing was lost."""
    x, rounded = x.detach().double(), rounded.detach().double()
    return decibels(x.square().sum(), (x - rounded).square().sum())


def code_histogram(
    x: Float[Tensor, "*shape"], f: Format | str, *, scale: float | Tensor | None = None
) -> Integer[Tensor, " codes"]:
    """How often each code of the format is used by x/scale: 2^bits counts. NaN is left out where
    the format has no code for it."""
    f = as_format(f)
    if f.bits > 16:
        raise ValueError(f"{f.name} has 2^{f.bits} codes; a histogram takes up to 16 bits")
    codes = quantize(x, f, scale=scale, nan=None if f.has_nan else 0.0).flatten().long()
    if not f.has_nan:
        codes = codes[~torch.isnan(x.detach().flatten())]
    return torch.bincount(codes, minlength=1 << f.bits)


def code_utilisation(
    x: Float[Tensor, "*shape"], f: Format | str, *, scale: float | Tensor | None = None
) -> Tensor:
    """Share of the format's finite codes that x/scale uses at least once, 0-d."""
    f = as_format(f)
    used = code_histogram(x, f, scale=scale) > 0
    every = torch.arange(1 << f.bits, device=used.device)
    magnitude = every & (f.sign_code - 1) if f.signed else every
    finite = torch.ones_like(used) if f.twos_complement else magnitude <= f.max_code
    if f.has_nan and f.signed and not f.has_negative_zero:
        finite = finite & (every != f.sign_code)
    return (used & finite).sum() / f.finite_codes


def ulp_distance(
    a: Float[Tensor, "*shape"],
    b: Float[Tensor, "*shape"],
    f: Format | str,
    *,
    scale: float | Tensor | None = None,
) -> Integer[Tensor, "*shape"]:
    """How many representable numbers lie between a and b, elementwise, as int64: the difference of
    their codes in numerical order. Both zeros count as one number; NaN raises `ValueError`."""
    f = as_format(f)
    if bool(torch.isnan(a).any() | torch.isnan(b).any()):
        raise ValueError("ulp_distance of NaN is undefined; mask it out first")
    return (_ordered(a, f, scale) - _ordered(b, f, scale)).abs()


def _ordered(x: Tensor, f: Format, scale: float | Tensor | None) -> Tensor:
    """Codes as integers in numerical order, zero at 0."""
    code = quantize(x, f, scale=scale, nan=0.0).long()
    if not f.signed:
        return code
    negative = code >= f.sign_code
    if f.twos_complement:
        return torch.where(negative, code - (1 << f.bits), code)
    return torch.where(negative, f.sign_code - code, code)


class StallCount(NamedTuple):
    """0-d tensors. updates: numbers the optimiser moved. flips: of those, the stored code
    changed."""

    updates: Tensor
    flips: Tensor

    @property
    def stalled(self) -> Tensor:
        """Moved, but stored as before, 0-d."""
        return self.updates - self.flips

    @property
    def ratio(self) -> Tensor:
        """1 - flips/updates, 0-d; 0 where nothing was moved."""
        return self.stalled / self.updates.clamp(min=1)


def count_stalls(
    before: Float[Tensor, "*shape"],
    after: Float[Tensor, "*shape"],
    f: Format | str,
    *,
    scale: float | Tensor | None = None,
    stored: Float[Tensor, "*shape"] | None = None,
) -> StallCount:
    """Compare weights before and after an optimiser's step on the grid of `f` with one scale.

    `after` is what the optimiser wanted; `stored`, where it differs, is what was kept of it (put on
    the grid, perhaps stochastically).
    """
    kept = after if stored is None else stored
    return StallCount(*count_flips(before, after, kept, as_format(f), scale))


class BitStallDetector:
    """Share of numbers that an optimiser moved without changing what is stored.

    `observe(before, after, f)` takes the weights around a real step of any optimiser;
    `update(weight, grad, lr, format, scale)` the step that plain SGD would make. Counters stay on
    the device until they are read. The window is the last `window` observed steps.
    """

    def __init__(self, window: int = 100) -> None:
        self.window: deque[StallCount] = deque(maxlen=window)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.window.clear()
        self.step_count = 0
        self._updates: Tensor | int = 0
        self._flips: Tensor | int = 0

    def observe(
        self,
        before: Float[Tensor, "*shape"],
        after: Float[Tensor, "*shape"],
        f: Format | str,
        *,
        scale: float | Tensor | None = None,
        stored: Float[Tensor, "*shape"] | None = None,
    ) -> StallCount:
        """Count one step; see `count_stalls`."""
        found = count_stalls(before, after, f, scale=scale, stored=stored)
        self.window.append(found)
        self._updates, self._flips = self._updates + found.updates, self._flips + found.flips
        self.step_count += 1
        return found

    def update(
        self,
        weight: Float[Tensor, "*shape"],
        grad: Float[Tensor, "*shape"],
        lr: float,
        format: Format | str,
        scale: float | Tensor = 1.0,
    ) -> None:
        """Count the step weight - lr·grad."""
        self.observe(weight, weight - lr * grad, format, scale=scale)

    @property
    def total_count(self) -> int:
        """Numbers that were moved, so far."""
        return int(self._updates)

    @property
    def stall_count(self) -> int:
        """Of those, how many kept their code."""
        return int(self._updates - self._flips)

    def get_stall_rate(self) -> float:
        """stall_count / total_count, 0 before anything moved."""
        return self.stall_count / max(self.total_count, 1)

    def get_stats(self) -> dict[str, float]:
        """Cumulative counts, and the stall rate of the window."""
        updates = sum(int(count.updates) for count in self.window)
        flips = sum(int(count.flips) for count in self.window)
        return {
            "stall_rate": self.get_stall_rate(),
            "stall_count": self.stall_count,
            "total_count": self.total_count,
            "flip_count": int(self._flips),
            "step_count": self.step_count,
            "window_stall_rate": (updates - flips) / updates if updates else 0.0,
        }


def grid_distance(
    x: Float[Tensor, "*shape"], f: Format | str, *, scale: float | Tensor | None = None
) -> Tensor:
    """Mean of |x - q(x)| in units of the local spacing, 0-d: 0 on the grid, 0.25 at random."""
    f = as_format(f)
    error = (round_values(x, f, scale=scale).values.float() - x.detach().float()).abs()
    share = error / ulp(x, f, scale=scale).float()
    return torch.where(torch.isfinite(share), share, math.nan).nanmean()
