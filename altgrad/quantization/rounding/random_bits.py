"""Random bits from a counter: bit k of element i is a pure function of (seed, i).

The seed is spread over two 32-bit keys by splitmix64. Element i is the j-th of the b-th stretch of
2^16, and its bits are the top ones of

    spread(j) · m(b) + k(b)        modulo 2^32

with spread(j) two multiply-xorshift rounds of (j xor key0), and the odd m(b) and k(b) hashes of b
and both keys. So within a stretch the bits cost one multiplication on a small table, and two
stretches are joined by a random multiplier: neighbours, far neighbours and seeds are uncorrelated
(the tests measure it). The multipliers are those of Chris Wellons's `lowbias32`.

Nothing is stored, nothing is drawn in order, so the bits do not depend on the number of threads,
on the shape or on which device computes them. The index counts modulo 2^32. It is a hash for
dithering, not a generator for cryptography or for long Monte Carlo runs.
"""

from __future__ import annotations

import torch
from jaxtyping import Integer
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX2 = -7723592293110705685  # 0x94D049BB133111EB
_ROUND1 = 0x7FEB352D
_ROUND2 = 0x846CA68B - (1 << 32)
_OTHER = 0x5BD1E995
STRETCH = 1 << 16
"""Elements that share a multiplier. The table of a stretch is 256 KiB: it stays in a core's L2."""


def keys_of(seed: int | Tensor) -> tuple[int | Tensor, int | Tensor]:
    """Two int32 keys (as int, or 0-d int32 tensors for a tensor seed) from a 64-bit seed."""
    if isinstance(seed, int):
        return integer_keys(seed)
    z = seed.to(torch.int64) + _GOLDEN
    z = (z ^ ((z >> 30) & ((1 << 34) - 1))) * _MIX1
    z = (z ^ ((z >> 27) & ((1 << 37) - 1))) * _MIX2
    z = z ^ ((z >> 31) & ((1 << 33) - 1))
    return _low32(z), _low32(z >> 32)


def integer_keys(seed: int) -> tuple[int, int]:
    """`keys_of` for an int."""
    mixed = _splitmix(seed)
    return _signed32(mixed), _signed32(mixed >> 32)


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


def spread(position: Integer[Tensor, "*shape"], key0: int | Tensor) -> Integer[Tensor, "*shape"]:
    """The table of a stretch: 32 mixed bits per int32 position within it."""
    h = (position ^ key0) * _ROUND1
    h = (h ^ ((h >> 15) & 0x1FFFF)) * _ROUND2
    return h ^ ((h >> 16) & 0xFFFF)


def stretch_keys(
    stretch: Integer[Tensor, "*shape"], key0: int | Tensor, key1: int | Tensor
) -> tuple[Integer[Tensor, "*shape"], Integer[Tensor, "*shape"]]:
    """The odd multiplier and the summand of each int32 stretch number."""
    return _mixed(stretch, key1, key0) | 1, _mixed(stretch ^ _OTHER, key1, key0)


def _mixed(h: Tensor, first: int | Tensor, second: int | Tensor) -> Tensor:
    h = h ^ first
    h = (h ^ ((h >> 16) & 0xFFFF)) * _ROUND1
    h = h ^ second
    h = (h ^ ((h >> 15) & 0x1FFFF)) * _ROUND2
    return h ^ ((h >> 16) & 0xFFFF)


def hash_bits(
    start: int, stop: int, keys: tuple, device: torch.device
) -> Integer[Tensor, " numbers"]:
    """32 random bits for each of the elements start … stop - 1, as int32; the best ones on top."""
    if device.type == "cpu" and not torch.compiler.is_compiling():
        return _by_stretches(start, stop, keys)
    index = torch.arange(start, stop, dtype=torch.int64, device=device)
    many, add = stretch_keys(((index >> 16) & 0xFFFF).to(torch.int32), *keys)
    return spread((index & 0xFFFF).to(torch.int32), keys[0]) * many + add


def _by_stretches(start: int, stop: int, keys: tuple) -> Tensor:
    """The same with one operation per element: a table, multiplied once per stretch."""
    bits = torch.empty(stop - start, dtype=torch.int32)
    longest = min(STRETCH, stop - start) if start % STRETCH == 0 else STRETCH
    table = spread(torch.arange(longest, dtype=torch.int32), keys[0])
    first, last = start // STRETCH, -(-stop // STRETCH)
    numbers = torch.arange(first, last).bitwise_and_(0xFFFF).to(torch.int32)
    multipliers, summands = stretch_keys(numbers, *keys)
    for row, many in enumerate(multipliers.tolist()):
        low = max(start, (first + row) * STRETCH)
        high = min(stop, (first + row + 1) * STRETCH)
        part = table[low % STRETCH :][: high - low]
        torch.add(summands[row], part, alpha=many, out=bits[low - start : high - start])
    return bits


def trailing_bits(
    start: int, stop: int, keys: tuple, number: int, dtype: torch.dtype, device: torch.device
) -> Integer[Tensor, " numbers"]:
    """`number` random bits per element, in the low end of an integer of `dtype`."""
    bits = hash_bits(start, stop, keys, device)
    if dtype == torch.int32:  # the top bits: a multiplication mixes upwards only
        return (bits >> (32 - number)).bitwise_and_((1 << number) - 1)
    high = hash_bits(start, stop, keys[::-1], device)
    wide = (high.to(torch.int64) << 32) | (bits.to(torch.int64) & 0xFFFFFFFF)
    return (wide >> (64 - number)) & ((1 << number) - 1)
