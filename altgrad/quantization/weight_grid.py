"""The numbers that one weight may be stored as: what grid-aware optimisers and storage need.

`grids_of(model)` makes one per rounded weight from the recipe in the model, so that format, scale
and mantissa are set in one place. `optim/` sees only the members of its own `Grid` protocol.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from altgrad.quantization.convert import quant_layers
from altgrad.quantization.recipe import Cast
from altgrad.quantization.rounding import Stochastic, round_values, ulp
from altgrad.quantization.scaling import StatefulScaling


class WeightGrid:
    """Stored numbers of a weight: the format's values times the scale that the weight has now.

    Args:
        cast: format, scaling and overflow of the weight, as the recipe has it.
        scaling: the one that the layer computes with, where it remembers earlier steps (delayed).
    """

    def __init__(self, cast: Cast, scaling: StatefulScaling | None = None) -> None:
        assert cast.format is not None
        self.cast, self.format = cast, cast.format
        self.scaling = cast.make_scaling() if scaling is None else scaling
        self.mantissa_bits = cast.format.mantissa_bits
        self.uniform = cast.format.exponent_bits <= 1

    def scale(self, weight: Tensor) -> Tensor | None:
        """The scale of `weight`, in a shape that broadcasts to it; None = 1."""
        if self.scaling is None:
            return None
        return self.scaling.expand(self.scaling.scales(weight, self.format), weight)

    def ulp(self, weight: Tensor) -> Tensor:
        """Spacing of the stored numbers at each entry, towards larger magnitude; weight's shape."""
        return ulp(weight, self.format, scale=self.scale(weight)).to(weight.dtype)

    def round(self, values: Tensor, seed: int | None = None) -> Tensor:
        """Onto the grid, elementwise: to nearest, ties to even; with a seed, stochastically."""
        rounding = "nearest_even" if seed is None else Stochastic(seed=seed)
        return round_values(
            values, self.format, scaling=self.scaling, rounding=rounding, out_dtype=values.dtype
        ).values

    def move(self, weight: Tensor, rungs: Tensor) -> Tensor:
        """The stored numbers `rungs` (integers, elementwise) above the nearest; ends clip."""
        scale = self.scale(weight)
        table = weight.new_tensor(sorted(self.format.values()))
        scaled = weight if scale is None else weight / scale
        index = nearest_index(table, scaled) + rungs.long()
        moved = table[index.clamp(0, len(table) - 1)]
        return moved if scale is None else (moved * scale).to(weight.dtype)


def nearest_index(table: Tensor, x: Tensor) -> Tensor:
    """Index of the nearest number in table (n,), ascending; the lower one in a tie; x's shape."""
    above = torch.searchsorted(table, x.contiguous()).clamp(1, len(table) - 1)
    return above - (x - table[above - 1] <= table[above] - x).long()


def grids_of(model: nn.Module) -> dict[Tensor, WeightGrid]:
    """Parameter (O, I) -> its grid, for every weight that the model's recipe rounds."""
    return {
        layer.weight: WeightGrid(layer.recipe.weight, layer.roundings["weight"].scaling)
        for layer in quant_layers(model).values()
        if layer.recipe.weight.format is not None
    }


def refuse_delayed(grids: Mapping[Tensor, WeightGrid]) -> None:
    """Refuse to store weights, of any shape, on a grid whose scale an earlier step decides.

    Raises:
        ValueError: some weight is scaled so; in one line, with the cure.
    """
    if any(grid.scaling is not None and grid.scaling.remembers for grid in grids.values()):
        raise ValueError(
            "precision.weight.scaling=delayed cannot store weights, nor steer their steps: the "
            "scale belongs to an earlier step; use precision.weight.scaling=tensor, or "
            "precision.storage=master and an optimiser that does not know the grid (adamw, muon)"
        )
