"""Every statistic against an outside oracle, or by hand where there is none."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from altgrad.compare.statistics import paired
from altgrad.compare.statistics.anytime import (
    anytime_interval,
    anytime_less_stable_p,
    anytime_p,
    bayes_factor,
    t_boundary,
)
from altgrad.compare.statistics.power import seeds_needed, t_power, tost_power

D = np.array([0.3, -0.1, 0.4, 0.2, 0.05, 0.6])


def test_the_paired_t_interval_is_scipys():
    ours = paired.paired_t(D)
    theirs = scipy_stats.ttest_1samp(D, 0.0)
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-12)
    low, high = theirs.confidence_interval(0.95)
    assert (ours.interval.low, ours.interval.high) == pytest.approx((low, high), rel=1e-12)


def test_equal_differences_leave_no_doubt():
    assert paired.paired_t([0.1, 0.1, 0.1]).p == 0.0
    assert paired.paired_t([0.0, 0.0, 0.0]).p == 1.0
    assert paired.paired_t([0.1, 0.1, 0.1]).interval == paired.Interval(0.1, 0.1)


def test_one_pair_says_nothing():
    t = paired.paired_t([0.5])
    assert (t.p, t.interval.low, t.interval.high) == (1.0, -math.inf, math.inf)


def test_the_sign_flip_p_counts_all_patterns():
    patterns = np.array(list(itertools.product([-1, 1], repeat=len(D)))) @ D
    assert paired.sign_flip_p(D) == np.mean(np.abs(patterns) >= abs(D.sum()) - 1e-12)


@pytest.mark.parametrize("n", [3, 5, 8])
def test_the_sign_flip_p_is_scipys(n):
    d = np.random.default_rng(n).normal(0.5, 1, n)
    theirs = scipy_stats.permutation_test(
        (d,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert paired.sign_flip_p(d) == pytest.approx(theirs.pvalue)


def test_five_pairs_never_reach_five_percent_by_sign_flips():
    assert paired.sign_flip_p([1.0, 1.1, 0.9, 1.2, 1.0]) == 0.0625


def test_many_pairs_are_sampled_and_never_reach_zero():
    p = paired.sign_flip_p(np.full(30, 1.0))
    assert 0 < p < 1e-4


def test_bca_follows_the_skew():
    d = np.random.default_rng(0).exponential(1.0, 40)
    bca = paired.bca_interval(d)
    assert d.mean() - bca.low < bca.high - d.mean()


def test_holm_is_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = [0.01, 0.04, 0.03, 0.005, 0.5]
    assert paired.holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1])


def test_tost_is_statsmodels():
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    theirs = weightstats.DescrStatsW(D).ttost_mean(-0.5, 0.5)[0]
    assert paired.tost_p(D, 0.5) == pytest.approx(theirs, rel=1e-10)


def test_the_power_of_t_is_statsmodels():
    power = pytest.importorskip("statsmodels.stats.power")
    n = np.array([5, 10, 30])
    theirs = [power.TTestPower().power(0.8, k, 0.05, alternative="larger") for k in n]
    one_sided = t_power(n, 0.8, 0.10)
    assert one_sided == pytest.approx(theirs, rel=1e-6)


def test_the_seeds_needed_have_the_power_and_one_fewer_has_not():
    n = seeds_needed(0.5, 1.0, 1e-9)
    assert t_power(np.array([n, n - 1]), 0.5)[0] >= 0.8
    assert t_power(np.array([n - 1]), 0.5)[0] < 0.8


def test_a_true_zero_is_decided_by_equivalence():
    n = seeds_needed(0.0, 1.0, 0.5)
    rng = np.random.default_rng(0)
    found = np.mean([paired.tost_p(rng.normal(0, 1, n), 0.5) < 0.05 for _ in range(2000)])
    assert found == pytest.approx(tost_power(np.array([n]), 0.0, 0.5)[0], abs=0.03)


@pytest.mark.parametrize(("mean", "sd", "expected"), [(1.0, math.nan, None), (0.0, 0.0, 2)])
def test_what_is_not_known_is_not_promised(mean, sd, expected):
    assert seeds_needed(mean, sd, 0.1) == expected


def test_a_hopeless_question_says_so():
    from statsmodels.stats.power import TTestPower

    assert seeds_needed(0.1, 1.0, 0.1) == math.ceil(
        TTestPower().solve_power(0.1, alpha=0.05, power=0.8)
    )
    assert seeds_needed(0.01, 1.0, 0.01) is None


def test_the_effect_is_in_units_of_seed_noise():
    control, arm = np.array([1.0, 2.0, 3.0]), np.array([3.0, 4.0, 5.0])
    assert paired.effect_in_noise(control, arm) == pytest.approx(2.0)


def test_wilson_gives_a_sensible_interval_at_zero():
    interval = paired.wilson(0, 5)
    assert interval.low == 0.0
    assert interval.high == pytest.approx(0.4345, abs=1e-3)


def test_losing_all_of_five_runs_is_less_stable():
    lost, kept = [True] * 5, [False] * 5
    assert paired.less_stable_p(lost, kept) == pytest.approx(1 / 32)
    assert paired.less_stable_p(kept, lost) == 1.0
    assert paired.less_stable_p(lost, lost) == 1.0


def test_the_bayes_factor_is_the_integral_it_stands_for():
    """Rouder's integral: noncentral t under N(0, tau²) effects over central t."""
    n, t, tau = 8, 2.5, 1.5
    effects = np.linspace(-12, 12, 6001)
    prior = scipy_stats.norm.pdf(effects, 0, tau)
    marginal = np.trapezoid(scipy_stats.nct.pdf(t, n - 1, effects * math.sqrt(n)) * prior, effects)
    expected = marginal / scipy_stats.t.pdf(t, n - 1)
    assert bayes_factor(t, n, tau) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("n", [5, 9, 30])
def test_the_boundary_is_where_the_bayes_factor_reaches_one_over_alpha(n):
    assert bayes_factor(t_boundary(n, 0.05), n) == pytest.approx(20.0, rel=1e-9)


def test_the_sequence_excludes_zero_exactly_when_p_is_small():
    rng = np.random.default_rng(3)
    for shift in (0.0, 1.0, 3.0):
        d = rng.normal(shift, 1, 9)
        interval = anytime_interval(d)
        assert (interval.low > 0 or interval.high < 0) == (anytime_p(d) < 0.05)


@pytest.mark.parametrize(("arm", "control"), [(0, 0), (3, 1), (7, 0), (0, 5)])
def test_lost_runs_are_judged_by_a_fair_bet(arm, control):
    """Under equal chances the bet neither gains nor loses on average: a martingale."""
    worth = [1 / betting_p(arm + a, control + 1 - a) for a in (0, 1)]
    assert np.mean(worth) == pytest.approx(1 / betting_p(arm, control), rel=1e-9)


def betting_p(arm, control):
    """Without the cap at 1, by the integral that it stands for."""
    share = np.linspace(0.5, 1, 200_001)
    worth = np.trapezoid(2 * (2 * share) ** arm * (2 * (1 - share)) ** control, share)
    assert anytime_less_stable_p(arm, control) == pytest.approx(min(1.0, 1 / worth), rel=1e-6)
    return 1 / worth


def test_losing_seven_runs_of_seven_is_less_stable_at_any_look():
    assert anytime_less_stable_p(6, 0) > 0.05 > anytime_less_stable_p(7, 0)


def test_the_sequence_pays_for_peeking():
    assert anytime_interval(D).high > paired.paired_t(D).interval.high
