"""An optimiser of your own. As it stands it is AdamW: change what is marked.

    altgrad verify optim=adamw optim.name=mine:Optimiser
    altgrad train optim=adamw optim.name=mine:Optimiser optim.lr=0.003
    altgrad compare optim.name=adamw,mine:Optimiser seeds=5 tune=optim.lr

Contract
    a subclass of torch.optim.Optimizer; __init__(params, lr=…, …)
        params    parameter groups, each with params, name, lr and weight_decay
        others    every argument whose name is a setting `optim.*` gets its value; the rest keep
                  their defaults
    step()        moves every parameter that has a gradient, in place, by its group's lr, which the
                  schedule sets anew before each step
    state         tensors and plain values in self.state[p]: they are saved and resumed bit for bit
or, where the settings decide more: `def optimiser(groups, config, storage)`, returning one.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer


class Optimiser(Optimizer):
    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        betas: Any = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        how = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, how)

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                self._move(p, p.grad, group)
        return loss

    def _move(self, p: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state, (b1, b2) = self.state[p], group["betas"]
        if not state:
            state.update(step=0, mean=torch.zeros_like(p), square=torch.zeros_like(p))
        state["step"] += 1
        # Yours begins here.
        mean = state["mean"].lerp_(gradient, 1 - b1) / (1 - b1 ** state["step"])
        square = state["square"].lerp_(gradient.square(), 1 - b2) / (1 - b2 ** state["step"])
        direction = mean / (square.sqrt() + group["eps"])
        # Yours ends here.
        p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(direction, alpha=group["lr"])
