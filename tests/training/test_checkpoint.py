"""Checkpoints come back as they went, keep the best, and are refused when damaged."""

import math

import pytest
import torch
from torch import nn

from altgrad.training.checkpoints.manager import (
    CheckpointError,
    CheckpointManager,
    find_checkpoint,
    load_checkpoint,
    load_into,
)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3, bias=False)
        self.b = nn.Linear(3, 3, bias=False)
        self.b.weight = self.a.weight


@pytest.fixture
def manager(tmp_path):
    return CheckpointManager(tmp_path / "checkpoints", max_checkpoints=2)


def trained(model):
    optimizer = torch.optim.AdamW(model.parameters())
    sum(p.square().sum() for p in model.parameters()).backward()
    optimizer.step()
    return optimizer


def test_everything_comes_back(manager):
    model = nn.Linear(3, 2)
    optimizer = trained(model)
    extra = {"tuple": (1, None, 2.5), "rng": torch.get_rng_state(), "by_int": {3: "x"}}
    path = manager.save(7, model, optimizer, None, {"seed": 1}, 0.5, extra=extra)
    saved = load_checkpoint(path)
    assert (saved.step, saved.val_loss, saved.config) == (7, 0.5, {"seed": 1})
    assert torch.equal(saved.model["weight"], model.weight)
    assert saved.extra["tuple"] == (1, None, 2.5)
    assert saved.extra["by_int"] == {3: "x"}
    other = torch.optim.AdamW(nn.Linear(3, 2).parameters())
    other.load_state_dict(saved.optimizer)
    for mine, theirs in zip(
        optimizer.state_dict()["state"].values(), other.state_dict()["state"].values(), strict=True
    ):
        assert all(torch.equal(mine[k], theirs[k]) for k in mine)


def test_tied_weights_are_saved_once_and_stay_tied(manager):
    model, other = Tied(), Tied()
    saved = load_checkpoint(manager.save(1, model))
    assert list(saved.model) == ["a.weight"]
    load_into(other, saved.model)
    assert torch.equal(other.b.weight, model.a.weight)
    assert other.b.weight is other.a.weight


def test_the_newest_and_the_best_are_kept(manager):
    for step, loss in enumerate([3.0, 1.0, 2.0, math.inf, 2.5], start=1):
        manager.save(step, nn.Linear(1, 1), val_loss=loss)
    assert [p.name[-1] for p in manager.all()] == ["2", "4", "5"]
    assert manager.best().name == "step_00000002"
    assert manager.latest().name == "step_00000005"


def test_an_empty_folder_has_none(manager):
    assert manager.best() is None
    assert manager.latest() is None
    with pytest.raises(CheckpointError, match="no checkpoint"):
        find_checkpoint(manager.directory)


def test_saving_a_step_again_replaces_it(manager):
    manager.save(1, nn.Linear(1, 1), val_loss=2.0)
    manager.save(1, nn.Linear(1, 1), val_loss=1.0)
    assert load_checkpoint(manager.latest()).val_loss == 1.0
    assert [p.name for p in manager.directory.iterdir()] == ["step_00000001"]


@pytest.mark.parametrize("name", ["model.safetensors", "state.safetensors", "state.json"])
def test_a_damaged_file_is_named(manager, name):
    path = manager.save(1, nn.Linear(4, 4))
    content = bytearray((path / name).read_bytes())
    content[-1] ^= 1
    (path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(path)
    (path / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(path)


def test_a_failed_save_leaves_nothing_behind(manager, monkeypatch):
    manager.save(1, nn.Linear(1, 1))
    with pytest.raises(TypeError, match="extra"):
        manager.save(2, nn.Linear(1, 1), extra={"thing": object()})
    assert [p.name for p in manager.directory.iterdir()] == ["step_00000001"]


def test_another_model_is_refused(manager):
    saved = load_checkpoint(manager.save(1, nn.Linear(2, 2)))
    with pytest.raises(CheckpointError, match="does not fit"):
        load_into(nn.Linear(3, 2), saved.model)
    with pytest.raises(CheckpointError, match="does not fit"):
        load_into(nn.Linear(2, 2, bias=False), saved.model)


def test_a_saved_list_tells_that_the_best_has_gone(manager):
    manager.save(1, nn.Linear(1, 1), val_loss=1.0)
    best = manager.best()
    state = manager.state_with(2, 3.0)
    manager.save(2, nn.Linear(1, 1), val_loss=3.0)
    assert state == {"kept": {"step_00000001": 1.0, "step_00000002": 3.0}, "best": best.name}
    assert manager.has_lost(state) is None
    (best / "model.safetensors").unlink()
    assert manager.has_lost(state) == "step_00000001"
