"""Random bits from a counter: bit k of element i is a pure function of (seed, i).

The seed is spread over two 32-bit keys by splitmix64; the element's index then passes a two-round
multiply-xorshift hash with one key before each round (the multipliers are those of Chris
Wellons's `lowbias32`). Nothing is stored, nothing is drawn in order, so the bits do not depend on
the number of threads, on the shape or on which device computes them. It is a hash for dithering,
not a generator for cryptography or for long Monte Carlo runs.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX2 = -7723592293110705685  # 0x94D049BB133111EB
_ROUND1 = 0x7FEB352D
_ROUND2 = 0x846CA68B - (1 << 32)


def keys_of(seed: int | Tensor) -> tuple[int | Tensor, int | Tensor]:
    """Two int32 keys (as int, or 0-d int32 tensors for a tensor seed) from a 64-bit seed."""
    if isinstance(seed, int):
        z = _splitmix(seed)
        return _signed32(z), _signed32(z >> 32)
    z = seed.to(torch.int64) + _GOLDEN
    z = (z ^ ((z >> 30) & ((1 << 34) - 1))) * _MIX1
    z = (z ^ ((z >> 27) & ((1 << 37) - 1))) * _MIX2
    z = z ^ ((z >> 31) & ((1 << 33) - 1))
    return _low32(z), _low32(z >> 32)


def _splitmix(seed: int) -> int:
    mask = (1 << 64) - 1
    z = (seed + _GOLDEN) & mask
    z = ((z ^ (z >> 30)) * (_MIX1 & mask)) & mask
    z = ((z ^ (z >> 27)) * (_MIX2 & mask)) & mask
    return z ^ (z >> 31)


def _signed32(z: int) -> int:
    low = z & 0xFFFFFFFF
    return low - (1 << 32) if low >= 1 << 31 else low


def _low32(z: Tensor) -> Tensor:
    low = z & 0xFFFFFFFF
    return torch.where(low >= 1 << 31, low - (1 << 32), low).to(torch.int32)


def hash_bits(index: Tensor, key0: int | Tensor, key1: int | Tensor) -> Tensor:
    """32 random bits per element of an int32 `index`, as int32; the best ones on top."""
    h = index ^ key0
    h = (h ^ ((h >> 16) & 0xFFFF)) * _ROUND1
    h = h ^ key1
    return (h ^ ((h >> 15) & 0x1FFFF)) * _ROUND2


def trailing_bits(index: Tensor, keys: tuple, number: int, dtype: torch.dtype) -> Tensor:
    """`number` random bits per element, in the low end of an integer of `dtype`."""
    bits = hash_bits(index, *keys)
    if dtype == torch.int32:
        return (bits >> (32 - number)) & ((1 << number) - 1)
    high = hash_bits(index ^ 0x5BD1E995, keys[1], keys[0])
    wide = (high.to(torch.int64) << 32) | (bits.to(torch.int64) & 0xFFFFFFFF)
    return (wide >> (64 - number)) & ((1 << number) - 1)
