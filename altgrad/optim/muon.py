"""Muon: a matrix moves by its momentum made orthogonal, the same distance in every direction.

    B <- m B + (1 - m) G                         momentum of the gradient G
    U  = NewtonSchulz((1 - m) G + m B)           Nesterov; without it NewtonSchulz(B)
    W <- (1 - lr decay) W - lr scale(W) U

scale(W) is sqrt(max(1, rows / columns)) ("original") or 0.2 sqrt(max(rows, columns))
("match_rms_adamw": the step has the RMS of an AdamW step, so one learning rate serves both).
NewtonSchulz(X) drives all singular values of X towards 1 by k steps of
X <- a X + (b A + c A A) X with A = X X^T, on X scaled to Frobenius norm 1.

With `neuron_beta` b above 0 (NorMuon) rows of U, a row for each neuron, get steps of like length:

    v <- b v + (1 - b) mean of U^2 over a row;    U <- |U| N / |N|  with N = U / (sqrt(v) + eps)

so that the whole step stays as long as Muon's. It costs one number a row and two walks over U.

Cost: per step and matrix of m x n (m <= n) about k (2 m^2 n + m^3) multiply-adds, one buffer.
When: matrices between dense vectors. Not for lookups (embeddings), vectors or the head.
Sources: K. Jordan, "Muon" (2024), kellerjordan.github.io/posts/muon; J. Liu et al., "Muon is
scalable for LLM training", arXiv:2502.16982 (the second scale); Z. Li et al., "NorMuon",
arXiv:2510.05491 (rows, algorithm 1).

Why not torch.optim.Muon: it always multiplies in bfloat16, which a CPU without such instructions
emulates (30 times slower than float32 on AVX2, see `benchmarks/muon_step.py`). Here such a CPU uses
float32; elsewhere the two are equal bit for bit, as a test shows. Orthogonalising all matrices of
one shape in one batch was tried: 1.1 times faster at width 192, 0.9 times at 256 and 384 on a CPU.
"""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

NS_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NS_EPS = 1e-7
NEURON_EPS = 1e-10
SCALES = ("original", "match_rms_adamw")
WARMUP_MOMENTUM = 0.85


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it natively, else float32."""
    if device.type == "cpu" and not torch.cpu._is_avx512_bf16_supported():
        return torch.float32
    return torch.bfloat16


def newton_schulz(matrix: Tensor, steps: int = 5, *, dtype: torch.dtype) -> Tensor:
    """A nearly orthogonal matrix with the singular vectors of `matrix` (rows, columns).

    The result has `dtype`; its singular values lie in about [0.7, 1.2] after five steps.
    """
    a, b, c = NS_COEFFICIENTS
    tall = matrix.size(0) > matrix.size(1)
    x = (matrix.T if tall else matrix).to(dtype)
    x = x / x.norm().clamp(min=NS_EPS)
    for _ in range(steps):
        gram = x @ x.T
        polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.addmm(x, polynomial, x, beta=a)
    return x.T if tall else x


def orthogonalized(
    matrix: Any, steps: int, then: Callable[[Tensor], Tensor] = lambda whole: whole
) -> Tensor:
    """Newton-Schulz of (rows, columns) in the device's fast dtype, and `then` of the result; a
    DTensor is gathered, then sharded again.

    A float64 matrix stays float64: who trains in double compares to the last digit.
    """
    dtype = matrix.dtype if matrix.dtype == torch.float64 else fast_dtype(matrix.device)
    if not hasattr(matrix, "full_tensor"):
        return then(newton_schulz(matrix, steps, dtype=dtype))
    from torch.distributed.tensor import DTensor, Replicate

    whole = then(newton_schulz(matrix.full_tensor(), steps, dtype=dtype))
    mesh = matrix.device_mesh
    everywhere = DTensor.from_local(whole, mesh, [Replicate()] * mesh.ndim)
    return everywhere.redistribute(placements=matrix.placements)


def step_scale(shape: torch.Size, kind: str) -> float:
    """The factor on the learning rate for a matrix of `shape`; see the top of this file."""
    rows, columns = shape
    if kind == "original":
        return math.sqrt(max(1.0, rows / columns))
    return 0.2 * math.sqrt(max(rows, columns))


def momentum_at(step: int, momentum: float, warmup_steps: int) -> float:
    """Rises linearly from 0.85 (or `momentum` if lower) to `momentum` over `warmup_steps`."""
    start = min(WARMUP_MOMENTUM, momentum)
    fraction = min(step / warmup_steps, 1.0) if warmup_steps else 1.0
    return start + (momentum - start) * fraction


class Muon(torch.optim.Optimizer):
    """Muon over 2-D parameters; see the top of this file.

    Raises ValueError for a parameter that is not 2-D.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 0.02,
        *,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        weight_decay: float = 0.0,
        scale: str = "original",
        momentum_warmup_steps: int = 0,
        neuron_beta: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_steps": ns_steps,
            "weight_decay": weight_decay,
            "scale": scale,
            "momentum_warmup_steps": momentum_warmup_steps,
            "neuron_beta": neuron_beta,
            "steps": 0,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ValueError(f"Muon takes matrices; got a tensor of shape {tuple(p.shape)}")

    @torch.no_grad()
    def step(self, closure=None):
        """Move every parameter that has a gradient; returns the closure's loss, if one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                self._move(p, group)
            group["steps"] += 1
        return loss

    def _move(self, p: Tensor, group: dict[str, Any]) -> None:
        beta = group.get("neuron_beta", 0.0)  # a checkpoint of an older altgrad has none
        how = [partial(self._levelled, p, beta)] if beta else []
        update = orthogonalized(self._direction(p, group), group["ns_steps"], *how)
        p.mul_(1.0 - group["lr"] * group["weight_decay"])
        p.add_(update, alpha=-group["lr"] * step_scale(p.shape, group["scale"]))

    def _levelled(self, p: Tensor, beta: float, update: Tensor) -> Tensor:
        """`update` (rows, columns), each row over the root of its running mean square."""
        update = update.to(torch.promote_types(update.dtype, torch.float32))
        square, state = update.square().mean(dim=1, keepdim=True), self.state[p]
        if "row_square" not in state:
            state["row_square"] = torch.zeros_like(square)
        moment = state["row_square"].lerp_(square.to(state["row_square"].dtype), 1.0 - beta)
        levelled = update / (moment.sqrt() + NEURON_EPS)
        return levelled * (update.norm() / (levelled.norm() + NEURON_EPS))

    def _direction(self, p: Tensor, group: dict[str, Any]) -> Tensor:
        """Update the momentum buffer; what is to be made orthogonal."""
        state, grad = self.state[p], p.grad
        assert grad is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(p, memory_format=torch.preserve_format)
        momentum = momentum_at(group["steps"], group["momentum"], group["momentum_warmup_steps"])
        buffer = state["momentum_buffer"].lerp_(grad, 1.0 - momentum)
        return grad.lerp(buffer, momentum) if group["nesterov"] else buffer
