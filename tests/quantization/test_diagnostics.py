"""Counting codes, distances and stalls."""

import pytest
import torch

from altgrad import quantization as q
from altgrad.quantization.reference import encode
from altgrad.quantization.reference import round as round_scalar

X = torch.randn(4096, generator=torch.Generator().manual_seed(0))


def test_histogram_counts_every_number_once():
    f = q.Format.named("e3m4")
    expected = [0] * 256
    for value in X.tolist():
        expected[encode(round_scalar(value, f), f)] += 1
    assert q.code_histogram(X, f).tolist() == expected


@pytest.mark.parametrize("name", ["e4m3", "e5m2", "e0m7", "int8", "e2m1fn", "e7m0"])
def test_utilisation_is_one_when_every_finite_code_occurs(name):
    f = q.Format.named(name)
    values = f.values() + [-0.0] * f.has_negative_zero
    assert q.code_utilisation(torch.tensor(values), f) == 1
    assert q.code_utilisation(torch.zeros(3), f) == pytest.approx(1 / f.finite_codes)


@pytest.mark.parametrize("name", ["e4m3", "int8", "e7m0"])
def test_ulp_distance_counts_steps_on_the_value_table(name):
    f = q.Format.named(name)
    table = torch.tensor(f.values())
    index = torch.arange(len(table))
    for shift in (0, 1, 17):
        distance = q.ulp_distance(table, table.roll(shift), f)
        assert torch.equal(distance, (index - index.roll(shift)).abs())


def test_ulp_distance_refuses_nan():
    with pytest.raises(ValueError, match="undefined"):
        q.ulp_distance(torch.tensor([float("nan")]), torch.zeros(1), "e4m3")


def test_a_small_step_stalls_and_a_large_one_flips():
    w = torch.tensor([1.0, 1.0, 1.0, 0.0])
    moved = w + torch.tensor([0.01, 0.2, 0.0, 1e-6])
    found = q.count_stalls(w, moved, "e4m3")
    assert (found.updates, found.flips, found.stalled) == (3, 1, 2)
    assert found.ratio == pytest.approx(2 / 3)


def test_a_change_of_scale_alone_is_no_flip():
    w = torch.tensor([1.0, 0.3])
    assert q.count_stalls(w, w.clone(), "e4m3", scale=0.37).updates == 0
    assert q.count_stalls(w, w.clone(), "e4m3", scale=0.37).ratio == 0


def test_what_was_kept_counts_not_what_was_wanted():
    w = torch.ones(4)
    found = q.count_stalls(w, w + 0.01, "e4m3", stored=torch.tensor([1.0, 1.125, 1.0, 1.0]))
    assert (found.updates, found.flips) == (4, 1)


def test_detector_keeps_the_seeds_interface():
    detector = q.BitStallDetector(window=2)
    weight, small, large = torch.ones(10), torch.full((10,), 1e-3), torch.full((10,), 0.5)
    detector.update(weight, small, 1.0, "e4m3", 1.0)
    assert (detector.stall_count, detector.total_count, detector.step_count) == (10, 10, 1)
    detector.update(weight, large, 1.0, q.Format.named("e4m3"), 1.0)
    detector.update(weight, large, 1.0, "e4m3")
    assert detector.get_stall_rate() == pytest.approx(1 / 3)
    stats = detector.get_stats()
    assert (stats["flip_count"], stats["window_stall_rate"]) == (20, 0.0)
    detector.reset()
    assert detector.get_stats() == dict.fromkeys(stats, 0)


def test_detector_watches_any_optimiser():
    weight = torch.nn.Parameter(torch.randn(64, generator=torch.Generator().manual_seed(1)))
    optimiser = torch.optim.AdamW([weight], lr=1e-4, weight_decay=0.0)
    detector = q.BitStallDetector()
    for _ in range(3):
        before = weight.detach().clone()
        weight.grad = torch.ones_like(weight)
        optimiser.step()
        detector.observe(before, weight, "e4m3", scale=0.01)
    assert detector.total_count == 3 * 64
    assert 0.5 < detector.get_stall_rate() <= 1.0


def test_grid_distance_is_zero_on_the_grid_and_a_quarter_off_it():
    assert q.grid_distance(q.fake_quantize(X, "e4m3"), "e4m3") == 0
    uniform = torch.rand(20000, generator=torch.Generator().manual_seed(2))
    assert q.grid_distance(uniform, "e0m7").item() == pytest.approx(0.25, abs=0.01)
