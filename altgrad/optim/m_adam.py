"""M+Adam: Adam moves the mantissa of a weight, Madam its exponent, at the same time.

    w = m 2^e,  0.5 <= |m| < 1          (frexp, afresh at each step)
    g_m = 2^e g,   g_e = ln(2) w g       (the gradient in m and in e)
    m <- m - clip(lr   Adam(g_m), 0.25)
    e <- e - clip(lr_e Adam(g_e), 0.5)
    w <- (1 - lr decay) m 2^e

Adam(g) is the bias-corrected first moment over the root of the second plus eps, with one pair of
moments for m and one for e.

Cost: four buffers of the size of the weights. When: weights kept in a small float format without
float32 masters: the mantissa steps are a constant number of spacings within a binade, the exponent
steps cross binades.
A zero weight has m = 0, e = 0: it moves by lr, in absolute terms, once. Parameters that are not
2-D are moved by AdamW at `optim.free_lr`.
Source: X. Liang, S. Loeschcke, M. Toftrup, A. Anandkumar, "M+Adam: stable low-precision training
with combined Adam-Madam updates", OPT 2025 (opt-ml.org/papers/2025/paper141.pdf). The paper's bound
on |w| is left out.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

MANTISSA_CAP = 0.25
EXPONENT_CAP = 0.5


class MAdam(torch.optim.Optimizer):
    """M+Adam; see the top of this file. `exponent_lr_ratio` is lr_e / lr."""

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        *,
        exponent_lr_ratio: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "exponent_lr_ratio": exponent_lr_ratio,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "steps": 0,
        }
        super().__init__(params, defaults)

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
        mantissa, whole = torch.frexp(p)
        exponent = whole.to(p.dtype)
        lr, grad = group["lr"], p.grad
        assert grad is not None
        by_m = lr * self._adam(p, "mantissa", grad * torch.exp2(exponent), group)
        by_e = lr * self._adam(p, "exponent", grad * p * math.log(2.0), group)
        mantissa = mantissa - by_m.clamp(-MANTISSA_CAP, MANTISSA_CAP)
        by_e = (group["exponent_lr_ratio"] * by_e).clamp(-EXPONENT_CAP, EXPONENT_CAP)
        p.copy_(mantissa * torch.exp2(exponent - by_e))
        p.mul_(1.0 - lr * group["weight_decay"])

    def _adam(self, p: Tensor, name: str, grad: Tensor, group: dict[str, Any]) -> Tensor:
        state, (beta1, beta2), steps = self.state[p], group["betas"], group["steps"]
        if f"{name}_avg" not in state:
            state[f"{name}_avg"] = torch.zeros_like(p)
            state[f"{name}_avg_sq"] = torch.zeros_like(p)
        first = state[f"{name}_avg"].lerp_(grad, 1.0 - beta1)
        second = state[f"{name}_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1.0 - beta2)
        root = (second / (1.0 - beta2**steps)).sqrt().add_(group["eps"])
        return first / (1.0 - beta1**steps) / root
