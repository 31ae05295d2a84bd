"""How an update is written back where no float32 master weight is kept.

After the optimiser's step a weight is w', a float beside the grid. What is stored:

| mode           | stored                  | what becomes of the rest                       |
|----------------|-------------------------|------------------------------------------------|
| rounded        | round(w')               | lost; to nearest, any step below half a spacing |
| kahan          | q = round(w' + c)       | c <- (w' + c) - q, kept in bfloat16            |
| error_feedback | q = round(w'), e = w'-q | e goes into the momentum, no buffer            |

round is to nearest or stochastic (unbiased: E[round(w')] = w').

Error feedback puts e into the momentum buffer M so that the steps to come add up to e:
    SGD   M += (1 - 1/m) / lr * e                        (Nesterov: once more divided by m)
    Adam  M += (1 - 1/b1) (1 - b1^t) / lr * (sqrt(v / (1 - b2^t)) + eps) * e
An ulp step multiplies what the momentum gives by a stretch s = ulp(w) c (`ulp.py`): there e / s is
put in, so that e comes back as long as the spacing stays what it is now. Where s is zero nothing
moved but by decay, and e is lost.
Where the step is not linear in the momentum (Muon, grid steps, Madam) `build.py` refuses it;
`kahan` serves those.

Sources: P. Zamirai et al., "Revisiting BFloat16 training", arXiv:2010.06192 (nearest cancels small
updates; stochastic rounding and Kahan summation repair it); M. Nikdan et al., "ECO: quantized
training without full-precision master weights", arXiv:2601.22101, algorithms 2 and 3.
"""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from altgrad.optim.combined import CombinedOptimizer
from altgrad.optim.grid import STORAGE_MODES, Grid, Storage, mixed_seed


class StoredOptimizer(CombinedOptimizer):
    """`inner`, after whose step weights are put on their grids and its state is rounded.

    The weights are put on their grids at once, to nearest. Raises ValueError for an unknown mode.
    """

    def __init__(self, inner: Optimizer, storage: Storage) -> None:
        super().__init__([inner])
        if storage.mode not in STORAGE_MODES:
            allowed = ", ".join(STORAGE_MODES)
            raise ValueError(f"precision.storage={storage.mode!r} is not one of {allowed}")
        self.storage = storage
        self.wanted: dict[Tensor, Tensor] | None = None  # a dict collects weights before storing
        self.param_groups[0].setdefault("writes", 0)
        self.stretching = inner if hasattr(inner, "stretches") else None
        if self.stretching is not None and storage.mode == "error_feedback":
            self.stretching.stretches = {}
        if storage.mode != "master":
            self._project()

    @torch.no_grad()
    def _project(self) -> None:
        for p, grid in self.storage.grids.items():
            p.copy_(grid.round(p))

    def move(self) -> None:
        super().move()
        step = self.param_groups[0]["writes"]
        for index, (p, group) in enumerate(self.moving()):
            if self.storage.mode != "master" and p in self.storage.grids:
                seed = mixed_seed(self.storage.seed, step, index)
                self._write(p, group, seed if self.storage.stochastic else None)
            if self.storage.round_state is not None:
                self._round_state(p)
        self.param_groups[0]["writes"] = step + 1

    def _write(self, p: Tensor, group: dict[str, Any], seed: int | None) -> None:
        grid = self.storage.grids[p]
        if self.wanted is not None:
            self.wanted[p] = p.detach().clone()
        if self.storage.mode == "kahan":
            write_with_compensation(p, self.state[p], grid, seed)
            return
        stored = grid.round(p, seed)
        if self.storage.mode == "error_feedback":
            feed_into_momentum(self._unstretched(p, p - stored), self.state[p], group)
        p.copy_(stored)

    def _unstretched(self, p: Tensor, error: Tensor) -> Tensor:
        """`error`, of p's shape, in units of what the base's momentum moves p by."""
        stretches = getattr(self.stretching, "stretches", None) or {}
        if p not in stretches:
            return error
        return torch.where(stretches[p] > 0, error / stretches[p], 0.0)

    def _round_state(self, p: Tensor) -> None:
        assert self.storage.round_state is not None
        for name, value in self.state[p].items():
            if isinstance(value, Tensor) and value.shape == p.shape and name != "compensation":
                value.copy_(self.storage.round_state(value))


def write_with_compensation(
    p: Tensor, state: dict[str, Tensor], grid: Grid, seed: int | None
) -> None:
    """Kahan summation, elementwise: what rounding takes away now is added before the next one."""
    if "compensation" not in state:
        state["compensation"] = torch.zeros_like(p, dtype=torch.bfloat16)
    wanted = p + state["compensation"]
    stored = grid.round(wanted, seed)
    state["compensation"].copy_(wanted - stored)
    p.copy_(stored)


def feed_into_momentum(error: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
    """Error feedback, elementwise; with lr = 0 nothing moved, so there is no error to keep."""
    lr = group["lr"]
    if lr == 0.0:
        return
    if "exp_avg" in state:
        beta1, beta2 = group["betas"]
        steps = state["step"].to(error.device)
        root = (state["exp_avg_sq"] / (1.0 - beta2**steps)).sqrt().add_(group["eps"])
        factor = (1.0 - 1.0 / beta1) * (1.0 - beta1**steps) / lr
        state["exp_avg"].add_(error * root * factor)
        return
    momentum = group["momentum"]
    factor = (1.0 - 1.0 / momentum) / lr / (momentum if group["nesterov"] else 1.0)
    state["momentum_buffer"].add_(error, alpha=factor)
