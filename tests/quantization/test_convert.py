"""A recipe goes in and comes out again without a trace."""

import copy

import pytest
import torch
from torch import nn

from altgrad.quantization import (
    CastConfig,
    PrecisionConfig,
    QuantLinear,
    Recipe,
    apply_recipe,
    grids_of,
    strip_recipe,
    unrounded,
)
from altgrad.quantization.convert import (
    copy_without_recipe,
    finish_step,
    load_quantization_state,
    quant_layers,
    quantization_state,
)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(11, 16)
        self.fc = nn.Linear(16, 16)
        self.head = nn.Linear(16, 11, bias=False)
        self.head.weight = self.wte.weight

    def forward(self, idx):
        return self.head(torch.relu(self.fc(self.wte(idx))))


class Special(nn.Linear):
    pass


IDX = torch.arange(11)


def recipe(**settings) -> Recipe:
    return Recipe.of(PrecisionConfig(simulate=True, **settings))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Tied()


def test_there_and_back_is_bit_identical(model):
    before, keys = model(IDX), list(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    parameters = [id(p) for p in model.parameters()]
    report = apply_recipe(model, recipe(format="e2m1fn"))
    assert set(report.converted) == {"fc", "head"}
    assert list(model.state_dict()) == keys
    assert [id(p) for p in model.parameters()] == parameters
    assert model.head.weight is model.wte.weight
    assert not torch.equal(model(IDX), before)
    assert optimizer.param_groups[0]["params"][0] is model.wte.weight
    strip_recipe(model)
    assert torch.equal(model(IDX), before)
    assert not any(isinstance(m, QuantLinear) for m in model.modules())
    assert set(vars(model.fc)) == set(vars(nn.Linear(1, 1)))


def test_what_is_not_converted_is_reported_with_the_reason(model):
    model.other = Special(3, 3)
    report = apply_recipe(model, recipe(format="e4m3", skip=["head"]))
    assert set(report.converted) == {"fc"}
    assert report.left_alone["head"] == "named in precision.skip"
    assert "Special" in report.left_alone["other"]
    text = "\n".join(report.lines())
    assert "fc: weight e4m3, tensor scale, nearest even" in text
    assert "not rounded: head (named in precision.skip)" in text


def test_a_pattern_that_fits_nothing_is_refused(model):
    with pytest.raises(ValueError, match="'lm_haed' fits no linear layer"):
        apply_recipe(model, recipe(format="e4m3", skip=["lm_haed"]))


def test_a_second_recipe_is_refused(model):
    apply_recipe(model, recipe(format="e4m3"))
    with pytest.raises(ValueError, match="strip_recipe"):
        apply_recipe(model, recipe(format="e4m3"))


def test_unrounded_is_the_plain_model_for_a_while(model):
    before = model(IDX)
    apply_recipe(model, recipe(format="e2m1fn"))
    with unrounded(model):
        assert torch.equal(model(IDX), before)
    assert not torch.equal(model(IDX), before)


def test_a_copy_without_recipe_is_independent(model):
    before = model(IDX)
    apply_recipe(model, recipe(format="e2m1fn"))
    twin = copy_without_recipe(model)
    assert torch.equal(twin(IDX), before)
    assert isinstance(model.fc, QuantLinear)
    assert twin.fc.weight is not model.fc.weight
    assert copy.deepcopy(model).fc.roundings is not model.fc.roundings


def test_step_counts_and_histories_resume(model):
    settings = {"format": "e4m3", "input": CastConfig(scaling="delayed")}
    apply_recipe(model, recipe(**settings))
    for layer in quant_layers(model).values():
        layer.count = True
    for _ in range(3):
        model(IDX).sum().backward()
        finish_step(model)
    twin = Tied()
    apply_recipe(twin, recipe(**settings))
    load_quantization_state(twin, quantization_state(model))
    assert twin.fc.tick == 3
    mine, other = (m.fc.roundings["input"].scaling.history for m in (model, twin))
    assert torch.equal(mine, other)
    with pytest.raises(ValueError, match="other layers"):
        load_quantization_state(nn.Linear(1, 1), quantization_state(model))


def test_a_tied_weight_has_one_grid(model):
    apply_recipe(model, recipe(format="e3m4"))
    assert {id(p) for p in grids_of(model)} == {id(model.fc.weight), id(model.wte.weight)}


@pytest.mark.parametrize("name", ["e0m7", "e1m6", "e2m5", "e4m3", "e5m2", "e7m0", "e2m1fn"])
def test_a_grids_moves_stay_on_it_and_count_rungs(name, model):
    apply_recipe(model, recipe(format=name, weight=CastConfig(scale_rule="power_of_two")))
    weight = model.fc.weight
    grid = grids_of(model)[weight]
    with torch.no_grad():
        weight.copy_(grid.round(weight))
        assert torch.equal(grid.round(weight), weight)
        assert torch.equal(grid.move(weight, torch.zeros_like(weight)), weight)
        up = grid.move(weight, torch.ones_like(weight))
        inside = (weight > 0) & (weight < weight.abs().max())
        torch.testing.assert_close((up - weight)[inside], grid.ulp(weight)[inside])
