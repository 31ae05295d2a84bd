"""The guard says which of the two was not finite, and gives up after its patience."""

import math

import pytest

from altgrad.training.health.guards import GuardConfig, NonFiniteGuard


def test_finite_numbers_pass():
    assert NonFiniteGuard(3).judge(1.0, 2.0).action == "continue"


def test_the_culprit_is_named():
    guard = NonFiniteGuard(3)
    assert guard.judge(math.nan, math.nan).reason.startswith("loss")
    assert guard.judge(1.0, math.inf).reason.startswith("gradient")


def test_it_stops_after_its_patience_and_only_in_a_row():
    guard = NonFiniteGuard(3)
    actions = [guard.judge(x, 1.0).action for x in (math.nan, math.nan, 1.0, math.nan, math.inf)]
    assert actions == ["skip", "skip", "continue", "skip", "skip"]
    assert guard.judge(math.nan, 1.0).action == "stop"


def test_only_the_first_of_a_series_is_first():
    guard = NonFiniteGuard(5)
    assert [guard.judge(x, 1.0).first for x in (math.nan, math.nan, 1.0, math.nan)] == [
        True,
        False,
        False,
        True,
    ]


def test_its_count_survives_a_checkpoint():
    guard, other = NonFiniteGuard(2), NonFiniteGuard(2)
    guard.judge(math.nan, 1.0)
    other.load_state_dict(guard.state_dict())
    assert other.judge(math.nan, 1.0).action == "stop"


def test_no_patience_is_refused():
    with pytest.raises(ValueError, match="nan_patience=0"):
        GuardConfig(nan_patience=0)
