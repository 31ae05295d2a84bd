"""The battery every entry of OPTIMIZERS and every preset in conf/optim must pass."""

import copy
import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import altgrad
from altgrad.optim import OPTIMIZERS, OptimConfig, Storage, build_optimizer, parameter_roles
from altgrad.optim.build import READS
from altgrad.optim.network_setup import OWN
from tests.optim.toy import ToyModel, toy_storage, train

CONF = Path(altgrad.__file__).parent / "conf" / "optim"
PRESETS = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != OWN)
"""All but the one that leaves the optimisers to a whole class of one's own (model/test_whole)."""


def preset(name: str) -> OptimConfig:
    """The preset merged into the dataclass as a run does it: unknown keys and types are refused."""
    merged = OmegaConf.merge(
        OmegaConf.structured(OptimConfig), OmegaConf.load(CONF / f"{name}.yaml")
    )
    return OmegaConf.to_object(merged)


@pytest.fixture(params=PRESETS)
def config(request) -> OptimConfig:
    return preset(request.param)


def build(model: torch.nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """As a run would: optimisers that need a grid get weights stored in e4m3, rounded at random."""
    if config.name.startswith(("grid", "ulp", "manifold")):
        geometry = toy_storage(model, "e0m7").grids
        storage = toy_storage(model, mode="rounded", stochastic=True, geometry=geometry)
        return build_optimizer(model, config, storage)
    return build_optimizer(model, config, Storage())


def test_every_optimiser_has_a_preset():
    assert {preset(name).name for name in PRESETS} == set(OPTIMIZERS)


def test_presets_name_settings_only():
    known = {field.name for field in fields(OptimConfig)}
    for name in PRESETS:
        assert set(OmegaConf.load(CONF / f"{name}.yaml")) <= known


def test_every_parameter_is_in_exactly_one_group(config):
    model = ToyModel(tied=True)
    optimizer = build(model, config)
    members = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(members) == sorted(id(p) for p in model.parameters())


def test_group_names_are_the_roles(config):
    model = ToyModel()
    optimizer = build(model, config)
    names = {id(p): name for name, p in model.named_parameters()}
    roles = parameter_roles(model)
    for group in optimizer.param_groups:
        assert {roles[names[id(p)]] for p in group["params"]} == {group["name"]}


def test_the_loss_falls_and_stays_finite(config):
    model = ToyModel()
    losses = train(model, build(model, config), range(60))
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert sum(losses[-5:]) / 5 < 0.7 * losses[0]


def quadratic(p: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return 0.5 * (p - target).square().sum()


def test_a_quadratic_decreases(config):
    model = torch.nn.Linear(6, 6, bias=False)
    target = torch.randn(6, 6, generator=torch.Generator().manual_seed(5))
    model.weight.data = target + torch.randn(6, 6, generator=torch.Generator().manual_seed(6))
    optimizer = build(model, config)
    first = quadratic(model.weight, target).item()
    for _ in range(30):
        optimizer.zero_grad()
        quadratic(model.weight, target).backward()
        optimizer.step()
    assert quadratic(model.weight, target).item() < 0.97 * first


def test_a_saved_state_continues_bit_for_bit(config):
    model = ToyModel()
    optimizer = build(model, config)
    train(model, optimizer, range(3))
    resumed = copy.deepcopy(model)
    second = build(resumed, config)
    second.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(model, optimizer, range(3, 7))
    train(resumed, second, range(3, 7))
    for p, q in zip(model.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=0)


def test_a_state_is_tensors_and_plain_values(config):
    """So that a checkpoint needs no unpickling."""
    model = ToyModel()
    optimizer = build(model, config)
    train(model, optimizer, range(2))
    state = optimizer.state_dict()
    json.dumps(state["param_groups"])
    for entry in state["state"].values():
        for key, value in entry.items():
            assert value is None or isinstance(value, torch.Tensor | int | float), key


OTHER = {
    "betas": [0.5, 0.6],
    "eps": 0.01,
    "momentum": 0.5,
    "nesterov": False,
    "ns_steps": 2,
    "muon_scale": "match_rms_adamw",
    "momentum_warmup_steps": 7,
    "neuron_beta": 0.9,
    "stiffness": "e0m7",
    "placebo": "shuffled",
    "match_rms": False,
    "rung_clip": 0.05,
    "free_lr": 0.5,
    "madam_bound": 0.01,
    "madam_scale": 0.5,
    "lns_steps_per_octave": 16,
    "exponent_lr_ratio": 3.0,
}
"""A value of each setting that only some optimisers read, far from the usual one."""


def after_some_steps(config: OptimConfig) -> list[torch.Tensor]:
    model = ToyModel()
    train(model, build(model, config), range(4))
    return [p.detach() for p in model.parameters()]


def test_there_is_another_value_of_every_declared_setting():
    assert set(OTHER) == {setting for reads in READS.values() for setting in reads}
    assert set(READS) == set(OPTIMIZERS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_reads_what_it_declares_and_nothing_else(name, monkeypatch):
    lr = 2.0 if name.startswith("grid") else 0.02  # rungs: far below one, chance decides
    config = OptimConfig(name=name, lr=lr, momentum=0.9)
    usual = after_some_steps(config)
    # A placebo for optimisers without geometry is refused; here only the reading is asked.
    monkeypatch.setattr(OptimConfig, "check", lambda self: None)
    for setting, value in OTHER.items():
        changed = after_some_steps(replace(config, **{setting: value}))
        equal = all(torch.equal(p, q) for p, q in zip(usual, changed, strict=True))
        assert equal != (setting in READS[name]), setting


GRID_PRESETS = [name for name in PRESETS if name.startswith(("grid", "ulp", "manifold"))]


@pytest.mark.parametrize("name", GRID_PRESETS)
@pytest.mark.parametrize("fmt", ["e4m3fn", "e5m2", "e3m4", "e0m7", "e7m0"])
def test_stored_weights_never_leave_the_grid(name, fmt):
    model = ToyModel(tied=True)
    storage = toy_storage(model, fmt, mode="rounded", stochastic=True)
    optimizer = build_optimizer(model, preset(name), storage)
    for step in range(4):
        train(model, optimizer, range(step, step + 1))
        for p, grid in storage.grids.items():
            torch.testing.assert_close(grid.round(p), p, rtol=0, atol=0)


def test_parameters_without_a_gradient_stay(config):
    model = ToyModel()
    optimizer = build(model, config)
    before = [p.detach().clone() for p in model.parameters()]
    optimizer.step()
    torch.testing.assert_close([p.detach() for p in model.parameters()], before, rtol=0, atol=0)


def test_a_closure_is_called_once_with_gradients_on(config):
    model = ToyModel()
    optimizer = build(model, config)
    calls = []

    def closure() -> torch.Tensor:
        calls.append(torch.is_grad_enabled())
        return torch.tensor(7.0)

    assert optimizer.step(closure).item() == 7.0
    assert calls == [True]


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_a_misspelt_name_is_refused_with_the_nearest(name):
    with pytest.raises(ValueError, match=f"did you mean '{name}'"):
        build_optimizer(ToyModel(), OptimConfig(name=name + "xx"))
