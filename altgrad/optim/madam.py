"""Madam: a weight is multiplied, so its logarithm moves by at most the learning rate times a bound.

    v <- b v + (1 - b) g^2,   b = 0.999
    n  = clip(g / sqrt(v / (1 - b^t)), bound)            (0 where v is 0)
    w <- w exp(-lr (n sign(w) + decay)),  then |w| <= scale * rms(w at the first step)

LNS-Madam keeps |w| = 2^(k / L), integers k, L = `steps_per_octave`:

    k <- k - round(L lr n sign(w)) - round(L lr decay),

which is the update in the logarithmic number system the weights are stored in; a step below half a
level is lost. With lr = 1 / L it moves by round(n) levels, as the published code does.

Cost: one buffer; no momentum. When: weights in formats whose spacing grows with the magnitude.
A zero stays zero and a sign never changes: a tensor of zeros cannot be trained, so it is refused.
Biases, gains and other parameters that are not 2-D are moved by AdamW at `optim.free_lr`.
Sources: J. Bernstein et al., "Learning compositional functions via multiplicative weight updates",
arXiv:2006.14560, algorithm 1 (no decay there); J. Zhao et al., "LNS-Madam", arXiv:2106.13914.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

BETA = 0.999


class Madam(torch.optim.Optimizer):
    """Madam, or LNS-Madam with `steps_per_octave` above 0.

    Raises ValueError for a tensor whose entries are all zero.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 0.01,
        *,
        bound: float = 10.0,
        scale: float = 3.0,
        weight_decay: float = 0.0,
        steps_per_octave: int = 0,
    ) -> None:
        defaults = {
            "lr": lr,
            "bound": bound,
            "scale": scale,
            "weight_decay": weight_decay,
            "steps_per_octave": steps_per_octave,
            "steps": 0,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            _refuse_zeros(group["params"])

    @torch.no_grad()
    def step(self, closure=None):
        """Move every parameter that has a gradient; returns the closure's loss, if one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            group["steps"] += 1
            for p in (p for p in group["params"] if p.grad is not None):
                self._move(p, group)
        return loss

    def _move(self, p: Tensor, group: dict[str, Any]) -> None:
        if not self.state[p]:
            self.state[p] = _first_state(p, group["scale"])
        limit = self.state[p]["limit"]
        down = self._normalised_gradient(p, group) * p.sign() + group["weight_decay"]
        levels = group["steps_per_octave"]
        moved = (
            in_levels(p, group["lr"] * down, levels) if levels else p * (-group["lr"] * down).exp()
        )
        p.copy_(torch.maximum(torch.minimum(moved, limit), -limit))

    def _normalised_gradient(self, p: Tensor, group: dict[str, Any]) -> Tensor:
        second = self.state[p]["exp_avg_sq"]
        second.mul_(BETA).addcmul_(p.grad, p.grad, value=1.0 - BETA)
        root = (second / (1.0 - BETA ** group["steps"])).sqrt()
        bound = group["bound"]
        return torch.where(root > 0, p.grad / root, 0.0).clamp(-bound, bound)


def in_levels(weight: Tensor, octaves_down: Tensor, levels: int) -> Tensor:
    """Elementwise: |weight| = 2^(k / levels) moved down by whole levels; zero stays zero."""
    k = torch.round(levels * weight.abs().log2()) - torch.round(levels * octaves_down)
    return torch.where(weight == 0, 0.0, weight.sign() * torch.exp2(k / levels))


def _first_state(p: Tensor, scale: float) -> dict[str, Tensor]:
    return {"exp_avg_sq": torch.zeros_like(p), "limit": scale * p.norm() / math.sqrt(p.numel())}


def _refuse_zeros(params: list[Tensor]) -> None:
    for p in params:
        if not p.detach().any():
            raise ValueError(
                f"Madam multiplies weights and cannot move a tensor of zeros (here of shape "
                f"{tuple(p.shape)}); choose another optimiser, or a model that starts "
                "elsewhere (model.init=gpt2)"
            )
