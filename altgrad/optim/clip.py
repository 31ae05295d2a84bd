"""Gradient clipping that leaves its norm on the device."""

from collections.abc import Iterable

import torch
from torch import Tensor


def clip_gradients(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale all gradients in place to a global L2 norm of at most `max_norm` (0 = leave them).

    Returns the norm before clipping as a 0-d tensor on the gradients' device: reading it is the
    only host synchronisation, and it is the caller's. A norm that is not finite is returned as it
    is; the gradients are then not finite either, and the caller must not step.
    """
    if max_norm < 0:
        raise ValueError(f"optim.grad_clip={max_norm} must be at least 0 (0 = off)")
    with_gradient = [p for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm([p.grad for p in with_gradient if p.grad is not None])
    if hasattr(norm, "full_tensor"):  # a DTensor, from sharded gradients
        norm = norm.full_tensor()
    if max_norm:
        torch.nn.utils.clip_grads_with_norm_(with_gradient, max_norm, norm)
    return norm
