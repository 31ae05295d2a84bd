"""The native version inside `torch.compile`: an operator that the compiler does not look into.

The compiler calls it where a tensor is long enough; short ones are left to the traced torch
operations, which fuse with their neighbours and cost no call.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from altgrad.quantization.formats import Format
from altgrad.quantization.rounding import native
from altgrad.quantization.rounding.random_bits import integer_keys
from altgrad.quantization.rounding.stochastic import Stochastic

WORTH_A_CALL = 1 << 15
"""Numbers from which a call costs less than what the compiler makes of the torch operations."""

WORTH_A_COUNTING_CALL = 1 << 12
"""Likewise, where the torch operations also count."""

_2_63 = 1 << 63


def _round_into(
    x: Tensor,
    out: Tensor,
    given_scales: Tensor | None,
    computed_scales: Tensor | None,
    counts: Tensor | None,
    seed: Tensor | None,
    bits_and_bias: list[int],
    special_values: str,
    overflow: str,
    rule: str,
    group_size: int,
    unscaled: bool,
) -> None:
    target = out if out.is_contiguous() else torch.empty(out.shape, dtype=out.dtype)
    native.round_groups(
        x.contiguous(),
        _format(*bits_and_bias, special_values),
        out=target,
        group_size=group_size,
        rule=rule,
        scales=given_scales if computed_scales is None else computed_scales,
        overflow=overflow,
        keys=None if seed is None else integer_keys(int(seed)),  # on the CPU: nothing waits
        unscaled=unscaled,
        counts=counts,
    )
    if target is not out:
        out.copy_(target)


@lru_cache(maxsize=1024)
def _format(
    exponent_bits: int, mantissa_bits: int, bias: int, subnormals: int, fixed: int, special: str
) -> Format:
    return Format(
        exponent_bits=exponent_bits,
        mantissa_bits=mantissa_bits,
        bias=bias,
        special_values=special,
        subnormals=bool(subnormals),
        twos_complement=bool(fixed),
    )


_operator = torch.library.custom_op(
    "altgrad::round_into", _round_into, mutates_args=("out", "computed_scales", "counts")
)


def takes(rounding: str | Stochastic, numel: int, *, counted: bool) -> bool:
    """Whether a traced call should become the operator: a generator's state is not traced."""
    drawn = isinstance(rounding, Stochastic) and rounding.generator is not None
    return numel >= (WORTH_A_COUNTING_CALL if counted else WORTH_A_CALL) and not drawn


def round_groups(
    x: Tensor,
    f: Format,
    *,
    out: Tensor,
    group_size: int,
    rule: str,
    scales: Tensor | None,
    overflow: str,
    rounding: str | Stochastic,
    unscaled: bool,
    counts: Tensor | None,
) -> None:
    """`native.round_groups` while compiling, same shapes; a seed in a tensor (0-d) may change
    without recompiling."""
    given = rule in ("given_one", "given_each")
    _operator(
        x,
        out,
        scales if given else None,
        None if given else scales,
        counts,
        _seed(rounding),
        [f.exponent_bits, f.mantissa_bits, f.bias, f.subnormals, f.twos_complement],
        f.special_values,
        overflow,
        rule,
        group_size,
        unscaled,
    )


def _seed(rounding: str | Stochastic) -> Tensor | None:
    if not isinstance(rounding, Stochastic):
        return None
    if isinstance(rounding.seed, Tensor):
        return rounding.seed
    assert rounding.seed is not None
    return torch.full((), (rounding.seed + _2_63) % (1 << 64) - _2_63, dtype=torch.int64)
