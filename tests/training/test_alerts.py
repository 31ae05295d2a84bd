"""Alerts name the number and its limit, and keep quiet for their cool-down."""

import math

from altgrad.training.health.watches import (
    CRITICAL,
    WARNING,
    AlertDesk,
    DivergenceWatch,
    Watch,
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def desk(clock):
    watches = [
        Watch("stall", "bit_stall", 0.5, "most updates are lost"),
        Watch("overflow", "overflow", 0.01, "values overflow", CRITICAL),
    ]
    return AlertDesk(watches, {CRITICAL: 60.0, WARNING: 300.0}, clock)


def test_a_number_beyond_its_limit_is_named_with_it():
    (alert,) = desk(Clock()).consider({"bit_stall": 0.75, "overflow": 0.01})
    assert alert.level == WARNING
    assert alert.reason == "most updates are lost: bit_stall is 0.75, above 0.5"


def test_absent_and_undefined_numbers_are_not_judged():
    assert desk(Clock()).consider({"bit_stall": math.nan}) == []


def test_each_level_has_its_own_cool_down():
    clock = Clock()
    d, bad = desk(clock), {"bit_stall": 1.0, "overflow": 1.0}
    names = {}
    for clock.now in (0.0, 59.0, 60.0, 299.0, 300.0):
        names[clock.now] = [alert.name for alert in d.consider(bad)]
    assert names == {
        0.0: ["stall", "overflow"],
        59.0: [],
        60.0: ["overflow"],
        299.0: ["overflow"],
        300.0: ["stall"],
    }


def test_divergence_is_flagged_after_rises_in_a_row():
    watch = DivergenceWatch(3)
    found = [watch.observe(x) for x in (3.0, 3.1, 3.2, 3.1, 3.2, 3.3, 3.4)]
    assert [a is not None for a in found] == [False] * 6 + [True]
    assert found[-1].name == "divergence"


def test_divergence_counts_across_a_resume():
    watch, other = DivergenceWatch(2), DivergenceWatch(2)
    watch.observe(1.0)
    watch.observe(2.0)
    other.load_state_dict(watch.state_dict())
    assert DivergenceWatch(2).observe(3.0) is None
    assert other.observe(3.0) is not None
