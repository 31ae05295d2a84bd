"""Grid steps: a weight moves by whole rungs along the ladder of its stored numbers.

    r = the base's update, in rungs          (SGD: -lr times the velocity v = m v + g)
    r <- r - lr decay w / ulp(w), clipped to +- rung_clip
    w <- the stored number floor(r + U) rungs above w,  U uniform in [0, 1)

Rounding r stochastically keeps E[floor(r + U)] = r, so rates far below one rung per step still
move. The largest and smallest number stop a weight. The learning rate is in rungs per unit of the
base's update. Weights are put on the grid when the optimiser is made and never leave it.

Cost: two copies of the weights and a table lookup per step; no weight beside the stored one.
When: weights that exist only in a small format, with every transition explicit.
A zero weight moves like any other; parameters without a number format (biases, gains) are moved by
AdamW at `optim.free_lr`. Decay is decoupled.
Source: the `GridOptim` of altgrad's first version (velocity times a scale, clipped to 10 rungs,
rounded stochastically), which kept FP32 masters beside; here the stored weight is the only one,
Adam and Muon can be the base, and random numbers come from the run's seed.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import Optimizer

from altgrad.optim.combined import CombinedOptimizer
from altgrad.optim.grid import Grid, mixed_seed, uniform_like


class GridOptimizer(CombinedOptimizer):
    """`base` for the parameters in `grids`, in rungs; `free` for the others."""

    def __init__(
        self,
        base: Optimizer,
        free: Optimizer | None,
        grids: Mapping[Tensor, Grid],
        *,
        rung_clip: float,
        seed: int,
    ) -> None:
        super().__init__([base, free] if free else [base])
        self.grids, self.rung_clip, self.seed = grids, rung_clip, seed
        self.param_groups[0].setdefault("rung_steps", 0)
        with torch.no_grad():
            for p, grid in grids.items():
                p.copy_(grid.round(p))

    def move(self) -> None:
        moving = [(p, group) for p, group in self.moving() if p in self.grids]
        updates = self.updates_of_parts([p for p, _ in moving])
        step = self.param_groups[0]["rung_steps"]
        for index, ((p, group), update) in enumerate(zip(moving, updates, strict=True)):
            grid, decay = self.grids[p], group["lr"] * group["weight_decay"]
            rungs = update - decay * p / grid.ulp(p) if decay else update
            p.copy_(grid.move(p, self._whole(rungs, mixed_seed(self.seed, step, index))))
        self.param_groups[0]["rung_steps"] = step + 1

    def _whole(self, rungs: Tensor, seed: int) -> Tensor:
        clipped = rungs.clamp(-self.rung_clip, self.rung_clip)
        return torch.floor(clipped + uniform_like(clipped, seed))
