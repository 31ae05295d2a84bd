"""Stochastic rounding as an argument: where its random bits come from, and how many."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from altgrad.quantization.formats import Format
from altgrad.quantization.rounding.grid import grid, nearest_even
from altgrad.quantization.rounding.random_bits import keys_of, trailing_bits

_WORD = {torch.float32: (torch.int32, 23), torch.float64: (torch.int64, 52)}


@dataclass(frozen=True)
class Stochastic:
    """Round up with the probability of the remainder. Unbiased, and a pure function of its bits.

    Give one of: `seed` (an int, or a 0-d int64 tensor that can change without recompiling), whose
    bits are `random_bits.hash_bits(position, seed)`; `generator`, which draws one seed per call;
    or `random_bits`, an integer tensor of x's shape with `bits` bits. `bits` is the number of
    random bits: by default, and at most, all that the working float cuts off, 23 - M (float64:
    52 - M). The remainder is first rounded to nearest even to that many bits.
    """

    seed: int | Tensor | None = None
    generator: torch.Generator | None = None
    random_bits: Tensor | None = None
    bits: int | None = None

    def __post_init__(self) -> None:
        given = [x is not None for x in (self.seed, self.generator, self.random_bits)]
        if sum(given) != 1:
            raise ValueError(
                "Stochastic needs exactly one of seed=…, generator=… or random_bits=…, "
                f"got {sum(given)}"
            )
        seed = self.seed
        whole = isinstance(seed, int) or (isinstance(seed, Tensor) and not seed.is_floating_point())
        if seed is not None and not whole:
            raise ValueError(f"seed={seed!r}: give an int or a 0-d integer tensor")

    def draw_keys(self) -> tuple:
        if self.generator is not None:
            device = self.generator.device
            drawn = torch.randint(1 << 62, (), generator=self.generator, device=device)
            return keys_of(drawn if device.type != "cpu" else int(drawn))
        assert self.seed is not None
        return keys_of(self.seed)


class BitSource:
    """Random bits for any piece of a tensor, and the remainder cut to as many bits."""

    def __init__(self, rounding: Stochastic, f: Format, work: torch.dtype) -> None:
        self.word, wide = _WORD[work]
        self.shift = wide - f.mantissa_bits
        self.number = self.shift if rounding.bits is None else rounding.bits
        self.given = None if rounding.random_bits is None else rounding.random_bits.reshape(-1)
        self.keys = None if self.given is not None else rounding.draw_keys()
        self.fine = grid(f, "saturate", work, self.number) if self.number < self.shift else None

    def __call__(self, scaled: Tensor, start: int) -> tuple[Tensor, Tensor]:
        stop = start + scaled.numel()
        if self.given is not None:
            bits = self.given[start:stop].to(self.word)
        else:
            assert self.keys is not None
            bits = trailing_bits(start, stop, self.keys, self.number, self.word, scaled.device)
        bits = bits.view(scaled.shape) << (self.shift - self.number)
        if self.fine is None:
            return scaled, bits
        magnitude = scaled.abs()
        cut = nearest_even(magnitude, magnitude.view(self.word), self.fine)
        return torch.where(torch.isfinite(scaled), torch.copysign(cut, scaled), scaled), bits
