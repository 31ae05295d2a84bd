"""Oracle: compositions of torch.optim.lr_scheduler."""

import pytest
import torch
from torch.optim import lr_scheduler

from altgrad.optim import ScheduleConfig, build_schedule

MAX_STEPS, WARMUP = 40, 8


def torch_factors(main) -> list[float]:
    """Rates of LinearLR warm-up followed by `main(optimizer)`, for a peak rate of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    warmup = lr_scheduler.LinearLR(
        optimizer, start_factor=1 / WARMUP, end_factor=1.0, total_iters=WARMUP - 1
    )
    scheduler = lr_scheduler.SequentialLR(optimizer, [warmup, main(optimizer)], [WARMUP])
    rates = []
    for _ in range(MAX_STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def constant(optimizer):
    return lr_scheduler.ConstantLR(optimizer, factor=1.0)


def cosine(optimizer):
    return lr_scheduler.CosineAnnealingLR(optimizer, T_max=MAX_STEPS - WARMUP, eta_min=0.1)


def trapezoid(optimizer):
    decay_steps = 12
    stable = lr_scheduler.ConstantLR(optimizer, factor=1.0)
    fall = lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=decay_steps)
    return lr_scheduler.SequentialLR(optimizer, [stable, fall], [MAX_STEPS - decay_steps - WARMUP])


@pytest.mark.parametrize("main", [constant, cosine])
def test_equals_torchs_schedulers(main):
    config = ScheduleConfig(main.__name__, warmup_steps=WARMUP, min_lr_fraction=0.1)
    schedule = build_schedule(config, MAX_STEPS)
    assert [schedule(k) for k in range(MAX_STEPS)] == pytest.approx(torch_factors(main))


def test_trapezoid_equals_torchs_linear_decay():
    config = ScheduleConfig(
        "trapezoid", warmup_steps=WARMUP, min_lr_fraction=0.1, decay_fraction=0.3
    )
    schedule = build_schedule(config, MAX_STEPS)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    fall = lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=12)
    expected = []
    for _ in range(12):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        fall.step()
    assert [schedule(k) for k in range(MAX_STEPS - 12, MAX_STEPS)] == pytest.approx(expected)
    assert [schedule(k) for k in range(WARMUP, MAX_STEPS - 12)] == [1.0] * (MAX_STEPS - 12 - WARMUP)


def test_warm_up_starts_above_zero_and_reaches_the_peak_at_its_last_step():
    schedule = build_schedule(ScheduleConfig("constant", warmup_steps=4), 10)
    assert [schedule(k) for k in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_no_step_of_a_decay_to_zero_is_idle_and_later_steps_are():
    config = ScheduleConfig("trapezoid", warmup_steps=0, min_lr_fraction=0.0, decay_fraction=0.5)
    schedule = build_schedule(config, 10)
    assert schedule(9) == pytest.approx(0.2)
    assert schedule(10) == schedule(99) == 0.0


def test_a_warm_up_that_meets_the_decay_is_continuous():
    config = ScheduleConfig("trapezoid", warmup_steps=6, min_lr_fraction=0.0, decay_fraction=0.9)
    schedule = build_schedule(config, 10)
    factors = [schedule(k) for k in range(10)]
    assert factors == pytest.approx([min((k + 1) / 6, (10 - k) / 9) for k in range(10)])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ScheduleConfig(warmup_steps=11), r"warmup_steps=11 must be in \[0, max_steps=10\]"),
        (ScheduleConfig(warmup_steps=-1), "warmup_steps=-1"),
        (ScheduleConfig(warmup_steps=0, min_lr_fraction=1.5), "min_lr_fraction=1.5"),
        (ScheduleConfig(warmup_steps=0, decay_fraction=-0.1), "decay_fraction=-0.1"),
        (ScheduleConfig("cosin", warmup_steps=0), "did you mean 'cosine'"),
        (ScheduleConfig("nowhere:schedule", warmup_steps=0), "no module 'nowhere'"),
    ],
)
def test_impossible_schedules_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        build_schedule(config, 10)


def test_a_name_with_a_colon_brings_in_outside_code():
    config = ScheduleConfig("tests.optim.test_schedules:half", warmup_steps=0)
    assert build_schedule(config, 10)(3) == 0.5


def half(config, max_steps):
    return lambda step: 0.5
