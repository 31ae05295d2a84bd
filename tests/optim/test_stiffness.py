import math

import pytest
import torch

from altgrad.optim.stiffness import published_stiffness, shuffled
from tests.optim.toy import format_grid


@pytest.mark.parametrize(("name", "mantissa_bits"), [("e4m3fn", 3), ("e5m2", 2)])
def test_published_stiffness_is_the_power_of_two_below_the_weight(name, mantissa_bits):
    weight = torch.randn(500, generator=torch.Generator().manual_seed(0))
    weight = torch.cat([weight, torch.tensor([1.0, 0.5, 2.0, -0.25, 1e-30, -3e-7])])
    expected = [2.0 ** (math.floor(math.log2(abs(w))) - mantissa_bits) for w in weight.tolist()]
    actual = published_stiffness(format_grid(name))(weight)
    torch.testing.assert_close(actual, torch.tensor(expected), rtol=0, atol=0)


def test_published_stiffness_of_zero_is_one_and_of_a_huge_weight_a_million():
    weight = torch.tensor([0.0, -0.0, 2.0**40])
    actual = published_stiffness(format_grid("e5m2"))(weight)
    torch.testing.assert_close(actual, torch.tensor([1.0, 1.0, 1e6]), rtol=0, atol=0)


def test_published_stiffness_of_fixed_point_is_constant():
    weight = torch.tensor([0.0, 0.1, 5.0])
    actual = published_stiffness(format_grid("e0m7"))(weight)
    torch.testing.assert_close(actual, torch.full((3,), 1 / 128), rtol=0, atol=0)


def test_the_placebo_has_the_same_values_at_other_places_every_step():
    weight = torch.randn(6, 50, generator=torch.Generator().manual_seed(1))
    field = format_grid().ulp
    placebo = shuffled(field, seed=4)
    first, true = placebo(weight), field(weight)
    torch.testing.assert_close(first.flatten().sort()[0], true.flatten().sort()[0], rtol=0, atol=0)
    assert not torch.equal(first, true)
    torch.testing.assert_close(placebo(weight), first, rtol=0, atol=0)
    torch.testing.assert_close(shuffled(field, seed=4)(weight), first, rtol=0, atol=0)
    assert not torch.equal(shuffled(field, seed=5)(weight), first)
