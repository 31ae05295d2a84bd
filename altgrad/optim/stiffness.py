"""Stiffness: how far apart the stored numbers lie at a weight, and its placebos.

A field is a function weight -> positive tensor of the same shape. If steps gain from the geometry
of a format, they must lose the gain where the same spacings are dealt out at random (`shuffled`)
and where every weight of a matrix goes equally far (`evened`).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from altgrad.optim.grid import Grid, mixed_seed

Field = Callable[[Tensor], Tensor]
MAX_STIFFNESS = 1e6
PLACEBOS = ("none", "shuffled", "constant")


def published_stiffness(grid: Grid) -> Field:
    """S = 2^(floor(log2 |w|) - M), as published with ManifoldAdamW.

    The scale of the format, its smallest and its largest number do not enter. A weight of zero has
    S = 1, which is far more than its neighbours' (they have S near 0); a uniform grid has 2^-M
    everywhere; S is at most 1e6.
    """

    def field(weight: Tensor) -> Tensor:
        if grid.uniform:
            return torch.full_like(weight, 2.0**-grid.mantissa_bits)
        exponent = torch.frexp(weight)[1] - 1  # floor(log2 |w|), exactly
        stiffness = torch.ldexp(torch.ones_like(weight), exponent - grid.mantissa_bits)
        return torch.where(weight == 0, 1.0, stiffness).clamp(max=MAX_STIFFNESS)

    return field


def shuffled(field: Field, seed: int) -> Field:
    """Placebo: the same values, each at the place of another weight of the tensor.

    The permutation depends on the seed and the tensor's size alone, so it stays the same from step
    to step and after a resume.
    """
    permutations: dict[torch.Size, Tensor] = {}

    def placebo(weight: Tensor) -> Tensor:
        if weight.shape not in permutations:
            generator = torch.Generator().manual_seed(mixed_seed(seed, 0, weight.numel()))
            order = torch.randperm(weight.numel(), generator=generator)
            permutations[weight.shape] = order.to(weight.device)
        return field(weight).flatten()[permutations[weight.shape]].view(weight.shape)

    return placebo


def mean_ratio(scaled: Tensor, plain: Tensor) -> Tensor:
    """0-d: mean |scaled| / mean |plain|, both of any shape; 0 where `plain` is all zero."""
    length = plain.abs().mean()
    return torch.where(length > 0, scaled.abs().mean() / length, 0.0)


def evened(scaled: Tensor, plain: Tensor) -> Tensor:
    """Placebo: `plain` times one number, so that its mean magnitude is that of `scaled`."""
    return plain * mean_ratio(scaled, plain)
