"""Muon: a matrix moves by its momentum made orthogonal, the same distance in every direction.

    B <- m B + (1 - m) G                         momentum of the gradient G
    U  = NewtonSchulz((1 - m) G + m B)           Nesterov; without it NewtonSchulz(B)
    W <- (1 - lr decay) W - lr scale(W) U

scale(W) is sqrt(max(1, rows / columns)) ("original") or 0.2 sqrt(max(rows, columns))
("match_rms_adamw": the step has the RMS of an AdamW step, so one learning rate serves both).
NewtonSchulz(X) drives all singular values of X towards 1 by k steps of
X <- a X + (b A + c A A) X with A = X X^T, on X scaled to Frobenius norm 1.

Cost: per step and matrix of m x n (m <= n) about 2k (2 m^2 n + m^3) multiply-adds, one buffer.
When: matrices between dense vectors. Not for lookups (embeddings), vectors or the head.
Sources: K. Jordan, "Muon" (2024), kellerjordan.github.io/posts/muon; J. Liu et al., "Muon is
scalable for LLM training", arXiv:2502.16982 (the second scale).

Why not torch.optim.Muon: it orthogonalises one matrix at a time, always in bfloat16. Here all
matrices of one shape go through one batched product, and a CPU without bfloat16 instructions uses
float32; `benchmarks/muon_step.py` compares the two, and a test keeps them equal.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

NS_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NS_EPS = 1e-7
SCALES = ("original", "match_rms_adamw")
WARMUP_MOMENTUM = 0.85


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it natively, else float32."""
    if device.type == "cpu" and not torch.cpu._is_avx512_bf16_supported():
        return torch.float32
    return torch.bfloat16


def newton_schulz(matrices: Tensor, steps: int = 5, *, dtype: torch.dtype) -> Tensor:
    """Nearly orthogonal matrices with the singular vectors of `matrices` (N, rows, columns).

    The result has `dtype`; its singular values lie in about [0.7, 1.2] after five steps.
    """
    a, b, c = NS_COEFFICIENTS
    tall = matrices.size(-2) > matrices.size(-1)
    x = (matrices.mT if tall else matrices).to(dtype)
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=NS_EPS)
    for _ in range(steps):
        gram = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x.mT if tall else x


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


def orthogonalized(matrices: list[Tensor], steps: int) -> list[Tensor]:
    """Newton-Schulz of each matrix, all of one shape in one batch.

    Sharded matrices (DTensor) are gathered, computed on every rank and sharded again.
    """
    whole = [m.full_tensor() if is_sharded(m) else m for m in matrices]
    by_shape: dict[torch.Size, list[int]] = {}
    for index, matrix in enumerate(whole):
        by_shape.setdefault(matrix.shape, []).append(index)
    results: list[Tensor] = list(matrices)
    for indices in by_shape.values():
        batch = torch.stack([whole[i] for i in indices])
        outputs = newton_schulz(batch, steps, dtype=fast_dtype(batch.device))
        for index, output in zip(indices, outputs, strict=True):
            results[index] = _sharded_like(output, matrices[index])
    return results


def is_sharded(tensor: Tensor) -> bool:
    """Is it a DTensor? Asked without importing torch.distributed, which takes a second."""
    return hasattr(tensor, "full_tensor")


def _sharded_like(whole: Tensor, example: Any) -> Tensor:
    if not is_sharded(example):
        return whole
    from torch.distributed.tensor import DTensor, Replicate

    replicated = DTensor.from_local(whole, example.device_mesh, [Replicate()])
    return replicated.redistribute(placements=example.placements)


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
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_steps": ns_steps,
            "weight_decay": weight_decay,
            "scale": scale,
            "momentum_warmup_steps": momentum_warmup_steps,
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
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._move(params, group)
            group["steps"] += 1
        return loss

    def _move(self, params: list[Tensor], group: dict) -> None:
        updates = orthogonalized(self._directions(params, group), group["ns_steps"])
        if group["weight_decay"]:
            torch._foreach_mul_(params, 1.0 - group["lr"] * group["weight_decay"])
        for p, update in zip(params, updates, strict=True):
            p.add_(update, alpha=-group["lr"] * step_scale(p.shape, group["scale"]))

    def _directions(self, params: list[Tensor], group: dict) -> list[Tensor]:
        """Update the momentum buffers; what is to be made orthogonal."""
        grads = [p.grad for p in params]
        buffers = [self._buffer(p) for p in params]
        momentum = momentum_at(group["steps"], group["momentum"], group["momentum_warmup_steps"])
        torch._foreach_lerp_(buffers, grads, 1.0 - momentum)
        return torch._foreach_lerp(grads, buffers, momentum) if group["nesterov"] else buffers

    def _buffer(self, p: Tensor) -> Tensor:
        state = self.state[p]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(p, memory_format=torch.preserve_format)
        return state["momentum_buffer"]
