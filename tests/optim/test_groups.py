import pytest
from torch import nn

from altgrad.optim import OptimConfig, parameter_groups, parameter_roles
from altgrad.optim.build import SAME
from tests.optim.toy import ToyModel


def test_roles_follow_module_types_names_and_shapes():
    assert parameter_roles(ToyModel()) == {
        "gain": "scalar",
        "wte.weight": "embedding",
        "up.weight": "matrix",
        "up.bias": "scalar",
        "norm.weight": "scalar",
        "norm.bias": "scalar",
        "down.weight": "matrix",
        "down.bias": "scalar",
        "lm_head.weight": "head",
    }


def test_a_tied_head_is_one_embedding():
    model = ToyModel(tied=True)
    assert "lm_head.weight" not in parameter_roles(model)
    groups = parameter_groups(model, OptimConfig(), SAME)
    members = [p for group in groups for p in group["params"]]
    assert sum(p is model.wte.weight for p in members) == 1
    assert [group["name"] for group in groups] == ["matrix", "embedding", "scalar"]


def test_frozen_parameters_are_in_no_group():
    model = ToyModel()
    model.up.weight.requires_grad_(False)
    assert "up.weight" not in parameter_roles(model)


def test_weight_decay_is_on_two_dimensional_parameters_only():
    groups = parameter_groups(ToyModel(), OptimConfig(weight_decay=0.3), SAME)
    for group in groups:
        for p in group["params"]:
            assert group["weight_decay"] == (0.3 if p.ndim == 2 else 0.0)


def test_a_role_without_its_own_rate_derives_it_from_lr():
    config = OptimConfig(lr=0.5, embedding_lr=0.07)
    factors = {"matrix": 1.0, "embedding": 9.0, "head": 0.2, "scalar": 0.1}
    groups = {g["name"]: g["lr"] for g in parameter_groups(ToyModel(), config, factors)}
    assert groups == pytest.approx({"matrix": 0.5, "embedding": 0.07, "head": 0.1, "scalar": 0.05})


def test_a_rate_of_zero_is_kept():
    config = OptimConfig(lr=0.5, head_lr=0.0)
    rates = {g["name"]: g["lr"] for g in parameter_groups(ToyModel(), config, SAME)}
    assert rates["head"] == 0.0


def test_width_scaling_is_nanochats_rule_on_embedding_and_head():
    plain = parameter_groups(ToyModel(), OptimConfig(), SAME)
    scaled = parameter_groups(ToyModel(), OptimConfig(width_scaling=True), SAME)
    ratio = {a["name"]: b["lr"] / a["lr"] for a, b in zip(plain, scaled, strict=True)}
    rule = (8 / 768) ** -0.5
    assert ratio == pytest.approx({"matrix": 1.0, "embedding": rule, "head": rule, "scalar": 1.0})


def test_three_dimensional_parameters_are_not_matrices():
    model = nn.Module()
    model.kernel = nn.Parameter(nn.Conv1d(3, 4, 5).weight.detach())
    assert parameter_roles(model) == {"kernel": "scalar"}
