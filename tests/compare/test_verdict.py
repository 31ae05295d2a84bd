"""Verdicts: what is said, and what must never be said."""

from dataclasses import replace

import numpy as np
import pytest

from altgrad.compare.conclusion import judge_all
from altgrad.compare.question import Question
from altgrad.compare.statistics import anytime, paired
from altgrad.compare.verdict import BETTER, EQUIVALENT, INCONCLUSIVE, WORSE, Rules, judge

CONTROL = np.array([2.41, 2.45, 2.38, 2.43, 2.40])
JITTER = np.array([0.002, -0.003, 0.001, 0.0, -0.001])


def verdict(arm, control=CONTROL, **rules):
    return judge(control, {"arm": arm}, Rules(**rules))[0]


@pytest.mark.parametrize(
    ("arm", "expected"),
    [
        (CONTROL - 0.1 + JITTER, BETTER),
        (CONTROL + 0.1 + JITTER, WORSE),
        (CONTROL + JITTER, EQUIVALENT),
        (CONTROL + 30 * JITTER, INCONCLUSIVE),
    ],
)
def test_the_four_verdicts(arm, expected):
    assert verdict(arm).verdict == expected


def test_the_words_carry_the_numbers():
    assert verdict(CONTROL - 0.1 + JITTER).words.startswith("better by 0.10")
    assert verdict(CONTROL + JITTER).words == "equivalent within 0.01"
    assert "more seeds would probably decide" in verdict(CONTROL + 30 * JITTER).words


def test_identical_arms_are_equivalent():
    evidence = verdict(CONTROL.copy())
    assert (evidence.verdict, evidence.mean, evidence.p) == (EQUIVALENT, 0.0, 1.0)


def test_a_difference_too_small_to_matter_is_said_but_does_not_win():
    evidence = verdict(CONTROL - 0.004 + JITTER / 10)
    assert evidence.verdict == EQUIVALENT
    assert "too small to matter" in evidence.words


def test_higher_may_be_better():
    assert verdict(CONTROL + 0.1 + JITTER, higher_is_better=True).verdict == BETTER


def test_one_pair_is_never_enough():
    evidence = judge([2.4], {"arm": [1.0]}, Rules())[0]
    assert evidence.verdict == INCONCLUSIVE
    assert "two pairs" in evidence.words


def test_an_arm_that_loses_a_run_is_not_better():
    arm = CONTROL - 0.1 + JITTER
    arm[2] = np.nan
    evidence = verdict(arm)
    assert evidence.verdict == INCONCLUSIVE
    assert "1 of 5 runs lost, control 0 of 5" in evidence.words


def test_an_arm_that_loses_every_run_is_worse():
    evidence = verdict(np.full(5, np.nan))
    assert evidence.verdict == WORSE
    assert evidence.pairs == 0


def test_lost_runs_of_many_arms_need_more_evidence():
    arms = {"lost": np.full(5, np.nan), "b": CONTROL + 30 * JITTER}
    evidence = judge(CONTROL, arms, Rules())[0]
    assert (evidence.p_less_stable, evidence.p_less_stable_corrected) == (1 / 32, 1 / 16)
    assert evidence.verdict == INCONCLUSIVE
    assert "5 of 5 runs lost" in evidence.words
    assert (
        judge(CONTROL, {"lost": np.full(5, np.nan)}, Rules(anytime=True))[0].verdict == INCONCLUSIVE
    )


def test_a_control_that_loses_runs_does_not_block_a_better_arm():
    control = CONTROL.copy()
    control[0] = np.nan
    assert verdict(CONTROL - 0.1 + JITTER, control=control).verdict == BETTER


def test_many_arms_need_more_evidence():
    rng = np.random.default_rng(1)
    arm = CONTROL - 0.02 + rng.normal(0, 0.012, 5)
    alone = judge(CONTROL, {"a": arm}, Rules(delta=1e-6))[0]
    others = {f"b{i}": CONTROL + rng.normal(0, 0.02, 5) for i in range(6)}
    among = judge(CONTROL, {"a": arm, **others}, Rules(delta=1e-6))[0]
    assert among.p == alone.p
    assert among.p_corrected > alone.p_corrected


def test_the_advice_on_seeds_pays_for_the_other_arms():
    arm = CONTROL - 0.01 + 6 * JITTER
    alone, among_four = (
        judge(CONTROL, dict.fromkeys("abcd"[:n], arm), Rules(delta=1e-6))[0].seeds_more
        for n in (1, 4)
    )
    assert alone < among_four


def test_without_correction_p_stays():
    evidence = judge(CONTROL, {"a": CONTROL + 0.1, "b": CONTROL}, Rules(correction="none"))
    assert [e.p for e in evidence] == [e.p_corrected for e in evidence]


def test_as_you_go_asks_for_more_evidence_at_the_same_seeds():
    arm = CONTROL - 0.01 + 3.5 * JITTER
    assert verdict(arm, delta=1e-6).verdict == BETTER
    assert verdict(arm, delta=1e-6, anytime=True).verdict == INCONCLUSIVE


def test_an_interaction_pays_for_peeking_too():
    question = Question(axes={"a": ["1", "2"], "b": ["x", "y"]}, design="crossed").complete()
    d = np.array([0.2, 0.5, 0.35, 0.4, 0.1])
    cells = dict(zip(question.arms, [np.zeros(5)] * 3 + [d], strict=True))
    *_, once = judge_all(question, cells)[1]
    *_, looked = judge_all(replace(question, until_decided=True), cells)[1]
    assert (once.verdict, looked.verdict) == ("interaction", "inconclusive")
    assert once.p == pytest.approx(paired.paired_t(d).p)
    assert looked.p == pytest.approx(anytime.anytime_p(d))
    assert looked.low < once.low < once.high < looked.high


def test_false_better_stays_below_five_percent():
    """A quick look; benchmarks/verdict_calibration.py has the whole table."""
    rng = np.random.default_rng(0)
    rules = Rules(delta=1e-9)
    pairs = rng.normal(0, 1, (600, 2, 5))
    said = [judge(c, {"a": a}, rules, resamples=0)[0].verdict for c, a in pairs]
    assert said.count(BETTER) / len(said) <= 0.05


def test_infinite_numbers_become_null_in_json():
    content = judge([2.4], {"arm": [1.0]}, Rules())[0].to_dict()
    assert content["low"] is None
    assert content["mean"] == pytest.approx(-1.4)
