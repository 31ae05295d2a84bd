"""Probes of the rounding track: every fp16 number, every tie, every code.

Inputs are float32 and one-dimensional; sizes are no letter of a GPT's contract.
"""

import dataclasses
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor

from altgrad.learn.observe import Observation, Probe
from altgrad.learn.probes.common import (
    field_defaults,
    gradients,
    refuses,
    same,
    stream,
    unchanged,
)

Namespace = dict[str, Any]
FORMATS = {"E4M3": (4, 3, 7, 448.0), "E5M2": (5, 2, 15, 57344.0), "E2M1": (2, 1, 1, 6.0)}
RANDOM_NUMBERS = 512


def fmt(ns: Namespace, name: str = "E4M3") -> Any:
    return ns["Format"](*FORMATS[name])


@cache
def _every_fp16() -> Tensor:
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.float16)
    return every[every.isfinite()].float()


def every_fp16() -> Tensor:
    """All finite float16 numbers, as float32, both zeros among them."""
    return _every_fp16().clone()


def ties(name: str = "E4M3") -> Tensor:
    """Halfway between neighbours of the format, and one float32 below and above each."""
    exponent_bits, mantissa_bits, bias, largest = FORMATS[name]
    count = 2 ** (exponent_bits + mantissa_bits)
    codes = torch.arange(count)
    fraction = (codes % 2**mantissa_bits) / 2**mantissa_bits
    exponent = codes // 2**mantissa_bits
    values = ((exponent > 0) + fraction) * 2.0 ** (exponent.clamp(min=1) - bias)
    values = values[values <= largest]
    half = (values[1:] + values[:-1]) / 2
    low = torch.nextafter(half, torch.tensor(0.0))
    high = torch.nextafter(half, torch.tensor(float("inf")))
    one_side = torch.cat([half, low, high])
    return torch.cat([one_side, -one_side])


def normal(name: str, *shape: int) -> Tensor:
    """Standard normal float32 numbers."""
    return torch.randn(shape, generator=stream(name))


def weights(*shape: int) -> Tensor:
    return 0.02 * normal("weights", *(shape or (320,)))


def uneven(*shape: int) -> Tensor:
    """Weights, each 32 of which are ten times larger than the 32 before."""
    x = weights(*shape)
    return x * 10.0 ** torch.arange(x.size(-1)).div(32, rounding_mode="floor")


def probe_format(ns: Namespace) -> Iterator[Observation]:
    yield Observation("fields and their defaults", lambda: field_defaults(ns["Format"]))
    yield Observation("fields in their order", lambda: [*field_defaults(ns["Format"])])
    yield Observation("another format", lambda: dataclasses.asdict(ns["Format"](*FORMATS["E5M2"])))


def probe_decode(ns: Namespace) -> Iterator[Observation]:
    def f(name: str, codes: Tensor) -> Tensor:
        return ns["decode"](codes, fmt(ns, name))

    yield Observation("normal numbers of E4M3", lambda: f("E4M3", torch.arange(9, 126)))
    yield Observation("subnormal numbers of E4M3", lambda: f("E4M3", torch.arange(8)))
    yield Observation("the codes at the top of E4M3", lambda: f("E4M3", torch.arange(125, 128)))
    yield Observation("all codes of E5M2", lambda: f("E5M2", torch.arange(128)))
    yield Observation("all codes of E2M1", lambda: f("E2M1", torch.arange(8)))


def probe_ulp(ns: Namespace) -> Iterator[Observation]:
    def f(x: Tensor, name: str = "E4M3") -> Tensor:
        return ns["ulp"](x, fmt(ns, name))

    def between() -> Tensor:
        return torch.tensor([1.1, 1.9, 3.0, 5.5, 100.0, 0.3, 0.02])

    def powers() -> Tensor:
        return 2.0 ** torch.arange(-6, 9).float()

    def just_below() -> Tensor:
        return torch.nextafter(powers(), torch.tensor(0.0))

    yield Observation("inside binades", lambda: f(between()))
    yield Observation("of negative numbers", lambda: f(-between()))
    yield Observation("at powers of two", lambda: f(powers()))
    yield Observation("one float32 below powers of two", lambda: f(just_below()))
    yield Observation("below the smallest normal number", lambda: f(powers()[1:] * 2.0**-15))
    yield Observation("at zero", lambda: f(torch.zeros(5)))
    yield Observation("above the largest number", lambda: f(torch.tensor([449.0, 600.0, 5000.0])))
    yield Observation("in E5M2", lambda: f(between(), "E5M2"))
    yield Observation("every fp16 number", lambda: f(every_fp16()))


def probe_saturate(ns: Namespace) -> Iterator[Observation]:
    def f(values: list[float], name: str = "E4M3") -> Tensor:
        return ns["saturate"](torch.tensor(values), fmt(ns, name))

    inf, nan = float("inf"), float("nan")
    yield Observation("inside the range", lambda: f([-448.0, -3.0, 0.0, 0.25, 448.0]))
    yield Observation("beyond it", lambda: f([449.0, 1e30, -449.0, -1e30]))
    yield Observation("infinity", lambda: f([inf, -inf]))
    yield Observation("is NaN still NaN", lambda: f([nan, 1.0]).isnan())
    yield Observation("another format", lambda: f([60000.0, -60000.0, 500.0], "E5M2"))


def probe_round_nearest(ns: Namespace) -> Iterator[Observation]:
    def f(x: Tensor, name: str = "E4M3") -> Tensor:
        return ns["round_nearest"](x, fmt(ns, name))

    inf, nan = float("inf"), float("nan")
    yield Observation("between neighbours", lambda: f(torch.tensor([1.03, 1.1, 3.3, 100.0, 0.021])))
    yield Observation("negative numbers", lambda: f(-torch.tensor([1.03, 1.1, 3.3, 100.0])))
    yield Observation("ties and their nearest float32 numbers", lambda: f(ties()))
    yield Observation("subnormal numbers", lambda: f(torch.arange(-64, 64) * 2.0**-13))
    yield Observation(
        "half the smallest number and less", lambda: f(torch.tensor([2.0**-10, 1e-4]))
    )
    yield Observation(
        "beyond the largest", lambda: f(torch.tensor([449.0, 464.0, 465.0, 1e9, -1e9]))
    )
    yield Observation("infinity", lambda: f(torch.tensor([inf, -inf])))
    yield Observation("is NaN still NaN", lambda: f(torch.tensor([nan, 1.0])).isnan())
    yield Observation("signs of zeros", lambda: f(torch.tensor([0.0, -0.0, -1e-9, 1e-9])).signbit())
    yield Observation("every fp16 number", lambda: f(every_fp16()))
    yield Observation("every fp16 number in E5M2", lambda: f(every_fp16(), "E5M2"))
    yield Observation("ties in E2M1", lambda: f(ties("E2M1"), "E2M1"))
    yield Observation("a matrix", lambda: f(weights(5, 11) * 50))
    yield Observation("x left as it was", lambda: unchanged(f, weights()))


def probe_round_stochastic(ns: Namespace) -> Iterator[Observation]:
    """Unbiased by any convention: all random numbers are asked, and the answers sorted."""

    def f(x: Tensor, name: str = "E4M3") -> Tensor:
        random = torch.arange(RANDOM_NUMBERS).float() / RANDOM_NUMBERS
        asked = x[:, None].expand(-1, RANDOM_NUMBERS)
        return ns["round_stochastic"](asked, fmt(ns, name), random.expand_as(asked))

    def over_all(x: Tensor, name: str = "E4M3") -> Tensor:
        return f(x, name).sort(dim=1).values.flatten()

    # Shares of an ulp that are multiples of 1/512 are met exactly.
    shares = torch.tensor([1, 5, 100, 256, 300, 511]) / RANDOM_NUMBERS
    yield Observation("answers over all random numbers", lambda: over_all(1 + shares / 8))
    yield Observation("of negative numbers", lambda: over_all(-(1 + shares / 8)))
    yield Observation("their mean", lambda: f(1 + shares / 8).mean(dim=1))
    yield Observation("of subnormal numbers", lambda: over_all((1 + shares) * 2.0**-9))
    yield Observation("of less than the smallest number", lambda: over_all(shares * 2.0**-9))
    yield Observation("just below a power of two", lambda: over_all(4 - shares / 4))
    yield Observation(
        "values of the format stay", lambda: over_all(torch.tensor([1.0, 0.25, -7.5]))
    )
    yield Observation("beyond the largest", lambda: over_all(torch.tensor([449.0, 470.0, -1e6])))
    yield Observation("signs of zeros", lambda: f(torch.tensor([0.0, -0.0, -1e-9])).signbit())
    yield Observation("in E5M2", lambda: over_all(1 + shares / 4, "E5M2"))
    yield Observation(
        "are the given random numbers used", lambda: same(*(f(1 + shares / 8) for _ in "ab"))
    )


def probe_straight_through(ns: Namespace) -> Iterator[Observation]:
    def f(x: Tensor) -> Tensor:
        return ns["straight_through"](x, fmt(ns))

    def gradient(x: Tensor) -> dict[str, Any]:
        leaf = x.requires_grad_()
        return gradients(f(leaf), {"x": leaf})

    yield Observation("forward", lambda: f(weights() * 50))
    yield Observation("backward", lambda: gradient(weights() * 50))
    yield Observation("backward, where it saturates", lambda: gradient(weights() * 1e6))
    yield Observation("x left as it was", lambda: unchanged(f, weights()))


def probe_scale_of(ns: Namespace) -> Iterator[Observation]:
    def f(x: Tensor, name: str = "E4M3") -> Tensor:
        return ns["scale_of"](x, fmt(ns, name))

    yield Observation("scale of weights", lambda: f(weights()), rtol=1e-6)
    yield Observation("scale of a matrix", lambda: f(weights(5, 11)), rtol=1e-6)
    yield Observation(
        "where the largest is negative", lambda: f(torch.tensor([1.0, -5.0, 2.0])), rtol=1e-6
    )
    yield Observation("scale of zeros", lambda: f(torch.zeros(5)))
    yield Observation("scale for E5M2", lambda: f(weights(), "E5M2"), rtol=1e-6)


def probe_quantize(ns: Namespace) -> Iterator[Observation]:
    def f(x: Tensor, name: str = "E4M3") -> Tensor:
        return ns["quantize"](x, fmt(ns, name))

    yield Observation("weights", lambda: f(weights()), rtol=1e-6)
    yield Observation("a matrix", lambda: f(weights(5, 11)), rtol=1e-6)
    yield Observation("zeros", lambda: f(torch.zeros(5)))
    yield Observation("weights in E2M1", lambda: f(weights(), "E2M1"), rtol=1e-6)
    yield Observation("x left as it was", lambda: unchanged(f, weights()))


def probe_mx_scale(ns: Namespace) -> Iterator[Observation]:
    def f(x: Tensor, name: str = "E4M3") -> Tensor:
        return ns["mx_scale"](x, fmt(ns, name))

    def powers() -> Tensor:
        return (2.0 ** torch.arange(-13, 13).float())[:, None] * torch.tensor(
            [0.3, -1.0, 0.0, 0.5, 0.9]
        )

    yield Observation("scales of blocks", lambda: f(weights(11, 32)))
    yield Observation("where the largest is a power of two", lambda: f(powers()))
    yield Observation("a block of zeros", lambda: f(torch.zeros(5, 32)))
    yield Observation("for E2M1", lambda: f(weights(11, 32), "E2M1"))
    yield Observation("for E5M2", lambda: f(weights(11, 32), "E5M2"))


def probe_mx_quantize(ns: Namespace) -> Iterator[Observation]:
    def f(x: Tensor, name: str = "E4M3", **how: Any) -> Tensor:
        return ns["mx_quantize"](x, fmt(ns, name), **how)

    yield Observation("ten blocks of 32", lambda: f(uneven(320)))
    yield Observation("rows of blocks", lambda: f(uneven(5, 96)))
    yield Observation("blocks of 16", lambda: f(uneven(5, 96), block=16))
    yield Observation("in E2M1", lambda: f(uneven(320), "E2M1"))
    yield Observation("does it refuse 33 numbers", lambda: refuses(lambda: f(weights(33))))
    yield Observation("x left as it was", lambda: unchanged(f, uneven(320)))


def probe_sqnr(ns: Namespace) -> Iterator[Observation]:
    def f(x: Tensor, error: float) -> float:
        return ns["sqnr"](x, x + error * normal("noise", *x.shape))

    yield Observation("decibels", lambda: f(normal("signal", 320), 0.01), rtol=1e-6)
    yield Observation("decibels of more noise", lambda: f(normal("signal", 320), 0.5), rtol=1e-6)
    yield Observation("decibels of a matrix", lambda: f(normal("signal", 5, 11), 0.1), rtol=1e-6)
    yield Observation("is it a float", lambda: type(f(normal("signal", 320), 0.01)).__name__)


def probe_lost_updates(ns: Namespace) -> Iterator[Observation]:
    def f(weight: list[float], update: list[float]) -> float:
        """To six digits: float32 has a third in more than one way."""
        share = ns["lost_updates"](torch.tensor(weight), torch.tensor(update), fmt(ns))
        return round(share, 6) if isinstance(share, float) else share

    yield Observation("one of two lost", lambda: f([1.0, 1.0], [0.01, 0.1]))
    yield Observation("a tie goes to the even one", lambda: f([1.0, 1.125], [0.0625, 0.0625]))
    yield Observation(
        "downwards, into the finer binade", lambda: f([1.0, 1.0, 1.0], [-0.04, -0.02, 0.04])
    )
    yield Observation("zero updates do not count", lambda: f([1.0, 1.0, 1.0], [0.0, 0.01, 0.1]))
    yield Observation("no update at all", lambda: f([1.0, 2.0], [0.0, 0.0]))
    yield Observation("at zero", lambda: f([0.0, 0.0, 0.0], [1e-4, 1e-3, 2e-3]))


PROBES: dict[str, Probe] = {
    "Format": probe_format,
    "decode": probe_decode,
    "ulp": probe_ulp,
    "saturate": probe_saturate,
    "round_nearest": probe_round_nearest,
    "round_stochastic": probe_round_stochastic,
    "straight_through": probe_straight_through,
    "scale_of": probe_scale_of,
    "quantize": probe_quantize,
    "mx_scale": probe_mx_scale,
    "mx_quantize": probe_mx_quantize,
    "sqnr": probe_sqnr,
    "lost_updates": probe_lost_updates,
}
