import pytest
import torch
from torch import nn

from altgrad.model import GPT, GPTConfig
from altgrad.optim import OptimConfig
from altgrad.quantization import PrecisionConfig, Recipe, apply_recipe, grids_of
from altgrad.training.instruments.code_use import CodeUse, log_correlation
from altgrad.training.instruments.instrument import Context
from altgrad.training.rounding import ModelRounding


def test_a_format_steers_the_weights_that_a_recipe_would_round():
    config = GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=8, vocab_size=11)
    words = {"seed": 0, "device": torch.device("cpu")}
    plain, rounded = GPT(config), GPT(config)
    steered = ModelRounding(plain, PrecisionConfig(), **words)
    geometry = steered.storage(OptimConfig(name="ulp_adamw", stiffness="e3m4")).geometry
    would = ModelRounding(rounded, PrecisionConfig(simulate=True, format="e3m4"), **words)
    names = {id(p): n for n, p in plain.named_parameters()}
    assert {names[id(p)] for p in geometry} == {f"{n}.weight" for n in would.layers} - {
        "lm_head.weight"
    } | {"transformer.wte.weight"}
    weight = torch.randn(16, 16)
    (own, *_), (named, *_) = would.storage(OptimConfig()).grids.values(), geometry.values()
    torch.testing.assert_close(named.ulp(weight), own.ulp(weight), rtol=0, atol=0)


def measured(weight: torch.Tensor, step_in_ulps: float) -> dict[str, float]:
    layer = nn.Linear(*reversed(weight.shape), bias=False)
    layer.weight.data = weight.clone()
    model = nn.Sequential(layer)
    apply_recipe(model, Recipe.of(PrecisionConfig(simulate=True, format="e4m3")))
    (grid,) = grids_of(model).values()
    layer.weight.grad = grid.ulp(weight)
    layer.weight.data = weight + step_in_ulps * grid.ulp(weight)
    context = Context(model, weights_before={layer.weight: weight})
    CodeUse(context).moved()
    return context.readout.read()


def test_ulps_moved_counts_spacings():
    weight = torch.randn(40, 30, generator=torch.Generator().manual_seed(0))
    assert measured(weight, 0.75)["ulps_moved/0.weight"] == pytest.approx(0.75, rel=1e-4)


def test_the_distance_from_the_grid_is_a_quarter_at_random_and_nothing_on_it():
    weight = torch.randn(200, 100, generator=torch.Generator().manual_seed(0))
    assert measured(weight, 0.0)["grid_distance/mean"] == pytest.approx(0.25, abs=0.01)
    stored = (weight * 0.25).to(torch.float8_e4m3fn).float()
    stored[0, 0] = 448.0  # so that the scale is one
    assert measured(stored, 0.0)["grid_distance/mean"] == 0.0


def test_code_use_counts_the_codes_of_the_weight():
    weight = torch.tensor([[448.0, 1.0, 0.0, -2.0]])
    assert measured(weight, 0.0)["code_use/0.weight"] == pytest.approx(4 / 254)


def test_a_gradient_that_grows_with_the_spacing_is_correlated_with_it():
    weight = torch.randn(50, 50, generator=torch.Generator().manual_seed(1))
    assert measured(weight, 0.0)["grad_ulp_corr/mean"] == pytest.approx(1.0, abs=1e-4)


def test_the_correlation_equals_numpys_and_is_zero_where_nothing_varies():
    gradient = torch.randn(500, generator=torch.Generator().manual_seed(2))
    ulp = torch.exp2(torch.randint(-8, 0, (500,), generator=torch.Generator().manual_seed(3)))
    expected = torch.corrcoef(torch.stack([gradient.abs().log2(), ulp.float().log2()]))[0, 1]
    torch.testing.assert_close(log_correlation(gradient, ulp), expected)
    with_zero = torch.cat([gradient, torch.zeros(7)])
    torch.testing.assert_close(
        log_correlation(with_zero, torch.cat([ulp, torch.ones(7)])), expected
    )
    assert log_correlation(gradient, torch.ones(500)) == 0.0
    assert log_correlation(None, ulp) == 0.0
