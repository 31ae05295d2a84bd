"""The three products of a rounded linear layer against torchao's emulated float8 linear and against
the MX rules, where they define the same thing.

torchao multiplies by max/amax rounded to float32, altgrad divides by amax/max: with powers of two
both are exact and every operand agrees bit for bit; with free scales a number beside a tie may go
the other way. MX hardware rounds an operand once per product, along that product's contraction;
altgrad once, along its last dimension: the forward product is the same.
"""

import math

import pytest
import torch
from torch import nn

from altgrad.quantization import CastConfig, PrecisionConfig, Recipe, apply_recipe

ROLES = ("weight", "input", "grad_output")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def operands() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weight (48, 64), input (40, 64), gradient of the output (40, 48), over some decades."""
    g = torch.Generator().manual_seed(11)
    shapes = ((48, 64), (40, 64), (40, 48))
    return tuple(torch.randn(s, generator=g) * torch.logspace(-3, 1, s[1]) for s in shapes)


def products(layer: nn.Module, x: torch.Tensor, g: torch.Tensor) -> list[torch.Tensor]:
    """Output, gradient of the input, gradient of the weight."""
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(g)
    weight = next(layer.parameters())
    return [y.detach(), x.grad, weight.grad]


def plain(weight: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(64, 48, bias=False)
    layer.weight.data.copy_(weight)
    return layer


def rounded(numbers: torch.Tensor, **settings) -> nn.Module:
    model = nn.Sequential(plain(numbers))
    apply_recipe(model, Recipe.of(PrecisionConfig(simulate=True, **settings)))
    return model


def torchaos(weight: torch.Tensor, formats: dict[str, torch.dtype], **settings) -> nn.Module:
    from torchao.float8 import config
    from torchao.float8.float8_linear import Float8Linear

    casts = {
        f"cast_config_{role}": config.CastConfig(target_dtype=kind)
        for role, kind in formats.items()
    }
    made = config.Float8LinearConfig(**casts, emulate=True, **settings)
    return Float8Linear.from_float(plain(weight), made)


KINDS = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}
PAIRS = [("e4m3", "e4m3"), ("e5m2", "e5m2"), ("e4m3", "e5m2")]


@pytest.mark.parametrize(("forward", "backward"), PAIRS)
def test_powers_of_two_give_torchaos_products(forward, backward):
    weight, x, g = operands()
    kinds = {r: KINDS[backward if r == "grad_output" else forward] for r in ROLES}
    theirs = products(torchaos(weight, kinds, round_scales_to_power_of_2=True), x, g)
    casts = {r: CastConfig(scale_rule="power_of_two") for r in ("weight", "input")}
    casts["grad_output"] = CastConfig(format=backward, scale_rule="power_of_two")
    ours = products(rounded(weight, format=forward, **casts), x, g)
    for mine, other in zip(ours, theirs, strict=True):
        scale = other.abs().max().item()
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6 * scale)


@pytest.mark.parametrize(("forward", "backward"), PAIRS)
def test_free_scales_give_torchaos_products_up_to_ties(forward, backward):
    weight, x, g = operands()
    kinds = {r: KINDS[backward if r == "grad_output" else forward] for r in ROLES}
    theirs = products(torchaos(weight, kinds), x, g)
    settings = {"grad_output": CastConfig(format=backward)}
    ours = products(rounded(weight, format=forward, **settings), x, g)
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine - other).norm() < 1e-5 * other.norm()  # unrounded products: 3e-2 and more


MX_CASTS = {r: CastConfig(scaling="block", scale_rule="mx", block_size=32) for r in ROLES}


@pytest.mark.parametrize("name", ["e4m3fn", "e5m2", "e2m3fn", "e3m2fn", "e2m1fn"])
def test_the_mx_forward_product_is_that_of_torchaos_mx_operands(name):
    from torchao.prototype.mx_formats import mx_tensor

    kinds = {
        "e4m3fn": torch.float8_e4m3fn,
        "e5m2": torch.float8_e5m2,
        "e2m3fn": mx_tensor.DTYPE_FP6_E2M3,
        "e3m2fn": mx_tensor.DTYPE_FP6_E3M2,
        "e2m1fn": torch.float4_e2m1fn_x2,
    }
    weight, x, _ = operands()
    w, a = (
        mx_tensor.MXTensor.to_mx(t, kinds[name], 32).dequantize(torch.float32) for t in (weight, x)
    )
    expected = a.double() @ w.double().T
    mine = rounded(weight, format=name, **MX_CASTS)(x).detach()
    torch.testing.assert_close(mine.double(), expected, rtol=1e-5, atol=1e-5)


# exponent bits, mantissa bits, emax, largest number: the table in microxcaling's formats.py
PUBLISHED = {
    "e4m3fn": (4, 3, 8, 448.0),
    "e5m2": (5, 2, 15, 57344.0),
    "e2m3fn": (2, 3, 2, 7.5),
    "e3m2fn": (3, 2, 4, 28.0),
    "e2m1fn": (2, 1, 2, 6.0),
}


def by_the_published_rules(block: list[float], name: str) -> list[float]:
    """One block of an MX format, number by number (Rouhani et al. 2023, arXiv 2310.10537,
    algorithm 1, elements as in microxcaling with `round=even`)."""
    exponent_bits, mantissa_bits, emax, largest = PUBLISHED[name]
    amax = max(abs(v) for v in block)
    shared = math.floor(math.log2(amax)) - emax if amax else 0
    smallest = 2 - 2 ** (exponent_bits - 1)  # exponent of the smallest normal number
    found = []
    for v in (v / 2.0**shared for v in block):
        private = max(math.floor(math.log2(abs(v))) if v else smallest, smallest)
        step = 2.0 ** (private - mantissa_bits)
        held = min(round(abs(v) / step) * step, largest)  # Python rounds halves to even
        found.append(math.copysign(held, v) * 2.0**shared)
    return found


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_mx_products_are_those_of_operands_rounded_by_the_published_rules(name):
    weight, x, g = (t[..., :32].contiguous() for t in operands())
    g = g[:, :32].contiguous()
    weight = weight[:32]
    w, a, o = (
        torch.tensor([by_the_published_rules(row, name) for row in t.tolist()]).double()
        for t in (weight, x, g)
    )
    layer = nn.Sequential(nn.Linear(32, 32, bias=False))
    layer[0].weight.data.copy_(weight)
    apply_recipe(layer, Recipe.of(PrecisionConfig(simulate=True, format=name, **MX_CASTS)))
    for mine, exact in zip(products(layer, x, g), (a @ w.T, o @ w, o.T @ a), strict=True):
        torch.testing.assert_close(mine.double(), exact, rtol=1e-5, atol=1e-4)
