"""The battery every entry of SCHEDULES and every preset in conf/schedule must pass."""

import math
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import altgrad
from altgrad.optim import SCHEDULES, ScheduleConfig, build_schedule

CONF = Path(altgrad.__file__).parent / "conf" / "schedule"
PRESETS = sorted(path.stem for path in CONF.glob("*.yaml"))


def preset(name: str) -> ScheduleConfig:
    loaded = OmegaConf.load(CONF / f"{name}.yaml")
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(ScheduleConfig), loaded))


def test_every_schedule_has_a_preset():
    assert {preset(name).name for name in PRESETS} == set(SCHEDULES)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("max_steps", [20, 21, 100, 1000])
def test_factors_are_finite_and_at_most_one(name, max_steps):
    schedule = build_schedule(preset(name), max_steps)
    factors = [schedule(k) for k in range(max_steps + 5)]
    assert all(math.isfinite(f) and 0.0 <= f <= 1.0 for f in factors)
    assert max(factors) > 0.5
    assert min(factors[:max_steps]) > 0.0


@pytest.mark.parametrize("name", PRESETS)
def test_a_factor_depends_on_the_step_alone(name):
    forward = build_schedule(preset(name), 50)
    backward = build_schedule(preset(name), 50)
    assert [forward(k) for k in range(50)] == [backward(k) for k in reversed(range(50))][::-1]


@pytest.mark.parametrize("name", PRESETS)
def test_no_jump_is_larger_than_the_steepest_ramp(name):
    schedule = build_schedule(preset(name), 200)
    jumps = [abs(schedule(k + 1) - schedule(k)) for k in range(199)]
    assert max(jumps) <= 1 / 20 + 1e-9


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_a_misspelt_name_is_refused_with_the_nearest(name):
    with pytest.raises(ValueError, match=f"did you mean '{name}'"):
        build_schedule(ScheduleConfig(name + "x", warmup_steps=0), 10)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_a_warm_up_longer_than_the_run_is_refused(name):
    with pytest.raises(ValueError, match="warmup_steps=11"):
        build_schedule(ScheduleConfig(name, warmup_steps=11), 10)
