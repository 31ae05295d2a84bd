"""Ulp steps: the base optimiser says how many grid spacings to go, not how far.

    u = the base's update of w              (AdamW: -lr m / (sqrt(v) + eps), decay apart)
    w <- (1 - lr decay) w + u * ulp(w) * c

ulp(w) is the spacing of the stored numbers at w, scale and subnormals included, so `c = 1` makes
the learning rate a number of spacings. With `match_rms`, c = rms(u) / rms(u * ulp(w)) per tensor:
the step is as long as the base's, only distributed by geometry, and the base's rate carries over.

The geometry comes after the moments, where no division removes it.
Cost: two copies of the weights during the step.
When: weights stored in a small float format. Below half a spacing, rounding to nearest freezes
every such step: store with stochastic rounding, Kahan compensation or error feedback.
A zero weight has the spacing next to zero, the smallest there is, and so leaves zero slowly; a
tied embedding is one parameter and moves by the grid if its head has one; parameters without a
number format (biases, gains) move as under the base. Decay is decoupled, under SGD too.
Source: this project; the counterpart of ManifoldAdamW that Adam cannot cancel.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import Optimizer

from altgrad.optim.combined import CombinedOptimizer
from altgrad.optim.stiffness import Field


def rms_matched(step: Tensor, example: Tensor) -> Tensor:
    """`step`, of any shape, scaled to the root mean square of `example`; zero stays zero."""
    length = step.norm()
    ratio = torch.where(length > 0, example.norm() / length, 0.0)
    return step * ratio


class UlpOptimizer(CombinedOptimizer):
    """`base` with the updates of the parameters in `fields` measured in grid spacings."""

    def __init__(self, base: Optimizer, fields: Mapping[Tensor, Field], *, match_rms: bool) -> None:
        super().__init__([base])
        self.fields = fields
        self.match_rms = match_rms

    def move(self) -> None:
        moving = [(p, group) for p, group in self.moving() if p in self.fields]
        updates = self.updates_of_parts([p for p, _ in moving])
        for (p, group), update in zip(moving, updates, strict=True):
            step = update * self.fields[p](p)
            if self.match_rms:
                step = rms_matched(step, update)
            p.mul_(1.0 - group["lr"] * group["weight_decay"]).add_(step)
