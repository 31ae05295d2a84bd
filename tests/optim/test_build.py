import copy

import pytest
import torch
from torch import nn

from altgrad.optim import OptimConfig, build_optimizer
from tests.optim.toy import ToyModel, toy_loss, train, weights_of

NANOCHAT = OptimConfig(
    name="muon",
    lr=0.02,
    embedding_lr=0.2,
    head_lr=0.004,
    width_scaling=True,
    betas=[0.8, 0.95],
    eps=1e-10,
    weight_decay=0.0,
)


def assert_same_weights(a: nn.Module, b: nn.Module) -> None:
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=0)


def test_adamw_equals_torch_adamw_bit_for_bit():
    ours, theirs = ToyModel(), ToyModel()
    config = OptimConfig(name="adamw", lr=3e-3, betas=[0.9, 0.95], eps=1e-8, weight_decay=0.1)
    decayed = [p for p in theirs.parameters() if p.ndim == 2]
    others = [p for p in theirs.parameters() if p.ndim != 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    oracle = torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.95), eps=1e-8, fused=True)
    train(ours, build_optimizer(ours, config), range(5))
    train(theirs, oracle, range(5))
    assert_same_weights(ours, theirs)


def test_nanochats_preset_equals_its_two_torch_optimisers():
    ours, theirs = ToyModel(bias=False), ToyModel(bias=False)
    scale = (8 / 768) ** -0.5
    groups = [
        {"params": [theirs.lm_head.weight], "lr": 0.004 * scale},
        {"params": [theirs.wte.weight], "lr": 0.2 * scale},
        {"params": [p for p in theirs.parameters() if p.ndim != 2], "lr": 0.02 / 5},
    ]
    adamw = torch.optim.AdamW(groups, betas=(0.8, 0.95), eps=1e-10, weight_decay=0.0, fused=True)
    matrices = [theirs.up.weight, theirs.down.weight]
    muon = torch.optim.Muon(matrices, lr=0.02, momentum=0.95, weight_decay=0.0)
    train(ours, build_optimizer(ours, NANOCHAT), range(4))
    for step in range(4):
        theirs.zero_grad()
        toy_loss(theirs, step).backward()
        adamw.step()
        muon.step()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=2e-2, atol=2e-3)  # float32 against bfloat16 at worst


def test_every_group_has_name_rate_and_initial_rate():
    optimizer = build_optimizer(ToyModel(), NANOCHAT)
    assert [g["name"] for g in optimizer.param_groups] == ["matrix", "embedding", "head", "scalar"]
    assert all(g["initial_lr"] == g["lr"] for g in optimizer.param_groups)


def test_rates_set_on_the_whole_reach_the_parts():
    model = ToyModel()
    optimizer = build_optimizer(model, NANOCHAT)
    before = weights_of(model)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    train(model, optimizer, range(2))
    for p, q in zip(before, model.parameters(), strict=True):
        torch.testing.assert_close(p, q.detach(), rtol=0, atol=0)


def test_rates_set_after_loading_a_state_reach_the_parts():
    model = ToyModel()
    optimizer = build_optimizer(model, NANOCHAT)
    train(model, optimizer, range(2))
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    before = weights_of(model)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    train(model, optimizer, range(2))
    for p, q in zip(before, model.parameters(), strict=True):
        torch.testing.assert_close(p, q.detach(), rtol=0, atol=0)


def test_a_deep_copy_moves_its_own_weights():
    model = ToyModel()
    optimizer = build_optimizer(model, NANOCHAT)
    train(model, optimizer, range(1))
    other, twin = copy.deepcopy((model, optimizer))
    train(other, twin, range(1, 4))
    train(model, optimizer, range(1, 4))
    assert_same_weights(model, other)


def test_a_gradient_scaler_skips_a_step_that_overflowed():
    model = ToyModel()
    optimizer = build_optimizer(model, NANOCHAT)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    before = weights_of(model)
    scaler.scale(toy_loss(model)).backward()
    model.up.weight.grad[0, 0] = float("inf")
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 4.0
    for p, q in zip(before, model.parameters(), strict=True):
        torch.testing.assert_close(p, q.detach(), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["adamw", "muon", "sgd"])
def test_a_gradient_scaler_changes_nothing_else(name):
    plain, scaled = ToyModel(), ToyModel()
    config = OptimConfig(name=name, lr=0.01)
    train(plain, build_optimizer(plain, config), range(3))
    optimizer, scaler = build_optimizer(scaled, config), torch.amp.GradScaler("cpu")
    for step in range(3):
        optimizer.zero_grad()
        scaler.scale(toy_loss(scaled, step)).backward()
        scaler.step(optimizer)
        scaler.update()
    assert_same_weights(plain, scaled)  # the scale is a power of two


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (OptimConfig(name="admw"), "optim.name='admw' is not one of .*did you mean 'adamw'"),
        (OptimConfig(name="no.such:thing"), "optim.name=no.such:thing: no module 'no.such'"),
        (OptimConfig(lr=-1.0), "optim.lr=-1.0"),
        (OptimConfig(lr=float("nan")), "optim.lr=nan"),
        (OptimConfig(head_lr=-0.1), "optim.head_lr=-0.1"),
        (OptimConfig(weight_decay=-0.1), "optim.weight_decay=-0.1"),
        (OptimConfig(betas=[0.9]), "optim.betas="),
        (OptimConfig(betas=[0.9, 1.0]), "optim.betas="),
        (OptimConfig(momentum=1.0), "optim.momentum=1.0"),
        (OptimConfig(ns_steps=0), "optim.ns_steps=0"),
        (OptimConfig(ema_decay=1.0), "optim.ema_decay=1.0"),
        (OptimConfig(muon_scale="rms"), "optim.muon_scale='rms' is not one of original"),
        (OptimConfig(name="sgd", momentum=0.0), "set optim.nesterov=false"),
    ],
)
def test_bad_settings_are_refused_in_one_line(config, message):
    with pytest.raises(ValueError, match=message) as raised:
        build_optimizer(ToyModel(), config)
    assert "\n" not in str(raised.value)


def test_a_model_without_trainable_parameters_is_refused():
    model = ToyModel().requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameter"):
        build_optimizer(model, OptimConfig())


def plain_sgd(groups, config, storage):
    return torch.optim.SGD(groups)


def test_a_name_with_a_colon_brings_in_outside_code():
    optimizer = build_optimizer(ToyModel(), OptimConfig(name="tests.optim.test_build:plain_sgd"))
    assert isinstance(optimizer, torch.optim.SGD)
