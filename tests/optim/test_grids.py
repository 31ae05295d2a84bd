"""Oracles: ml_dtypes' casts, numpy's spacing."""

import ml_dtypes
import numpy as np
import pytest
import torch

from altgrad.optim import TableGrid
from altgrad.optim.grid import mixed_seed, uniform_like
from altgrad.quantization import Format

NUMPY = {
    "e4m3fn": ml_dtypes.float8_e4m3fn,
    "e5m2": ml_dtypes.float8_e5m2,
    "e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "e2m1fn": ml_dtypes.float4_e2m1fn,
    "e3m2fn": ml_dtypes.float6_e3m2fn,
}


def plain_grid(name: str, scale: float = 1.0) -> TableGrid:
    fmt = Format.named(name)
    return TableGrid(
        torch.tensor(fmt.values()),
        mantissa_bits=fmt.mantissa_bits,
        scale_of=lambda w: torch.tensor(scale),
    )


def samples(fmt: Format) -> torch.Tensor:
    """Numbers across the range, every tie between two neighbours, zero."""
    values = torch.tensor(fmt.values())
    ties = (values[1:] + values[:-1]) / 2
    spread = torch.randn(3000, generator=torch.Generator().manual_seed(0)) * fmt.max / 4
    tiny = torch.randn(3000, generator=torch.Generator().manual_seed(1)) * fmt.smallest_normal
    return torch.cat([values, ties, spread, tiny]).clamp(-fmt.max, fmt.max)


@pytest.mark.parametrize("name", sorted(NUMPY))
def test_rounding_to_nearest_equals_ml_dtypes(name):
    x = samples(Format.named(name))
    expected = x.numpy().astype(NUMPY[name]).astype(np.float32)
    torch.testing.assert_close(plain_grid(name).round(x), torch.tensor(expected), rtol=0, atol=0)


@pytest.mark.parametrize("name", sorted(NUMPY))
def test_the_spacing_equals_the_formats_own(name):
    fmt = Format.named(name)
    x = samples(fmt)
    expected = torch.tensor([fmt.ulp(v) for v in x.tolist()])
    torch.testing.assert_close(plain_grid(name).ulp(x), expected, rtol=0, atol=0)


def test_a_scale_multiplies_numbers_and_spacing():
    x = samples(Format.named("e4m3fn"))
    one, quarter = plain_grid("e4m3fn"), plain_grid("e4m3fn", 0.25)
    torch.testing.assert_close(quarter.round(x * 0.25), one.round(x) * 0.25, rtol=0, atol=0)
    torch.testing.assert_close(quarter.ulp(x * 0.25), one.ulp(x) * 0.25, rtol=0, atol=0)


def test_beyond_the_largest_number_saturates_and_nan_stays():
    grid = plain_grid("e4m3fn")
    x = torch.tensor([1e6, -1e6, float("inf"), float("nan")])
    expected = torch.tensor([448.0, -448.0, 448.0, float("nan")])
    for seed in (None, 7):
        torch.testing.assert_close(grid.round(x, seed), expected, rtol=0, atol=0, equal_nan=True)


def test_stochastic_rounding_is_unbiased_and_stays_between_the_neighbours():
    grid = plain_grid("e4m3fn")
    x = torch.full((200_000,), 1.03)  # between 1 and 1.125
    rounded = grid.round(x, seed=3)
    assert set(rounded.tolist()) == {1.0, 1.125}
    assert rounded.mean().item() == pytest.approx(1.03, abs=4 * 0.0534 / 200_000**0.5)


def test_stochastic_rounding_is_a_function_of_the_seed():
    grid, x = plain_grid("e5m2"), torch.randn(100, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(grid.round(x, 5), grid.round(x, 5), rtol=0, atol=0)
    assert not torch.equal(grid.round(x, 5), grid.round(x, 6))


def test_numbers_of_the_grid_stay_under_either_rounding():
    x = torch.tensor(Format.named("e3m4").values())
    grid = plain_grid("e3m4")
    torch.testing.assert_close(grid.round(x), x, rtol=0, atol=0)
    torch.testing.assert_close(grid.round(x, seed=1), x, rtol=0, atol=0)


def test_moving_walks_the_table_and_stops_at_its_ends():
    values = torch.tensor(Format.named("e5m2").values())
    grid = plain_grid("e5m2")
    rungs = torch.tensor([1, -1, 3, 0, 5000, -5000])
    start = torch.tensor([10, 10, 20, 30, 40, 50])
    target = (start + rungs).clamp(0, len(values) - 1)
    torch.testing.assert_close(grid.move(values[start], rungs), values[target], rtol=0, atol=0)


def test_moving_by_one_crosses_zero_through_zero():
    grid = plain_grid("e4m3fn")
    smallest = Format.named("e4m3fn").smallest_subnormal
    x = torch.tensor([smallest, 0.0])
    expected = torch.tensor([0.0, -smallest])
    torch.testing.assert_close(grid.move(x, torch.tensor([-1, -1])), expected, rtol=0, atol=0)


def test_seeds_differ_by_step_and_parameter():
    seeds = {mixed_seed(1, step, index) for step in range(200) for index in range(50)}
    assert len(seeds) == 200 * 50
    x = torch.zeros(1000)
    correlation = torch.corrcoef(
        torch.stack([uniform_like(x, mixed_seed(1, 0, 0)), uniform_like(x, mixed_seed(1, 1, 0))])
    )
    assert abs(correlation[0, 1].item()) < 0.15
