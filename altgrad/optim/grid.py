"""The numbers a weight may be stored as, seen from an optimiser.

Nothing here knows a number format by name: whoever builds the run hands in, per parameter, an
object with the four members of `Grid`. `TableGrid` makes one from a sorted list of numbers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from jaxtyping import Float, Integer
from torch import Tensor

STORAGE_MODES = ("master", "rounded", "kahan", "error_feedback")


class Grid(Protocol):
    """The stored numbers of one parameter, its scale included."""

    mantissa_bits: int
    uniform: bool  # no exponent: the same spacing everywhere

    def ulp(self, weight: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Spacing of the grid at each entry, towards larger magnitude; > 0, at zero too."""

    def round(
        self, values: Float[Tensor, "*shape"], seed: int | None = None
    ) -> Float[Tensor, "*shape"]:
        """Onto the grid: to nearest, ties to even; with a seed, stochastically."""

    def move(
        self, weight: Float[Tensor, "*shape"], rungs: Integer[Tensor, "*shape"]
    ) -> Float[Tensor, "*shape"]:
        """The stored numbers `rungs` (integers) above the nearest of `weight`; ends clip."""


@dataclass(frozen=True)
class Storage:
    """How the weights of a run are stored between steps.

    grids: parameter -> its grid; parameters not named are ordinary floats.
    geometry: grids whose spacing steers the geometry-aware optimisers, with
        `optim.stiffness` other than own; their parameters may be plain floats.
    mode: `master` (float weights, nothing is written back), `rounded`, `kahan`,
        `error_feedback`; see `rounding.py`.
    stochastic: rounding of what is written back; else to nearest.
    round_state: applied to each tensor of the optimiser's state after each step; None = off.
    seed: of stochastic rounding and of the placebo that shuffles.
    """

    grids: Mapping[Tensor, Grid] = field(default_factory=dict)
    geometry: Mapping[Tensor, Grid] | None = None
    mode: str = "master"
    stochastic: bool = False
    round_state: Callable[[Tensor], Tensor] | None = None
    seed: int = 0


class TableGrid:
    """A grid from its numbers in ascending order, times a scale.

    Args:
        values: (n,) finite numbers, n >= 2; at most a few thousand.
        mantissa_bits, uniform: as in `Grid`.
        scale_of: weight -> scale that broadcasts to it; default 1.
    """

    def __init__(
        self,
        values: Tensor,
        *,
        mantissa_bits: int,
        uniform: bool = False,
        scale_of: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.values = values
        self.positive = values[values >= 0]
        self.mantissa_bits = mantissa_bits
        self.uniform = uniform
        self.scale_of = scale_of or (lambda weight: weight.new_ones(()))
        self._zero = len(values) - len(self.positive)  # even codes are even steps from here

    def ulp(self, weight: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        scale = self.scale_of(weight)
        above = torch.searchsorted(self.positive, (weight / scale).abs(), right=True)
        above = above.clamp(1, len(self.positive) - 1)
        return (self.positive[above] - self.positive[above - 1]) * scale

    def round(
        self, values: Float[Tensor, "*shape"], seed: int | None = None
    ) -> Float[Tensor, "*shape"]:
        scale = self.scale_of(values)
        scaled = values / scale
        below = self._below(scaled)
        low, high = self.values[below], self.values[below + 1]
        share = (scaled - low) / (high - low)
        if seed is None:
            odd = (below - self._zero) % 2 == 1
            up = (share > 0.5) | ((share == 0.5) & odd)
        else:
            up = uniform_like(share, seed) < share
        return torch.where(scaled.isnan(), scaled, torch.where(up, high, low)) * scale

    def move(
        self, weight: Float[Tensor, "*shape"], rungs: Integer[Tensor, "*shape"]
    ) -> Float[Tensor, "*shape"]:
        scale = self.scale_of(weight)
        scaled = weight / scale
        below = self._below(scaled)
        nearer_above = scaled - self.values[below] > self.values[below + 1] - scaled
        target = below + nearer_above + rungs.to(below.dtype)
        return self.values[target.clamp(0, len(self.values) - 1)] * scale

    def _below(self, scaled: Tensor) -> Tensor:
        """Index of the largest number not above each entry, leaving room for the next one."""
        below = torch.searchsorted(self.values, scaled.contiguous(), right=True) - 1
        return below.clamp(0, len(self.values) - 2)


def uniform_like(x: Tensor, seed: int) -> Tensor:
    """Numbers in [0, 1) of x's shape, from their own generator."""
    generator = torch.Generator(device=x.device).manual_seed(seed)
    return torch.rand(x.shape, generator=generator, device=x.device, dtype=torch.float32)


def mixed_seed(seed: int, step: int, index: int) -> int:
    """A different 62-bit seed for each step and parameter (splitmix64's finaliser)."""
    z = (seed + 0x9E3779B97F4A7C15 * (step * 100_003 + index + 1)) % 2**64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    return (z ^ (z >> 31)) >> 2
