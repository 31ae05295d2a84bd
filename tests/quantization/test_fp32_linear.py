"""Linear layers by oneDNN: the same numbers as torch's own, forward and back."""

import copy

import pytest
import torch
from torch import nn

from altgrad.quantization import fp32_products
from altgrad.quantization.convert import apply_recipe, strip_recipe
from altgrad.quantization.fp32_products import Fp32Linear, use_fast_products
from altgrad.quantization.recipe import PrecisionConfig, Recipe

if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
    pytest.skip("this torch has no oneDNN", allow_module_level=True)


@pytest.fixture
def faster(monkeypatch):
    """As on a processor where it is."""
    monkeypatch.setattr(fp32_products, "onednn_is_faster", lambda: True)


def results(layer: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Output, and the gradients of a sum weighted by position."""
    x = x.detach().clone().as_strided(x.shape, x.stride()).requires_grad_()
    y = layer(x)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    return [y, x.grad, *(p.grad for p in layer.parameters())]


INPUTS = {
    "matrix": torch.randn(24, 40),
    "batch": torch.randn(3, 8, 40),
    "vector": torch.randn(40),
    "strided": torch.randn(40, 3, 8).permute(1, 2, 0),
    "empty": torch.randn(0, 40),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", INPUTS)
def test_equals_a_plain_layer_in_double(faster, name, bias):
    plain = nn.Linear(40, 56, bias=bias)
    fast = use_fast_products(copy.deepcopy(plain))
    assert type(fast) is Fp32Linear
    assert list(fast.state_dict()) == list(plain.state_dict())
    found = results(fast, INPUTS[name])
    expected = results(plain.double(), INPUTS[name].double())
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)


def test_compiled_equals_eager(faster):
    layer = use_fast_products(nn.Sequential(nn.Linear(40, 56), nn.ReLU(), nn.Linear(56, 8)))
    torch._dynamo.reset()
    eager = results(layer, INPUTS["batch"])
    layer.zero_grad()
    compiled = results(torch.compile(layer, fullgraph=True), INPUTS["batch"])
    for a, b in zip(eager, compiled, strict=True):
        torch.testing.assert_close(a, b)


def test_other_dtypes_and_autocast_are_left_to_torch(faster, monkeypatch):
    monkeypatch.setattr(fp32_products, "times_transposed", None)
    layer = use_fast_products(nn.Linear(40, 56))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(INPUTS["matrix"]).dtype == torch.bfloat16
    assert layer.double()(INPUTS["matrix"].double()).dtype == torch.float64


def test_a_recipe_gives_the_layer_back_as_it_was(faster):
    model = use_fast_products(nn.Sequential(nn.Linear(40, 56)))
    before = results(model, INPUTS["matrix"])
    model.zero_grad()
    apply_recipe(model, Recipe.of(PrecisionConfig(simulate=True, format="e4m3")))
    strip_recipe(model)
    assert type(model[0]) is Fp32Linear
    assert all(map(torch.equal, results(model, INPUTS["matrix"]), before))


def test_elsewhere_nothing_changes(monkeypatch):
    monkeypatch.setattr(fp32_products, "onednn_is_faster", lambda: False)
    assert type(use_fast_products(nn.Linear(4, 4))) is nn.Linear


@pytest.mark.parametrize(
    ("vendor", "family", "wide"),
    [
        ("AuthenticAMD", "26", True),  # Zen 5
        ("AuthenticAMD", "25", False),  # Zen 4: 512 bits in two halves
        ("GenuineIntel", "6", False),
        ("AuthenticAMD", "", False),
    ],
)
def test_only_amd_cores_with_wide_units_take_onednn(tmp_path, vendor, family, wide):
    facts = tmp_path / "cpuinfo"
    core = f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: 17\n\n"
    facts.write_text(core * 2)
    assert fp32_products._wide_amd(facts) is wide
    assert not fp32_products._wide_amd(tmp_path / "absent")
