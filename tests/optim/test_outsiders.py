"""Optimisers of other people: torch's form just works, anything else is told what to write."""

from functools import partial

import pytest
import torch
from torch.optim import Optimizer

from altgrad.optim import OptimConfig, Storage, build_optimizer
from altgrad.optim.build import reads_of
from tests.optim.toy import ToyModel, toy_storage, train

HERE = "tests.optim.test_outsiders"


class Lion(Optimizer):
    """E. Chen et al. 2023, as it is commonly written: nothing in it knows altgrad."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                state = self.state[p]
                momentum = state.setdefault("momentum", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                update = momentum.lerp(p.grad, 1 - group["betas"][0]).sign_()
                p.add_(update, alpha=-group["lr"])
                momentum.lerp_(p.grad, 1 - group["betas"][1])


def maker(groups, config, storage):
    return torch.optim.RMSprop(groups, lr=config.lr)


maker.reads = ("eps",)


def other_arguments(params):
    return None


def returns_nothing(groups, config, storage):
    return None


class NoRate(Optimizer):
    def __init__(self, params, rate=1.0):
        super().__init__(params, {"rate": rate})


class NeedsMore(Optimizer):
    def __init__(self, params, lr, curvature):
        super().__init__(params, {"lr": lr})


NUMBER = 3


def built(name: str, model: torch.nn.Module, **settings) -> Optimizer:
    return build_optimizer(model, OptimConfig(name=f"{HERE}:{name}", **settings), Storage())


def test_a_plain_optimiser_moves_as_it_does_by_itself():
    settings = {"lr": 3e-3, "betas": [0.8, 0.9], "weight_decay": 0.2}
    ours, theirs = ToyModel(), ToyModel()
    train(ours, built("Lion", ours, **settings), range(5))
    groups = [
        {"params": [p for p in theirs.parameters() if p.ndim == 2], "weight_decay": 0.2},
        {"params": [p for p in theirs.parameters() if p.ndim != 2], "weight_decay": 0.0},
    ]
    train(theirs, Lion(groups, lr=3e-3, betas=[0.8, 0.9]), range(5))
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(p, q)


def test_rates_by_role_reach_a_plain_optimiser():
    optimizer = built("Lion", ToyModel(), lr=1e-3, embedding_lr=0.5)
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates == {"matrix": 1e-3, "embedding": 0.5, "head": 1e-3, "scalar": 1e-3}


def test_a_plain_optimiser_stores_on_a_grid_too():
    model = ToyModel()
    storage = toy_storage(model, mode="rounded", stochastic=True)
    optimizer = build_optimizer(model, OptimConfig(name=f"{HERE}:Lion", lr=1e-2), storage)
    train(model, optimizer, range(2))
    for p, grid in storage.grids.items():
        assert torch.equal(grid.round(p), p)


def test_torchs_own_classes_are_plain_optimisers_too():
    assert "betas" in (reads_of("torch.optim:NAdam") or ())
    model = ToyModel()
    make = partial(build_optimizer, model, OptimConfig(name="torch.optim:NAdam"))
    train(model, make(), range(2))


def test_a_makers_own_word_on_what_it_reads_is_taken():
    assert reads_of(f"{HERE}:maker") == ("eps",)
    assert reads_of(f"{HERE}:returns_nothing") is None
    assert reads_of(f"{HERE}:Lion") == ("betas",)
    assert reads_of("no.such.module:Lion") is None
    model = ToyModel()
    train(model, built("maker", model), range(2))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("other_arguments", "is no optimiser"),
        ("NUMBER", "is no optimiser"),
        ("NoRate", "__init__(params, rate=1.0) does not fit"),
        ("NeedsMore", "__init__(params, lr, curvature) does not fit"),
        ("returns_nothing", "returned a NoneType, not an Optimizer"),
    ],
)
def test_anything_else_is_one_line_with_the_contract(name, words):
    with pytest.raises(ValueError, match="lr=1e-3") as caught:
        built(name, ToyModel())
    assert words in str(caught.value)
    assert f"optim.name={HERE}:{name}" in str(caught.value)
    assert "\n" not in str(caught.value)
