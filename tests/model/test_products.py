import pytest
import torch
from torch import nn

from altgrad.model import products
from altgrad.model.products import products_of
from altgrad.quantization.fp32_products import Fp32Linear


def layers(**how):
    torch.manual_seed(0)
    return [nn.Linear(8, width, **how) for width in (8, 4, 4)]


@pytest.fixture
def joined(monkeypatch):
    """Counts the products that stand for several layers."""
    calls = []
    linear = products.F.linear
    monkeypatch.setattr(products.F, "linear", lambda *given: calls.append(1) or linear(*given))
    return calls


@pytest.mark.parametrize("bias", [True, False])
def test_one_product_is_what_each_layer_gives_and_so_are_its_gradients(bias):
    of_one, of_each = layers(bias=bias), layers(bias=bias)
    x = torch.randn(3, 5, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found, wanted = products_of(x, of_one), [layer(x) for layer in of_each]
    for f, w in zip(found, wanted, strict=True):
        assert f.dtype == torch.bfloat16
        torch.testing.assert_close(f, w)
    torch.cat(found, -1).float().square().sum().backward()
    torch.cat(wanted, -1).float().square().sum().backward()
    for one, each in zip(of_one, of_each, strict=True):
        torch.testing.assert_close(one.weight.grad, each.weight.grad, rtol=1e-2, atol=1e-2)


def test_outside_autocast_each_layer_multiplies_for_itself_to_the_bit():
    three, x = layers(), torch.randn(3, 8)
    for found, layer in zip(products_of(x, three), three, strict=True):
        assert torch.equal(found, layer(x))


@pytest.mark.parametrize(
    ("change", "products_taken"),
    [
        (lambda three: None, 1),
        (lambda three: three[1].register_forward_hook(lambda *_: None), 3),
        (lambda three: three[2].register_forward_pre_hook(lambda *_: None), 3),
        (lambda three: nn.utils.parametrizations.weight_norm(three[0]), 3),
        (lambda three: setattr(three[0], "bias", None), 3),
        (lambda three: setattr(three[0], "__class__", Fp32Linear), 1),
    ],
    ids=["plain", "hook", "pre-hook", "parametrised", "one without a bias", "another product"],
)
def test_only_layers_that_do_nothing_else_are_taken_together(joined, change, products_taken):
    three = layers()
    change(three)
    with torch.autocast("cpu", torch.bfloat16):
        products_of(torch.randn(2, 8), three)
    assert len(joined) == products_taken


def test_shapes_can_be_asked_for_without_memory():
    three = [layer.to("meta") for layer in layers()]
    assert [p.shape[-1] for p in products_of(torch.empty(2, 8, device="meta"), three)] == [8, 4, 4]
