"""The ledger's statistics against outside oracles, and against their promises by simulation."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from altgrad.ideas.discovery import Discoveries, bh_rejections, gamma, holm_rejections
from altgrad.ideas.effects import (
    FEWEST_SEEDS,
    MOST_SEEDS,
    Weighing,
    harm_p,
    looks_of,
    seeds_for,
)
from altgrad.ideas.noise import Noise, Spread, pairing, pool
from altgrad.ideas.screening import LOST, NO_GAIN, NOMINATED, OPEN, PARKED, e_value, screen


def batches(seed: int) -> list[list[float]]:
    rng = np.random.default_rng(seed)
    return [list(rng.uniform(0, 1, rng.integers(1, 9)) ** 4) for _ in range(6)]


@pytest.mark.parametrize("seed", range(20))
def test_batch_bh_decides_as_online_fdr(seed):
    bh = pytest.importorskip("online_fdr.p_values.batching.bh")
    theirs, ours = bh.BatchBH(0.1), Discoveries(0.1)
    theirs.seq.calc_gamma = lambda j: gamma(j)
    for batch in batches(seed):
        assert ours.test(batch) == [bool(x) for x in theirs.test_batch(batch)]
    assert ours._levels == pytest.approx(theirs.alpha_s)


def test_batch_bh_on_an_example_by_hand():
    """alpha = 0.1, gamma_1 = 0.6079: both of the first batch are below 0.0608 and 0.0304; then
    R+ = 2, beta = 0.0608 · 2 / (2 + 0) = 0.0608, and (0.1 · 0.7599 - 0.0608) · 3 / 1 = 0.0456."""
    ours = Discoveries(0.1)
    assert ours.level(2) == pytest.approx(0.06079, abs=1e-5)
    assert ours.test([0.01, 0.05]) == [True, True]
    assert ours.level(1) == pytest.approx(0.1 * gamma(2) * 3, rel=1e-12)
    assert ours.test([0.05]) == [False]


@pytest.mark.parametrize("seed", range(10))
def test_one_batch_is_scipys_benjamini_and_hochberg(seed):
    p = batches(seed)[0]
    adjusted = stats.false_discovery_control(p)
    assert bh_rejections(p, 0.1) == int((adjusted <= 0.1).sum())


@pytest.mark.parametrize("seed", range(10))
def test_holm_is_statsmodels(seed):
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = batches(seed)[1]
    assert holm_rejections(p, 0.1) == int(multitest.multipletests(p, 0.1, method="holm")[0].sum())


def test_the_spending_sequence_adds_up_to_one():
    assert sum(gamma(t) for t in range(1, 200_000)) == pytest.approx(1, abs=1e-5)


def test_an_empty_batch_spends_nothing():
    ours = Discoveries()
    assert ours.test([]) == []
    assert ours.level(1) == Discoveries().level(1)


@pytest.mark.parametrize("guarantee", ["fdr", "fwer"])
def test_few_discoveries_are_false_over_many_reckonings(guarantee):
    """Half of the hypotheses are true nulls; 3 standard errors are granted to the simulation."""
    rng, shares, any_false = np.random.default_rng(1), [], []
    for _ in range(400):
        ours, false, all_found = Discoveries(0.1, guarantee), 0, 0
        for _ in range(4):
            null = rng.random(8) < 0.5
            z = rng.normal(size=8) + np.where(null, 0, 3.0)
            found = ours.test(list(stats.norm.sf(z)))
            false += int(sum(f and n for f, n in zip(found, null, strict=True)))
            all_found += sum(found)
        shares.append(false / max(1, all_found))
        any_false.append(false > 0)
    promised = np.mean(shares if guarantee == "fdr" else any_false)
    assert promised <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 400)
    assert promised > 0


@pytest.mark.parametrize("n", [1, 2, 4])
def test_the_e_value_has_expectation_one_where_nothing_is_gained(n):
    spread = 0.7
    density = stats.norm(0, spread / math.sqrt(n)).pdf
    mean, _ = integrate.quad(lambda m: e_value(m, n, spread) * density(m), -8, 8, limit=200)
    assert mean == pytest.approx(1, abs=1e-6)


def test_the_e_value_is_the_mixture_it_says():
    n, mean, spread = 3, 0.4, 0.5
    prior = stats.halfnorm(scale=spread).pdf

    def ratio(gain: float) -> float:
        at = stats.norm(gain, spread / math.sqrt(n)).pdf(mean)
        return at / stats.norm(0, spread / math.sqrt(n)).pdf(mean) * prior(gain)

    assert e_value(mean, n, spread) == pytest.approx(integrate.quad(ratio, 0, 20)[0], rel=1e-6)


@pytest.mark.parametrize("freedom", [1, 3, 30])
@pytest.mark.parametrize("n", [1, 4])
def test_with_an_estimated_spread_its_expectation_is_one_too(n, freedom):
    """The plug-in, as if the spread were known, has 1.6 at three degrees of freedom, and none at
    one."""

    def value(t: float) -> float:
        return e_value(t / math.sqrt(n), n, 1.0, freedom) * stats.t.pdf(t, freedom)

    mean, _ = integrate.quad(value, -np.inf, np.inf, limit=400)
    assert mean == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("mean", "freedom"), [(0.9, 3), (-0.4, 3), (1.7, 12)])
def test_with_an_estimated_spread_it_is_the_mixture_of_noncentral_t(mean, freedom):
    n, spread = 2, 0.5
    t = math.sqrt(n) * mean / spread

    def ratio(effect: float) -> float:
        at = stats.nct.pdf(t, freedom, math.sqrt(n) * effect)
        return at / stats.t.pdf(t, freedom) * stats.halfnorm.pdf(effect)

    expected, _ = integrate.quad(ratio, 0, 12, limit=200)
    assert e_value(mean, n, spread, freedom) == pytest.approx(expected, rel=1e-5)


def test_many_degrees_of_freedom_are_a_known_spread():
    assert e_value(0.8, 3, 0.5, 10**7) == pytest.approx(e_value(0.8, 3, 0.5), rel=1e-4)


def test_a_badly_known_spread_nominates_less():
    """Trap: a plug-in spread with few degrees of freedom is no e-value."""
    assert screen([0.006], 0.0025, 0.003).verdict == NOMINATED
    assert screen([0.006], 0.0025, 0.003, 3).verdict == OPEN


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ([0.01], NOMINATED),
        ([-0.01], NO_GAIN),
        ([0.002], OPEN),
        ([0.002, 0.001, 0.0025, 0.0015], PARKED),
        ([0.001, math.nan], LOST),
    ],
)
def test_an_idea_is_screened_seed_by_seed(gains, verdict):
    assert screen(gains, 0.0025, 0.003).verdict == verdict


def test_without_noise_one_pair_decides():
    assert screen([1e-6], 0.0, 0.003).verdict == NOMINATED
    assert screen([0.0], 0.0, 0.003).verdict == NO_GAIN


def test_an_e_value_of_many_standard_deviations_does_not_overflow():
    assert math.isfinite(e_value(1000.0, 4, 1e-3))
    assert 0 <= e_value(-1000.0, 4, 1e-3) < 1e-6


def test_the_spread_is_pooled_by_degrees_of_freedom():
    first, second = [0.0, 0.02], [0.01, 0.02, 0.06]
    noise = pool([1.0, 1.0], 0.0, [first, second])
    squares = sum((len(p) - 1) * np.var(p, ddof=1) for p in (first, second))
    assert noise.freedom == 4  # 1 + 2, and the baseline counts as one
    assert noise.spread == pytest.approx(math.sqrt(squares / 4))


def test_enough_pairs_know_the_spread_without_the_baseline():
    pairs = [[0.0, 0.01, 0.02, 0.03]] * 2
    assert pool([1.0, 9.0], 0.0, pairs).spread == pytest.approx(np.std(pairs[0], ddof=1))
    assert pool([1.0, 9.0], 0.0, pairs[:1]).spread > 1


def test_before_any_pairs_the_baseline_gives_the_spread():
    noise = pool([1.0, 1.1, 1.2, 1.3], 0.0)
    assert noise.spread == pytest.approx(math.sqrt(2) * np.std([1.0, 1.1, 1.2, 1.3], ddof=1))
    assert noise.freedom == 3


def test_the_spread_is_never_below_the_machines_own_noise():
    assert pool([1.0, 1.0001], -0.02, [[0.1, 0.1001]]).spread == 0.02


def test_a_lost_run_does_not_poison_the_spread():
    assert pool([1.0, 1.1], 0.0, [[0.1, math.nan], [0.0, 0.1]]).freedom == 2


def test_a_visibly_noisier_arm_is_judged_with_its_own_spread():
    noise = Noise(spread=0.01, freedom=20, repeat=0.0)
    wild = [0.1, -0.1, 0.12, -0.09]
    assert noise.spread_of(wild) == Spread(pytest.approx(np.std(wild, ddof=1)), 3, True)
    assert noise.spread_of([0.01, -0.005, 0.012]) == Spread(0.01, 20, False)
    assert noise.spread_of([0.5]) == Spread(0.01, 20, False)


def test_the_smallest_gain_is_seen_as_often_as_it_says():
    noise, pairs = Noise(0.01, 20, 0.0), 4
    gain = noise.smallest_gain(pairs)
    bound = stats.norm.ppf(0.95) * 0.01 / math.sqrt(pairs)
    assert stats.norm(gain, 0.01 / math.sqrt(pairs)).sf(bound) == pytest.approx(0.8)


def test_the_p_of_a_harm_is_scipys_one_sided_t():
    harms = [0.1, 0.2, -0.05, 0.3]
    assert harm_p(harms) == stats.ttest_1samp(harms, 0.0, alternative="greater").pvalue
    assert harm_p([0.3]) == 1.0
    assert (harm_p([0.2, 0.2]), harm_p([0.0, 0.0])) == (0.0, 1.0)


def test_changes_are_weighed_together():
    rows = {"good": [0.1, 0.11, 0.12], "idle": [0.01, -0.01, 0.0], "gone": [math.nan, math.nan]}
    weighing = Weighing(list(rows), 1, 0.05, Discoveries())
    weighing.look(rows)
    good, idle, gone = weighing.end()
    assert (good.found, idle.found, gone.found) == (True, False, False)
    assert good.low < 0.11 < good.high
    assert gone.pairs == 0
    assert gone.low == -math.inf


@pytest.mark.parametrize(
    ("seeds", "looks"),
    [(3, [3]), (4, [4]), (5, [3, 5]), (9, [3, 9]), (10, [3, 6, 10]), (30, [3, 6, 12, 30])],
)
def test_a_reckoning_looks_after_three_seeds_six_twelve_and_all(seeds, looks):
    assert looks_of(seeds) == looks


def weighed(rng, harm: float, seeds: int = 12, changes: int = 1) -> tuple[list, int]:
    """Effects of a reckoning by itself at alpha = 0.1, and the seeds of the arms without."""
    looks, discoveries = looks_of(seeds), Discoveries(0.1 / gamma(1), "fwer")
    rows = {f"i{k}": rng.normal(harm, 1, seeds) for k in range(changes)}
    weighing, spent = Weighing(list(rows), len(looks), 2.0, discoveries), 0
    before = 0
    for look in looks:
        spent += len(weighing.open) * (look - before)
        before = look
        weighing.look({c: rows[c][:look] for c in weighing.open})
    return weighing.end(), spent


def test_looking_several_times_keeps_the_promise():
    rng = np.random.default_rng(1)
    false = sum(weighed(rng, 0.0)[0][0].found for _ in range(1500))
    assert 0 < false <= 1500 * 0.1 + 3 * math.sqrt(1500 * 0.09)


def test_looking_three_times_without_paying_for_it_would_not():
    rng, false = np.random.default_rng(1), 0
    for _ in range(1500):
        row = rng.normal(0, 1, 12)
        false += any(harm_p(row[:look]) <= 0.1 for look in looks_of(12))
    assert false > 1500 * 0.1 + 3 * math.sqrt(1500 * 0.09)


def test_what_is_decided_costs_no_more_seeds():
    rng = np.random.default_rng(2)
    effects, spent = weighed(rng, 9.0, changes=4)
    assert all(e.found for e in effects)
    assert spent == 4 * 3
    effects, spent = weighed(rng, -9.0, changes=4)
    assert not any(e.found for e in effects)
    assert spent == 4 * 3


def test_what_would_be_found_is_what_is_found():
    ours = Discoveries()
    for batch in batches(3):
        assert ours.would_find(batch) == ours.test(batch)


def test_the_correlation_of_pairs_and_what_a_broken_one_costs():
    noise, rng = Noise(0.1, 20, 0.0), np.random.default_rng(0)
    a, b = rng.normal(size=(2, 50))
    found = pairing(list(a), list(b), noise)
    assert found["correlation"] == pytest.approx(stats.pearsonr(a, b).statistic)
    assert found["seeds_factor"] == pytest.approx(np.var(a - b, ddof=1) / 0.01)
    assert pairing([1, 2, 3], [1, math.nan, 3], noise) == {
        "correlation": None,
        "seeds_factor": None,
    }


def test_seeds_follow_from_the_power_wanted():
    needed = seeds_for(0.003, 0.003, 0.05)
    power = stats.nct.sf(stats.t.ppf(0.95, needed - 1), needed - 1, math.sqrt(needed))
    less = stats.nct.sf(stats.t.ppf(0.95, needed - 2), needed - 2, math.sqrt(needed - 1))
    assert less < 0.8 <= power
    assert seeds_for(0.003, 0.0, 0.05) == FEWEST_SEEDS
    assert seeds_for(0.003, 1.0, 0.05) == MOST_SEEDS
