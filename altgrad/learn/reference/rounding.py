"""Rounding to eight bits in one file: to nearest even, by chance, with scales, and what is lost.

A value of a format is ± (1 + T/2^M)·2^(E - b), or ± (T/2^M)·2^(1 - b) for E = 0 (subnormal), with
M mantissa bits T, exponent bits E and bias b. A binade is the stretch from one power of two to the
next; in it neighbouring values are one ulp apart. Tensors are float32, of any shape.
"""

from dataclasses import dataclass

import torch


@dataclass
class Format:
    """A number format: exponent_bits 4, mantissa_bits 3, bias 7 (int), largest 448.0 (float).

    The defaults are OCP E4M3: eight bits with the sign, no infinity; its top code is NaN.
    """

    exponent_bits: int = 4
    mantissa_bits: int = 3
    bias: int = 7
    largest: float = 448.0


def decode(codes, fmt):
    """The values, float32, of integer codes without their sign: E in the high bits, T in the low.

    Codes whose value is above fmt.largest are NaN (in E4M3 the code 127).
    """
    mantissa = codes % 2**fmt.mantissa_bits
    exponent = codes // 2**fmt.mantissa_bits
    fraction = mantissa / 2**fmt.mantissa_bits
    hidden = (exponent > 0).float()
    value = (hidden + fraction) * 2.0 ** (exponent.clamp(min=1) - fmt.bias)
    return torch.where(value > fmt.largest, float("nan"), value)


def ulp(x, fmt):
    """The distance of neighbouring values of the format in the binade of each |x|, as float32.

    2^(floor(log2 |x|) - M), and below the smallest normal number, 2^(1 - b), that of the
    subnormals, 2^(1 - b - M). Exact at every power of two. Numbers above fmt.largest: as if the
    exponent went on. NaN and infinity are not asked for.
    """
    _, exponent = torch.frexp(x.abs())
    exponent = (exponent - 1).clamp(min=1 - fmt.bias)
    exponent = torch.where(x == 0, 1 - fmt.bias, exponent)
    return torch.ldexp(torch.ones_like(x), exponent - fmt.mantissa_bits)


def saturate(x, fmt):
    """What lies beyond ±fmt.largest becomes ±fmt.largest, infinity too; NaN stays NaN."""
    return x.clamp(-fmt.largest, fmt.largest)


def round_nearest(x, fmt):
    """The nearest value of the format; halfway between two, the one whose last bit T is even.

    Saturates after rounding. Zero keeps its sign, NaN stays NaN. x is not changed.
    """
    finite = torch.where(x.isfinite(), x, 0.0)
    step = ulp(finite, fmt)
    rounded = torch.round(finite / step) * step
    return saturate(torch.where(x.isfinite(), rounded, x), fmt)


def round_stochastic(x, fmt, random):
    """One of the two neighbours of x, the farther from zero with the probability of the remainder.

    random: numbers of x's shape, uniform in [0, 1). If |x| lies a share r of an ulp above the
    neighbour nearer to zero it goes up for a share r of all random numbers; a value of the format
    stays. Saturates. Zero keeps its sign.
    """
    step = ulp(x, fmt)
    scaled = x.abs() / step
    below = scaled.floor()
    up = random < scaled - below
    return saturate(torch.copysign((below + up) * step, x), fmt)


def straight_through(x, fmt):
    """round_nearest(x, fmt) forward; backward the gradient passes as if nothing had happened."""
    return x + (round_nearest(x, fmt) - x).detach()


def scale_of(x, fmt):
    """The largest |x| divided by fmt.largest (0-d): x / scale fills the format. 1 for zeros."""
    amax = x.abs().max()
    return torch.where(amax > 0, amax / fmt.largest, 1.0)


def quantize(x, fmt):
    """round_nearest(x / scale)·scale, with one scale_of for the whole tensor."""
    scale = scale_of(x, fmt)
    return round_nearest(x / scale, fmt) * scale


def mx_scale(x, fmt):
    """The OCP MX scale of each block, a power of two: 2^(floor(log2 amax) - floor(log2 largest)).

    x: (..., block). Result: (..., 1). Exact at powers of two; 1 for a block of zeros.
    """
    amax = x.abs().amax(dim=-1, keepdim=True)
    _, exponent = torch.frexp(amax)
    _, top = torch.frexp(torch.tensor(fmt.largest))
    return torch.where(amax > 0, torch.ldexp(torch.ones_like(amax), exponent - top), 1.0)


def mx_quantize(x, fmt, block=32):
    """Each run of `block` numbers in the last dimension with an mx_scale of its own, rounded to
    nearest (saturating) and scaled back. Same shape.

    Refuse (ValueError) a last dimension that is no multiple of block.
    """
    if x.size(-1) % block:
        raise ValueError(f"{x.size(-1)} numbers are no multiple of a block of {block}")
    blocks = x.unflatten(-1, (-1, block))
    scale = mx_scale(blocks, fmt)
    return (round_nearest(blocks / scale, fmt) * scale).flatten(-2)


def sqnr(x, rounded):
    """Signal to quantisation noise in decibels: 20·log10(‖x‖ / ‖x - rounded‖), a float."""
    return 20 * torch.log10(x.norm() / (x - rounded).norm()).item()


def lost_updates(weight, update, fmt):
    """The share (a float) of non-zero updates that change nothing in a weight kept in the format.

    Lost: update is not 0, and round_nearest(weight + update) is weight. weight holds values of the
    format. 0.0 where no update is other than zero.
    """
    wanted = update != 0
    lost = wanted & (round_nearest(weight + update, fmt) == weight)
    return (lost.sum() / wanted.sum().clamp(min=1)).item()
