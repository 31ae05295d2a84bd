"""The three products of a rounded linear layer, against independent compositions."""

import copy

import pytest
import torch
from torch import nn

from altgrad.quantization import (
    CATALOGUE,
    MX,
    NVFP4,
    CastConfig,
    PerColumn,
    PerRow,
    PerTensor,
    PrecisionConfig,
    Recipe,
    apply_recipe,
    fake_quantize,
)
from altgrad.quantization import (
    convert as conversion,
)
from altgrad.quantization.convert import count_statistics, finish_step, quant_layers, read_counts
from altgrad.quantization.linear import COLUMNS

SCALINGS = {
    "none": ({"scaling": "none"}, None),
    "tensor": ({}, PerTensor()),
    "power": ({"scale_rule": "power_of_two"}, PerTensor("power_of_two")),
    "row": ({"scaling": "row"}, PerRow()),
    "column": ({"scaling": "column"}, PerColumn()),
    "mx": ({"scaling": "block", "scale_rule": "mx"}, MX(ragged=True)),
    "nvfp4": ({"scaling": "nvfp4"}, NVFP4(ragged=True)),
}


def make(bias: bool = True):
    """A model of one linear layer, a batch, and the gradient of its output."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(48, 32, bias=bias)), torch.randn(35, 48), torch.randn(35, 32)


def convert(model: nn.Module, **settings) -> nn.Module:
    apply_recipe(model, Recipe.of(PrecisionConfig(simulate=True, **settings)), seed=3)
    return model


def run(model: nn.Module, x: torch.Tensor, g: torch.Tensor):
    """Output, gradient of x, gradient of W."""
    x = x.clone().requires_grad_()
    y = model(x)
    y.backward(g)
    return y.detach(), x.grad, model[0].weight.grad.clone()


@pytest.mark.parametrize("kind", SCALINGS)
@pytest.mark.parametrize("name", ["e4m3", "e5m2", "e3m4", "e0m7", "e2m1fn", "e6m1", "e7m0"])
def test_the_three_products_are_those_of_the_rounded_operands(kind, name):
    words, scaling = SCALINGS[kind]
    model, x, g = make(bias=False)
    q = [fake_quantize(t, name, scaling=scaling).double() for t in (x, model[0].weight.data, g)]
    expected = (q[0] @ q[1].T, q[2] @ q[1], q[2].T @ q[0])
    casts = {role: CastConfig(**words) for role in ("weight", "input", "grad_output")}
    found = run(convert(model, format=name, **casts), x, g)
    for ours, exact in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=2e-5, atol=2e-5)


def test_the_backward_pass_uses_the_rounded_weight():
    model, x, g = make(bias=False)
    plain = run(copy.deepcopy(model), x, g)
    model.zero_grad()
    weight = fake_quantize(model[0].weight.data, "e2m1fn", scaling=PerTensor())
    found = run(convert(model, format="e2m1fn", grad_output=CastConfig(format="none")), x, g)
    assert (found[1] - plain[1]).norm() > 0.05 * plain[1].norm()
    torch.testing.assert_close(found[1], g @ weight, rtol=1e-4, atol=1e-4)


def test_the_weight_gradient_can_keep_its_operands():
    model, x, g = make(bias=False)
    found = run(convert(model, format="e2m1fn", grad_weight=False), x, g)
    torch.testing.assert_close(found[2], g.T @ x, rtol=1e-5, atol=1e-5)


def test_the_bias_is_added_unrounded():
    model, x, g = make(bias=True)
    bias, weight = model[0].bias.detach().clone(), model[0].weight.detach().clone()
    without = nn.Sequential(nn.Linear(48, 32, bias=False))
    without[0].weight.data.copy_(weight)
    difference = run(convert(model, format="e4m3"), x, g)[0]
    difference = difference - run(convert(without, format="e4m3"), x, g)[0]
    torch.testing.assert_close(difference, bias.expand_as(difference), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model[0].bias.grad, g.sum(0), rtol=1e-5, atol=1e-5)


def test_bf16_by_emulation_is_torchs_bf16_up_to_accumulation():
    model, x, g = make(bias=False)
    expected = run(copy.deepcopy(model).bfloat16(), x.bfloat16(), g.bfloat16())
    casts = {r: CastConfig(scaling="none") for r in ("weight", "input", "grad_output")}
    found = run(convert(model, format="bf16", **casts), x, g)
    for ours, theirs in zip(found, expected, strict=True):
        # torch rounds its result to bf16 once more: half a unit in the last place, 2^-9
        torch.testing.assert_close(ours, theirs.float(), rtol=2**-8, atol=1e-3)


@pytest.mark.parametrize("role", ["weight", "input", "grad_output"])
def test_stochastic_rounding_changes_with_the_step_and_repeats_with_the_seed(role):
    results = []
    for _ in range(2):
        model, x, g = make()
        convert(model, format="e4m3", **{role: CastConfig(rounding="stochastic")})
        first = torch.cat([t.flatten() for t in run(model, x, g)])
        finish_step(model)
        model.zero_grad()
        results.append((first, torch.cat([t.flatten() for t in run(model, x, g)])))
    assert not torch.equal(results[0][0], results[0][1])
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_delayed_scaling_uses_the_amax_of_the_step_before():
    model, x, g = make(bias=False)
    convert(model, format="e4m3", input=CastConfig(scaling="delayed", history=4))
    count_statistics(model, True)
    run(model, x, g)
    finish_step(model)
    assert model[0].roundings["input"].scaling.history[0] == x.abs().max()
    y = model(2 * x)
    clipped = fake_quantize(2 * x, "e4m3", scale=float(x.abs().max()) / 448)
    weight = fake_quantize(model[0].weight.data, "e4m3", scaling=PerTensor())
    torch.testing.assert_close(y.detach(), clipped @ weight.T, rtol=1e-4, atol=1e-4)


def test_counts_are_those_of_each_role():
    model, x, g = make(bias=False)
    x[0, :5] = 1e-9
    convert(model, format="e4m3")
    count_statistics(model, True)
    run(model, x, g)
    counts, at = read_counts(model)["0"], COLUMNS.index
    assert counts["input"][at("underflow")] == 5
    assert counts["input"][at("amax")] == x.abs().max()
    assert counts["grad_output"][at("amax")] == g.abs().max()
    assert counts["weight"][at("numel")] == 48 * 32
    assert counts["input"][at("numel")] == 35 * 48
    finish_step(model)
    assert read_counts(model) == {}


@pytest.mark.parametrize("how", ["eager", "compiled", "copied"])
def test_counts_add_up_over_micro_batches_and_the_largest_amax_stays(how):
    model, x, g = make(bias=False)
    convert(model, format="e4m3")
    model = copy.deepcopy(model) if how == "copied" else model
    count_statistics(model, True)
    network = torch.compile(model, backend="aot_eager") if how == "compiled" else model
    for factor in (1, 3, 2):
        network(factor * x).backward(g / factor)
    line = read_counts(model)["0"]
    assert line["input"][COLUMNS.index("numel")] == 3 * 35 * 48
    assert line["input"][COLUMNS.index("amax")] == (3 * x).abs().max()
    assert line["grad_output"][COLUMNS.index("amax")] == g.abs().max()
    assert line["weight"][COLUMNS.index("amax")] == model[0].weight.abs().max()


def plainly_delayed(steps: list[list[torch.Tensor]], length: int) -> list[torch.Tensor]:
    """What e4m3 with delayed scaling makes of micro-batches: a scale from the largest magnitudes
    of earlier steps, which the first step does not have."""
    history, found = [], []
    for micro_batches in steps:
        for x in micro_batches:
            amax = max(history[-length:], default=float(x.abs().max()))
            found.append(fake_quantize(x, "e4m3", scale=amax / 448))
        history.append(max(float(x.abs().max()) for x in micro_batches))
    return found


def test_delayed_scaling_under_accumulation_is_that_of_the_largest_micro_batch():
    model, x, g = make(bias=False)
    weight, kept = model[0].weight.detach().clone(), []
    casts = {"weight": CastConfig(format="none"), "grad_output": CastConfig(format="none")}
    convert(model, format="e4m3", input=CastConfig(scaling="delayed", history=2), **casts)
    count_statistics(model, True)
    factors = [[1.0] * 7 + [64.0], [64.0, 1.0], [1.0, 2.0], [0.5, 0.25], [8.0, 1.0]]
    steps = [[f * x for f in step] for step in factors]
    for step in steps:
        for part in step:
            kept.append(run(model, part, g)[0])
        finish_step(model)
        model.eval()
        model(1000 * x)  # an evaluation leaves no trace
        model.train()
    assert model[0].roundings["input"].scaling.history.tolist() == pytest.approx(
        [8 * float(x.abs().max()), 0.5 * float(x.abs().max())]
    )
    for ours, rounded in zip(kept, plainly_delayed(steps, 2), strict=True):
        torch.testing.assert_close(ours, rounded @ weight.T, rtol=1e-5, atol=1e-3)


def test_a_history_keeps_the_largest_amax_of_all_processes():
    model, x, g = make(bias=False)
    convert(model, format="e4m3", input=CastConfig(scaling="delayed"))
    count_statistics(model, True)
    run(model, x, g)
    finish_step(model, over_processes=lambda amax: amax.clamp_min(77.0))
    assert model[0].roundings["input"].scaling.history[0] == 77


COMPUTE = {torch.float16: 2**-10, torch.bfloat16: 2**-7, torch.float32: 2e-5}
"""Dtype that a run computes in -> relative error of a sum that was rounded to it twice."""
SIGNED = [n for n, f in CATALOGUE.items() if f.signed and f.has_zero]


@pytest.mark.parametrize("length", [8, 4096, 65536])
@pytest.mark.parametrize("compute", COMPUTE, ids=str)
@pytest.mark.parametrize("name", SIGNED)
def test_products_of_the_largest_numbers_are_finite_and_right(name, compute, length):
    """All operands at the top of the format: the sum of `length` products of its largest number
    with itself is far beyond float16, what it stands for is not."""
    x, w = torch.full((2, length), 0.75), torch.full((3, length), length**-0.5)
    x[1, ::2] *= -0.5
    g = torch.tensor([[1.0, -1.0, 0.5], [0.25, 1.0, 1.0]])
    model = nn.Sequential(nn.Linear(length, 3, bias=False))
    model[0].weight.data.copy_(w)
    scaling = {role: CastConfig(scale_rule="power_of_two") for role in ("weight", "input")}
    found = run(convert(model, format=name, **scaling), x.to(compute), g.to(compute))
    rounding = {"scaling": PerTensor("power_of_two")}
    qx, qw = (fake_quantize(t.double(), name, **rounding) for t in (x.to(compute), w))
    qg = fake_quantize(g.double(), name, scaling=PerTensor())
    for ours, exact in zip(found, (qx @ qw.T, qg @ qw, qg.T @ qx), strict=True):
        assert torch.isfinite(ours).all()
        room = COMPUTE[compute] * exact.abs().max().item()
        torch.testing.assert_close(ours.double(), exact, rtol=COMPUTE[compute], atol=room)


@pytest.mark.parametrize("compute", COMPUTE, ids=str)
@pytest.mark.parametrize("name", ["e4m3", "e5m2", "e6m1", "e7m0", "e5m10", "e9m2"])
def test_products_of_numbers_over_some_decades_are_right_in_every_arithmetic(name, compute):
    model, x, g = make(bias=False)
    x, g = (t.to(compute) * torch.logspace(-4, 1, t.shape[1]).to(compute) for t in (x, g))
    q = [fake_quantize(t.double(), name, scaling=PerTensor()) for t in (x, model[0].weight.data, g)]
    found = run(convert(model, format=name), x, g)
    for ours, exact in zip(found, (q[0] @ q[1].T, q[2] @ q[1], q[2].T @ q[0]), strict=True):
        room = COMPUTE[compute] * exact.abs().max().item()
        torch.testing.assert_close(ours.double(), exact, rtol=COMPUTE[compute], atol=room)


def test_autocast_to_float16_does_not_multiply_a_formats_numbers_in_it():
    model, x, _ = make(bias=False)
    expected = convert(copy.deepcopy(model), format="e4m3")(x)
    with torch.autocast("cpu", torch.float16):
        found = convert(model, format="e4m3")(x)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.float(), expected, rtol=2**-10, atol=1e-3)


def test_evaluation_rounds_like_training_and_counts_nothing():
    model, x, g = make()
    convert(model, format="e3m4")
    count_statistics(model, True)
    y = run(model, x, g)[0]
    finish_step(model)
    model.eval()
    with torch.no_grad():
        assert torch.equal(model(x), y)
    assert read_counts(model) == {}


def test_autocast_decides_the_dtype_as_for_a_plain_layer():
    model, x, _ = make()
    convert(model, format="e4m3")
    with torch.autocast("cpu", torch.bfloat16):
        assert model(x).dtype == torch.bfloat16
    assert model(x).dtype == torch.float32


@pytest.mark.parametrize("rounding", ["nearest_even", "stochastic"])
def test_compiled_equals_eager_in_float32(rounding):
    model, x, g = make()
    convert(model, format="e4m3", weight=CastConfig(rounding=rounding))
    count_statistics(model, True)
    eager = run(model, x, g)
    counts = read_counts(model)["0"]["input"]
    quant_layers(model)["0"].probe.grad = None
    model.zero_grad()
    torch._dynamo.reset()
    x = x.clone().requires_grad_()
    y = torch.compile(model, fullgraph=True)(x)
    y.backward(g)
    assert torch.equal(y.detach(), eager[0])
    assert torch.equal(model[0].weight.grad, eager[2])
    assert torch.equal(read_counts(model)["0"]["input"][1:6], counts[1:6])


def test_native_products_equal_the_simulated_ones_on_torchs_reference():
    model, x, g = make(bias=False)
    x, g = x[:32], g[:32]
    settings = {"format": "e4m3", "grad_output": CastConfig(format="e5m2")}
    simulated = run(convert(copy.deepcopy(model), **settings), x, g)
    recipe = Recipe.of(PrecisionConfig(simulate=True, native=True, **settings))
    with pytest.raises(ValueError, match="NVIDIA"):
        apply_recipe(copy.deepcopy(model), recipe)
    conversion._convert(model[0], recipe.default, seed=3)
    for ours, theirs in zip(run(model, x, g), simulated, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
