"""Linear layers in float32 on CPUs where torch's own product is slow.

torch hands float32 products to MKL, which does not use AVX-512 on processors that are not Intel's,
and all others to oneDNN, which does. Where AVX-512 has units of its full width, `Fp32Linear` takes
oneDNN for float32, too: on two Zen 5 cores its products take 0.43 to 0.58 (forward, input's
gradient) and 0.53 to 0.81 (weight's gradient) of MKL's time (`python benchmarks/fp32_products.py`).
Zen 4 computes 512 bits in two halves; there oneDNN gains nothing and its weight gradients take up
to 1.5 of MKL's time. Sums are rounded in another order: results differ from `nn.Linear`'s by a few
units in the last place.
"""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class Fp32Linear(nn.Linear):
    """`nn.Linear` with other products for float32 on the CPU; made by `use_fast_products`."""

    plain_under_autocast = True

    def forward(self, input: Tensor) -> Tensor:
        """(…, C_in) -> (…, C_out)."""
        plain = fast_for(input) and type(self.weight) is nn.Parameter
        if not plain or torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        flat = input.reshape(-1, self.in_features)
        multiply = _operator if torch.compiler.is_compiling() else _Product.apply
        y = multiply(flat, self.weight).view(*input.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias


class _Product(torch.autograd.Function):
    """x (N, C_in), W (C_out, C_in) -> x Wᵀ (N, C_out); differentiable once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return times_transposed(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return _gradients(ctx, grad)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
    x, weight = ctx.saved_tensors
    dx = times_transposed(grad, weight.t()) if ctx.needs_input_grad[0] else None
    dw = times_transposed(grad.t(), x.t()) if ctx.needs_input_grad[1] else None
    return dx, dw


def times_transposed(a: Tensor, b: Tensor) -> Tensor:
    """a (N, K), b (M, K), both float32 on the CPU, of any strides -> a bᵀ (N, M) by oneDNN."""
    return _operator(a, b) if torch.compiler.is_compiling() else _times_transposed(a, b)


def _times_transposed(a: Tensor, b: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")


# The compiler knows oneDNN's operator, but takes it for one with constant weights.
_operator = torch.library.custom_op(
    "altgrad::times_transposed",
    _times_transposed,
    mutates_args=(),
    schema="(Tensor a, Tensor b) -> Tensor",
)


@_operator.register_fake
def _(a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty(a.shape[0], b.shape[0])


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


# Its own gradient, so that a compiled graph needs no `_Product`: torch keeps no graph that holds an
# autograd.Function in its cache.
_operator.register_autograd(_gradients, setup_context=_keep)


def use_fast_products(model: nn.Module) -> nn.Module:
    """Make every plain `nn.Linear` of `model` an `Fp32Linear`, in place, where that is faster.

    Same parameters, same names, same state_dict.
    """
    if onednn_is_faster():
        for module in model.modules():
            if type(module) is nn.Linear:
                module.__class__ = Fp32Linear
    return model


def fast_for(x: Tensor) -> bool:
    """Whether oneDNN is the faster way to multiply this tensor, of any shape."""
    usual = x.dtype == torch.float32 and x.device.type == "cpu" and x.numel() > 0
    return usual and onednn_is_faster()


@cache
def _judge_machine() -> bool:
    return (
        torch.backends.cpu.get_cpu_capability() == "AVX512"
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and _wide_amd(Path("/proc/cpuinfo"))
    )


def _onednn_is_faster() -> bool:
    return _judge_machine()


onednn_is_faster = torch.compiler.assume_constant_result(_onednn_is_faster)
"""Whether this processor computes 512 bits at once and MKL does not know it as Intel's."""

ZEN_5 = 26
"""AMD's family number (CPUID) of the first cores with 512-bit units."""


def _wide_amd(facts: Path) -> bool:
    lines = facts.read_text().splitlines() if facts.exists() else []
    pairs = (line.partition(":") for line in reversed(lines))
    of_a_core = {name.strip(): value.strip() for name, _, value in pairs}
    family = of_a_core.get("cpu family", "")
    return (
        of_a_core.get("vendor_id") == "AuthenticAMD" and family.isdigit() and int(family) >= ZEN_5
    )
