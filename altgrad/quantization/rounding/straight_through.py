"""Straight-through pieces: round in the forward pass, in the backward pass, or in both.

Rounding is flat almost everywhere, so its true gradient is zero and useless. The straight-through
estimator pretends that it is the identity (Bengio, Léonard and Courville 2013, arXiv 1308.3432).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from altgrad.quantization.formats import Format
from altgrad.quantization.rounding.checks import as_format, check
from altgrad.quantization.rounding.round import round_values


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, f: Format, count_by: str | None, settings: dict):
        rounded = round_values(x, f, count_by=count_by, **settings)
        table = rounded.stats.table if rounded.stats else x.new_empty(0)
        ctx.mark_non_differentiable(table)
        return rounded.values, table

    @staticmethod
    def backward(ctx, grad: Tensor, _):
        return grad, None, None, None


class _RoundGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, f: Format, settings: dict) -> Tensor:
        ctx.format, ctx.settings = f, settings
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return round_values(grad, ctx.format, **ctx.settings).values, None, None


def pass_through(
    x: Float[Tensor, "*shape"], f: Format, *, count_by: str | None, **settings: Any
) -> tuple[Float[Tensor, "*shape"], Tensor]:
    """Rounded x and the table of counts, [8], [rows, 8] or empty; the gradient passes unchanged."""
    return _Through.apply(x, f, count_by, settings)


def round_forward(
    x: Float[Tensor, "*shape"], f: Format | str, **settings: Any
) -> Float[Tensor, "*shape"]:
    """Round x; pass the gradient unchanged. Settings as for `fake_quantize`."""
    f = _checked(x, f, settings)
    return _Through.apply(x, f, None, settings)[0]


def round_backward(
    x: Float[Tensor, "*shape"], f: Format | str, **settings: Any
) -> Float[Tensor, "*shape"]:
    """Pass x unchanged; round the gradient."""
    return _RoundGradient.apply(x, _checked(x, f, settings), settings)


def round_both(
    x: Float[Tensor, "*shape"],
    f: Format | str,
    *,
    backward: Format | str | None = None,
    **settings: Any,
) -> Float[Tensor, "*shape"]:
    """Round x to `f` and the gradient to `backward` (default: `f` too)."""
    return round_backward(round_forward(x, f, **settings), backward or f, **settings)


def _checked(x: Tensor, f: Format | str, settings: dict) -> Format:
    f = as_format(f)
    given = {"scale": None, "scaling": None, "rounding": "nearest_even", "overflow": "saturate"}
    check(x, f, *({**given, **settings}[name] for name in given))
    return f
