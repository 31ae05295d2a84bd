"""A table of learned vectors whose gradient the compiler leaves alone.

`nn.Embedding` under torch.compile on a CPU adds each element of the gradient to its row by an
atomic operation, slow for a table of 4,225 x 192 and 4,096 tokens, where torch's own kernel
takes 0.4 ms. As an operator of its own that kernel is called as it is; elsewhere nothing changes.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Lookup(nn.Embedding):
    """`nn.Embedding`, with the fast gradient when compiled for a CPU."""

    def forward(self, idx: Tensor) -> Tensor:
        if torch.compiler.is_compiling() and idx.device.type == "cpu":
            return rows(self.weight, idx)
        return super().forward(idx)


# An operator, not an autograd.Function: torch keeps no graph that holds one of those in its cache,
# and would trace it anew at each start.
@torch.library.custom_op("altgrad::rows", mutates_args=())
def rows(table: Tensor, idx: Tensor) -> Tensor:
    """table [R, C], idx [...] -> [..., C], as `F.embedding`."""
    return F.embedding(idx, table)


@rows.register_fake
def _(table: Tensor, idx: Tensor) -> Tensor:
    return table.new_empty((*idx.shape, table.size(-1)))


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    table, idx = inputs
    ctx.save_for_backward(idx)
    ctx.rows = table.size(0)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    (idx,) = ctx.saved_tensors
    return table_gradient(grad.contiguous(), idx, ctx.rows), None


rows.register_autograd(_backward, setup_context=_keep)


@torch.library.custom_op("altgrad::table_gradient", mutates_args=())
def table_gradient(grad: Tensor, idx: Tensor, rows: int) -> Tensor:
    """[rows, C]: row r is the sum of grad[b, t] over all places where idx[b, t] = r."""
    return torch.ops.aten.embedding_dense_backward(grad, idx, rows, -1, False)


@table_gradient.register_fake
def _(grad: Tensor, idx: Tensor, rows: int) -> Tensor:
    return grad.new_empty(rows, grad.size(-1))
