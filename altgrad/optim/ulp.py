"""Ulp steps: the base optimiser says how many grid spacings to go, not how far.

    u = the base's update of w              (AdamW: -lr m / (sqrt(v) + eps), decay apart)
    w <- (1 - lr decay) w + u * ulp(w) * c

and with the placebo `even`, s = u * ulp(w) * c once known, w <- … + u * mean|s| / mean|u|.

ulp(w) is the spacing of the stored numbers at w, scale and subnormals included, so `c = 1` makes
the learning rate a number of spacings. With `match_rms`, c = rms(u) / rms(u * ulp(w)) per tensor:
the step is as long as the base's, only distributed by geometry, and the base's rate carries over.

The geometry comes after the moments, where no division removes it.
The spacing may be a format's that the weights are not stored in; they may be plain floats.

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
from altgrad.optim.stiffness import Field, mean_ratio


def rms_ratio(step: Tensor, example: Tensor) -> Tensor:
    """0-d: what brings `step`, of any shape, to the root mean square of `example`; 0 for zero."""
    length = step.norm()
    return torch.where(length > 0, example.norm() / length, 0.0)


class UlpOptimizer(CombinedOptimizer):
    """`base` with the updates of the parameters in `fields` measured in grid spacings.

    Attributes:
        stretches: None, or a dict that collects what each weight's update was multiplied by (of its
            shape, or 0-d): error feedback needs to know how far the momentum moves a weight.
    """

    def __init__(
        self,
        base: Optimizer,
        fields: Mapping[Tensor, Field],
        *,
        match_rms: bool,
        even: bool = False,
    ) -> None:
        super().__init__([base])
        self.fields = fields
        self.match_rms, self.even = match_rms, even
        self.stretches: dict[Tensor, Tensor] | None = None

    def move(self) -> None:
        moving = [(p, group) for p, group in self.moving() if p in self.fields]
        updates = self.updates_of_parts([p for p, _ in moving])
        for (p, group), update in zip(moving, updates, strict=True):
            step, stretch = self._stretched(update, self.fields[p](p))
            if self.stretches is not None:
                self.stretches[p] = stretch
            p.mul_(1.0 - group["lr"] * group["weight_decay"]).add_(step)

    def _stretched(self, update: Tensor, spacing: Tensor) -> tuple[Tensor, Tensor]:
        """The step, and what `update` was multiplied by; both arguments of the weight's shape."""
        step = update * spacing
        if self.match_rms:
            ratio = rms_ratio(step, update)
            step, spacing = step * ratio, spacing * ratio
        if self.even:
            spacing = mean_ratio(step, update)
            step = update * spacing
        return step, spacing
