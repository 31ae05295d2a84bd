"""Every optimiser that knows the grid, on the grids of every recipe: it never leaves them."""

import pytest
import torch

from altgrad.optim import Storage, build_optimizer, change_storage
from altgrad.quantization import PrecisionConfig, Recipe, apply_recipe, grids_of, strip_recipe
from tests.conformance.test_optimisers import GRID_PRESETS, preset
from tests.optim.toy import ToyModel, train

PRECISIONS = {
    "e4m3": {"format": "e4m3"},
    "e5m2 rows": {"format": "e5m2", "weight": {"scaling": "row"}},
    "e3m4 powers of two": {"format": "e3m4", "weight": {"scale_rule": "power_of_two"}},
    "e0m7": {"format": "e0m7"},
    "e7m0": {"format": "e7m0"},
    "e2m1 blocks": {"format": "e2m1", "weight": {"scaling": "block", "block_size": 8}},
}


def rounded_model(words: str) -> ToyModel:
    model = ToyModel()
    round_model(model, words)
    return model


def round_model(model: ToyModel, words: str) -> None:
    settings = dict(PRECISIONS[words])
    config = PrecisionConfig(simulate=True, format=settings["format"])
    for name, value in settings.get("weight", {}).items():
        setattr(config.weight, name, value)
    apply_recipe(model, Recipe.of(config))


def assert_on_grid(p: torch.Tensor, grid) -> None:
    """Rounding again changes nothing but the last bit of an exact scale."""
    torch.testing.assert_close(grid.round(p.detach()), p.detach(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("words", sorted(PRECISIONS))
@pytest.mark.parametrize("name", GRID_PRESETS)
def test_weights_never_leave_the_recipes_grid(name, words):
    model = rounded_model(words)
    grids = grids_of(model)
    assert len(grids) == 3
    optimizer = build_optimizer(
        model, preset(name), Storage(grids, mode="rounded", stochastic=True)
    )
    for step in range(3):
        train(model, optimizer, range(step, step + 1))
        for p, grid in grids.items():
            assert_on_grid(p, grid)


@pytest.mark.parametrize("words", sorted(PRECISIONS))
@pytest.mark.parametrize("mode", ["rounded", "kahan", "error_feedback"])
@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("name", ["adamw", "ulp_adamw"])
def test_stored_weights_stay_on_the_recipes_grid(words, mode, stochastic, name):
    model = rounded_model(words)
    storage = Storage(grids_of(model), mode=mode, stochastic=stochastic)
    optimizer = build_optimizer(model, preset(name), storage)
    for step in range(3):
        train(model, optimizer, range(step, step + 1))
        for p, grid in storage.grids.items():
            assert_on_grid(p, grid)


@pytest.mark.parametrize("name", GRID_PRESETS)
def test_after_a_change_of_format_weights_stay_on_the_new_grid(name):
    model = rounded_model("e7m0")
    config = preset(name)
    storage = Storage(grids_of(model), mode="rounded", stochastic=True)
    optimizer = build_optimizer(model, config, storage)
    train(model, optimizer, range(1))
    strip_recipe(model)
    round_model(model, "e3m4 powers of two")
    grids = grids_of(model)
    change_storage(optimizer, config, Storage(grids, mode="rounded", stochastic=True))
    train(model, optimizer, range(1, 4))
    for p, grid in grids.items():
        assert_on_grid(p, grid)
        mantissas = torch.frexp(p.detach().abs())[0].unique()
        assert len(mantissas) > 2  # powers of two, times a scale, have one, and zero


def test_after_a_change_of_format_ulp_steps_are_in_the_new_spacings():
    model = rounded_model("e7m0")
    config = preset("ulp_adamw")
    optimizer = build_optimizer(model, config, Storage(grids_of(model)))
    strip_recipe(model)
    round_model(model, "e0m7")
    grids = grids_of(model)
    change_storage(optimizer, config, Storage(grids))
    for p, grid in grids.items():
        torch.testing.assert_close(optimizer.fields[p](p), grid.ulp(p), rtol=0, atol=0)
