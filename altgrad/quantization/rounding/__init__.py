"""From "round these values" down to the bits.

`fake_quantize` is the call, `round` the same without a gradient (`round_values`, `ulp`),
`straight_through` what becomes of the gradient, `codes` the integers. `choose` picks
the code that does the work: `native` (C++), `in_pieces` (torch operations that fit the cache) or
`custom_op` (inside `torch.compile`); which one changes the time, never a bit. `grid` holds the
constants that stand for a format and the arithmetic that rounds, `stochastic` and `random_bits` the
bits of stochastic rounding, `counts` what is counted on the way, `checks` what is refused,
`tensor_sums` sums over many tensors for the instruments.
"""

from altgrad.quantization.rounding.checks import as_format
from altgrad.quantization.rounding.choose import Scaling, in_dtype
from altgrad.quantization.rounding.codes import quantize
from altgrad.quantization.rounding.counts import NAMES, decibels
from altgrad.quantization.rounding.grid import working_dtype
from altgrad.quantization.rounding.round import round_values, ulp
from altgrad.quantization.rounding.stochastic import Stochastic
from altgrad.quantization.rounding.tensor_sums import (
    GradientSums,
    PairSums,
    UpdateCounter,
    count_flips,
    gradient_sums,
    pair_sums,
    widest_dtype,
)

__all__ = [
    "NAMES",
    "GradientSums",
    "PairSums",
    "Scaling",
    "Stochastic",
    "UpdateCounter",
    "as_format",
    "count_flips",
    "decibels",
    "gradient_sums",
    "in_dtype",
    "pair_sums",
    "quantize",
    "round_values",
    "ulp",
    "widest_dtype",
    "working_dtype",
]
