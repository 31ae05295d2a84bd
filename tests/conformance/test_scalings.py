"""Every scaling of the table keeps the same promises; a new line in it is checked, too."""

import copy
import inspect

import pytest
import torch

from altgrad.quantization import CATALOGUE, CastConfig, fake_quantize, reference
from altgrad.quantization.recipe import Cast
from altgrad.quantization.scaling import READS, SCALINGS, StatefulScaling

FORMATS = ("e4m3", "e5m2", "e0m7", "e2m1fn")
SHAPES = ((4, 64), (2, 3, 40), (5, 33), (1, 1), (17,))
"""Multiples of every block, ragged ones, a single number, and a vector."""


def make(name: str, **settings) -> StatefulScaling:
    return Cast.of(CastConfig(scaling=name, **settings), "e4m3", "weight").make_scaling()


def numbers(shape: tuple[int, ...]) -> torch.Tensor:
    """Normal, over six decades from row to row."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))
    return x * torch.logspace(-3, 3, shape[0]).view(-1, *[1] * (len(shape) - 1))


def expanded(scaling: StatefulScaling, x: torch.Tensor, f) -> torch.Tensor:
    return torch.broadcast_to(scaling.expand(scaling.scales(x, f), x), x.shape)


def test_every_scaling_says_what_it_reads():
    assert list(READS) == list(SCALINGS)
    known = inspect.signature(CastConfig).parameters
    assert {name for read in READS.values() for name in read} <= set(known)


@pytest.mark.parametrize("name", SCALINGS)
def test_only_what_is_read_changes_the_scale(name):
    other = {"scale_rule": "power_of_two", "block_size": 8, "history": 2, "margin": 3}
    x, f = numbers((4, 64)), CATALOGUE["e4m3"]
    for setting, value in other.items():
        plain, changed = make(name), make(name, **{setting: value})
        for step in range(1, 5):  # the length of a history shows when it is full
            for scaling in (plain, changed):
                scaling.update((x / step).abs().max())
        same = torch.equal(expanded(plain, x, f), expanded(changed, x, f))
        assert same == (setting not in READS[name]), setting


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", SCALINGS)
def test_scales_are_finite_positive_and_broadcast(name, shape):
    for x in (numbers(shape), torch.full(shape, 1e-44), torch.full(shape, torch.nan)):
        for f in map(CATALOGUE.get, FORMATS):
            scaling = make(name)
            scale = scaling.scales(x, f)
            assert scale.dtype == torch.float32
            assert (torch.isfinite(scale) & (scale > 0)).all()
            assert expanded(scaling, x, f).shape == x.shape
            if scaling.one_scale:
                assert scale.numel() == 1


@pytest.mark.parametrize("name", SCALINGS)
def test_zeros_stay_zeros_under_a_scale_of_one(name):
    x = torch.zeros(4, 64)
    if name != "nvfp4":  # whose block scales have a smallest one, 2^-6 of the tensor's
        assert (make(name).scales(x, CATALOGUE["e4m3"]) == 1).all()
    assert torch.equal(fake_quantize(x, "e4m3", scaling=make(name)), x)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("name", SCALINGS)
def test_numbers_are_the_definitions_and_lose_at_most_half_a_spacing(name, format_name, shape):
    x, f = numbers(shape), CATALOGUE[format_name]
    scale = expanded(make(name), x, f)
    y = fake_quantize(x, f, scaling=make(name))
    q = [reference.round(v, f) for v in (x / scale).flatten().tolist()]
    assert torch.equal(y, (torch.tensor(q).view(shape) * scale))
    lost = ((x - y).abs() / scale).flatten().tolist()
    for error, ratio in zip(lost, (x / scale).flatten().tolist(), strict=True):
        beyond = max(abs(ratio) - f.max, 0.0)  # an asymmetric end, and NVFP4's rounded scales
        assert error <= 0.5 * f.ulp(ratio) * (1 + 1e-4) + beyond
        assert beyond <= 0.07 * f.max


@pytest.mark.parametrize("name", SCALINGS)
def test_what_is_remembered_survives_a_checkpoint(name):
    x, f = numbers((4, 64)), CATALOGUE["e4m3"]
    scaling, fresh = make(name), make(name)
    scaling.update(torch.tensor(1e4))
    scaling.update(torch.tensor(torch.nan))
    state = copy.deepcopy(scaling.state_dict())
    assert bool(state) == scaling.remembers
    fresh.load_state_dict(state)
    fresh.to(torch.device("cpu"))
    assert torch.equal(expanded(fresh, x, f), expanded(scaling, x, f))
    assert torch.equal(expanded(make(name), x, f), expanded(scaling, x, f)) != scaling.remembers


@pytest.mark.parametrize("name", SCALINGS)
def test_neither_reading_scales_nor_rounding_changes_a_layers_scaling(name):
    x, scaling = numbers((4, 64)), make(name)
    before = copy.deepcopy(scaling.state_dict())
    fake_quantize(x, "e4m3", scaling=scaling)
    after = scaling.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
