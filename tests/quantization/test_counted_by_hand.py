"""Counts, scales and histories on a handful of numbers, worked out by hand."""

import math

import pytest
import torch

from altgrad.quantization import NVFP4, Delayed, Format, PerTensor
from altgrad.quantization.diagnostics import BitStallDetector, count_stalls, sqnr_db, ulp_distance
from altgrad.quantization.rounding.counts import NAMES, count
from altgrad.quantization.rounding.grid import grid
from altgrad.quantization.rounding.round import round_values
from altgrad.quantization.scaling import finite_amax, scale_from_amax

E4M3 = Format.named("e4m3fn")  # largest 448, smallest normal 2^-6, smallest 2^-9


def test_every_count_of_a_small_tensor():
    """449 rounds down to 448, 465 does not: half a spacing beyond the top is 464."""
    x = torch.tensor([0.0, 1.0, 449.0, -465.0, 1e-4, -0.01, 0.002, math.nan, math.inf, 448.0])
    stats = round_values(x, E4M3, overflow="saturate", count_by="tensor").stats
    counts = {n: int(getattr(stats, n)) for n in ("overflow", "underflow", "subnormal", "nan")}
    assert counts == {"overflow": 2, "underflow": 1, "subnormal": 2, "nan": 1}
    assert int(stats.inf) == 1
    assert float(stats.amax) == 465.0


def test_the_ratio_of_signal_and_noise_is_twenty_logarithms_of_lengths():
    x = torch.tensor([3.0, 4.0])
    assert float(sqnr_db(x, x + torch.tensor([0.0, 0.05]))) == pytest.approx(40.0, abs=1e-4)
    stats = round_values(torch.tensor([17.0]), E4M3, count_by="tensor").stats
    assert float(stats.sqnr_db) == pytest.approx(20 * math.log10(17))  # 17 is stored as 16


def test_infinity_is_no_magnitude():
    x = torch.tensor([[1.0, -math.inf, math.nan], [-3.0, 2.0, math.inf]])
    assert float(finite_amax(x)) == 3.0
    assert finite_amax(x, -1).flatten().tolist() == [1.0, 3.0]


@pytest.mark.parametrize(
    ("rule", "amax", "scale"),
    [
        ("exact", 896.0, 2.0),
        ("exact", 0.0, 1.0),
        ("power_of_two", 448.0, 1.0),
        ("power_of_two", 449.0, 2.0),
        ("power_of_two", 896.0, 2.0),
        ("mx", 448.0, 1.0),
        ("mx", 511.0, 1.0),
        ("mx", 512.0, 2.0),
        ("mx", 0.0, 1.0),
    ],
)
def test_scales_by_hand(rule, amax, scale):
    assert float(scale_from_amax(torch.tensor(amax), E4M3, rule)) == scale


def test_a_small_block_of_nvfp4_keeps_the_smallest_normal_scale():
    """Tensor scale 448·6 / (448·6) = 1; blocks ask for 448, 1 and 2^-20: the last gets 2^-6."""
    x = torch.zeros(48)
    x[0], x[16], x[32] = 448 * 6.0, 6.0, 6.0 * 2**-20
    assert NVFP4().scales(x, Format.named("e2m1")).tolist() == [448.0, 1.0, 2.0**-6]


def test_a_delayed_scale_follows_the_largest_of_its_history_and_only_that():
    delayed = Delayed(3, margin=1)
    delayed.train()
    seen = []
    for amax in (448.0, 4480.0, 44.8, math.nan, 448.0, 448.0, 448.0):
        seen.append(float(delayed.scales(torch.tensor([amax]), E4M3)))
    # the first call has no history; NaN leaves no trace; the margin doubles every scale
    assert seen == pytest.approx([2.0, 2.0, 20.0, 20.0, 20.0, 20.0, 2.0])
    delayed.eval()
    delayed.scales(torch.tensor([1e9]), E4M3)
    assert float(delayed.scales(torch.tensor([1.0]), E4M3)) == pytest.approx(2.0)


def test_a_delayed_scale_may_follow_the_newest():
    delayed = Delayed(3, algorithm="most_recent")
    for amax in (4480.0, 448.0):
        delayed.update(torch.tensor(amax))
    delayed.eval()
    assert float(delayed.scales(torch.tensor([1.0]), E4M3)) == 1.0


def test_a_flip_needs_an_update():
    """16, 17 and 16: the first moves and flips, the second moves and stays, the third only flips
    because something else was stored."""
    before, after = torch.tensor([16.0, 16.0, 16.0]), torch.tensor([18.0, 16.5, 16.0])
    found = count_stalls(before, after, E4M3, stored=torch.tensor([18.0, 16.0, 20.0]))
    assert (int(found.updates), int(found.flips), int(found.stalled)) == (2, 1, 1)
    assert float(found.ratio) == 0.5


def test_the_window_forgets_and_the_total_does_not():
    detector, one = BitStallDetector(window=2), torch.tensor([16.0])
    for after in (16.5, 16.5, 18.0, 18.0):
        detector.observe(one, torch.tensor([after]), E4M3)
    stats = detector.get_stats()
    assert (stats["window_stall_rate"], stats["stall_rate"]) == (0.0, 0.5)


def test_both_zeros_are_one_number():
    a, b = torch.tensor([-0.0, -(2.0**-9), 2.0**-9]), torch.tensor([0.0, 2.0**-9, 2.0**-8])
    assert ulp_distance(a, b, E4M3).tolist() == [0, 2, 1]


def test_one_scale_of_a_tensor_is_that_of_its_largest_number():
    x = torch.tensor([[1.0, -896.0], [2.0, 3.0]])
    assert float(PerTensor().scales(x, E4M3)) == 2.0


def test_the_definition_of_the_counts_agrees_where_no_native_pass_makes_them():
    x = torch.tensor([0.0, 1.0, 449.0, -465.0, 1e-4, -0.01, 0.002, math.nan, math.inf, 448.0])
    q = round_values(x, E4M3, overflow="saturate").values
    table = count(x, x, q, q, grid(E4M3, "saturate", torch.float32), rows=False)
    counts = dict(zip(NAMES, table.tolist(), strict=True))
    expected = {"amax": 465, "overflow": 2, "underflow": 1, "subnormal": 2, "nan": 1, "inf": 1}
    assert {name: int(counts[name]) for name in expected} == expected
