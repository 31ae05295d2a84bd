"""Proofs about a precision recipe: what is rounded, and that gradients are the declared ones.

A rounded product has no true derivative: gradcheck would fail by design. Declared is the
straight-through surrogate, dx = Q(g)·Q(W) and dW = Q(g)ᵀ·Q(x).
"""

import copy

import torch

from altgrad.learn.verify.result import Check, Failed, NotApplicable, require
from altgrad.learn.verify.subject import Subject
from altgrad.quantization import Recipe, apply_recipe
from altgrad.quantization.convert import quant_layers, strip_recipe
from altgrad.quantization.linear import Operand, QuantLinear


def _recipe(s: Subject) -> Recipe:
    if not s.config.precision.simulate:
        raise NotApplicable("precision rounds nothing")
    if s.config.precision.native:
        raise NotApplicable("native FP8 products run on FP8 hardware only")
    return Recipe.of(s.config.precision)


def what_is_rounded(s: Subject) -> str:
    model = s.awake(dtype=torch.float32)
    report = apply_recipe(model, _recipe(s))
    require(bool(report.converted), "the recipe rounds no layer at all")
    return " | ".join(report.lines())


@torch.no_grad()
def stripped_is_unrounded(s: Subject) -> str:
    model = s.awake(dtype=torch.float32)
    plain = copy.deepcopy(model)(s.ids())[0]
    apply_recipe(model, _recipe(s))
    moved = (model(s.ids())[0] - plain).abs().max().item()
    require(moved > 0, "rounding changes nothing")
    require(torch.equal(strip_recipe(model)(s.ids())[0], plain), "stripping leaves a trace")
    return f"rounding moves logits by up to {moved:.2g}; stripped, they are bit-identical"


def surrogate_gradients(s: Subject) -> str:
    model = s.awake(dtype=torch.float32)
    apply_recipe(model, _recipe(s))
    name, layer = next(iter(quant_layers(model).items()))
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(10, layer.in_features, generator=generator, requires_grad=True)
    g = torch.randn(10, layer.out_features, generator=generator)
    layer.register_parameter("bias", None)
    y = layer(x)
    dx, dw = torch.autograd.grad(y, (x, layer.weight), g)
    qx, qw = _rounded(layer, "input", x.detach()), _rounded(layer, "weight", layer.weight.detach())
    qg = _rounded(layer, "grad_output", g)
    left, right = (qg, qx) if layer.recipe.grad_weight else (g, x.detach())
    for what, got, wanted in (
        ("output", y, qx @ qw.T),
        ("gradient of the input", dx, qg @ qw),
        ("gradient of the weight", dw, left.T @ right),
    ):
        error = ((got - wanted).abs().max() / wanted.abs().max()).item()
        if error > 1e-5:
            raise Failed(f"{name}: the {what} differs from the declared one by {error:.2g}")
    return f"{name}: output and both gradients are products of the rounded operands"


def _rounded(layer: QuantLinear, role: str, x: torch.Tensor) -> torch.Tensor:
    operand: Operand = layer.roundings[role](x, torch.float32, layer.tick, count=False)
    return operand.values if operand.scale is None else operand.values * operand.scale


CHECKS = [
    Check("what is rounded", "the recipe reaches its layers", "precision.skip", what_is_rounded),
    Check("stripping", "rounding adds nothing else", "convert.strip_recipe", stripped_is_unrounded),
    Check(
        "surrogate gradients", "declared ones flow", "quantization/linear.py", surrogate_gradients
    ),
]
