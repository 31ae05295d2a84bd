"""As you go: arms stop when they are decided or hopeless; a known spread decides sooner."""

import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import integrate, stats

from altgrad.compare import spread as spreads
from altgrad.compare.conclusion import conclude, judge_all, questions_of, rules_of
from altgrad.compare.question import KnownSpread, Question
from altgrad.compare.report.tables import seeds_table
from altgrad.compare.statistics.anytime import (
    Spread,
    anytime_interval,
    anytime_p,
    bayes_factor,
    chance_to_decide,
    t_boundary,
)
from altgrad.compare.stopping import given_up, needed

RNG = np.random.default_rng(3)


def asked(**fields) -> Question:
    arms = {name: [f"optim.lr={i}"] for i, name in enumerate(("c", "clear", "hidden", "none"))}
    given = {"until_decided": True, "axis": ["optim.lr"], "delta": 0.001, **fields}
    return Question(arms=arms, **given).complete()


def outcomes(seeds: int = 6) -> dict[str, np.ndarray]:
    noise = RNG.normal(0, 0.01, (4, seeds))
    shift = {"c": 0.0, "clear": -0.5, "hidden": -0.03, "none": 0.0}
    return {n: 3 + s + e for (n, s), e in zip(shift.items(), noise, strict=True)}


def still_open(question: Question, values: dict[str, np.ndarray], most: int):
    evidence, found = judge_all(question, values)
    questions = questions_of(question, evidence, found)
    rules = rules_of(question)
    return needed(questions, values, rules, most), given_up(questions, values, rules, most)


def test_a_decided_arm_stops_and_the_control_goes_on_for_the_others():
    d = np.array([0.01, -0.03, -0.05, -0.01, -0.06, -0.04])
    values = {"c": np.zeros(6), "clear": -0.5 + d / 10, "hidden": d, "none": d}
    found, _ = still_open(asked(), values, 20)
    assert set(found) == {"c", "hidden", "none"}


def test_an_arm_that_can_hardly_be_decided_is_given_up():
    d = np.array([0.04, -0.05, 0.03, -0.04, 0.05, -0.03])
    values = {"c": np.zeros(6), "clear": -0.5 + d / 10, "hidden": d, "none": d}
    found, gone = still_open(asked(), values, 8)
    assert found == {}
    assert gone == [("hidden", 6), ("none", 6)]


def test_an_arm_that_loses_runs_is_not_given_up():
    d = np.array([0.04, -0.05, 0.03, -0.04, 0.05, math.nan])
    values = {"c": np.zeros(6), "clear": np.zeros(6) - 0.5, "hidden": d, "none": d}
    assert set(still_open(asked(), values, 8)[0]) == {"c", "hidden", "none"}


def test_an_arm_that_stopped_keeps_the_verdict_of_its_own_seeds():
    values = outcomes(8)
    short = {**values, "clear": values["clear"][:5]}
    (cut,) = (e for e in judge_all(asked(), short)[0] if e.arm == "clear")
    whole = {name: row[:5] for name, row in values.items()}
    (alone,) = (e for e in judge_all(asked(), whole)[0] if e.arm == "clear")
    assert cut == alone
    assert cut.runs == 5


def test_the_chance_to_decide_is_that_of_simulated_comparisons():
    d, most, alpha, delta = np.array([0.4, 1.1, -0.2, 0.9, 0.6]), 12, 0.05, 0.9
    said = chance_to_decide(d, most, alpha, delta)
    rng = np.random.default_rng(0)
    n, more, sd = len(d), most - len(d), d.std(ddof=1)
    mean = d.mean() + sd * math.sqrt(1 / n + 1 / more) * rng.standard_t(n - 1, 200_000)
    last = (n * d.mean() + more * mean) / most
    half = t_boundary(most, alpha) * sd / math.sqrt(most)
    decided = (abs(last) > half) | (abs(last) + half < delta)
    assert said == pytest.approx(decided.mean(), abs=0.005)


# -- a known spread -------------------------------------------------------------------------------


def test_the_factor_with_a_known_spread_is_the_integral_it_stands_for():
    """Right-Haar prior on sigma over earlier squares and new pairs together, N(0, tau² sigma²) on
    the mean: integrated numerically."""
    d, s0, nu, tau = np.array([0.3, 1.0, 0.7]), 0.8, 5, 2.0
    n = len(d)

    def likelihood(variance_of_mean):
        def at(sigma):
            covariance = sigma**2 * (np.eye(n) + variance_of_mean * np.ones((n, n)))
            new = stats.multivariate_normal.pdf(d, np.zeros(n), covariance)
            old = stats.chi2.pdf(nu * s0**2 / sigma**2, nu) / sigma**2
            return new * old / sigma

        return integrate.quad(at, 1e-3, 60, limit=400, epsrel=1e-10)[0]

    expected = likelihood(tau**2) / likelihood(0.0)
    pooled = Spread(s0, nu).pooled(d)
    t = d.mean() / pooled * math.sqrt(n)
    assert bayes_factor(t, n, tau, nu) == pytest.approx(expected, rel=1e-5)
    assert anytime_p(d, tau, Spread(s0, nu)) == pytest.approx(min(1, 1 / expected), rel=1e-5)


def test_with_endless_freedom_three_pairs_need_less_than_two_standard_deviations():
    assert t_boundary(3, 0.05) / math.sqrt(3) == math.inf
    assert t_boundary(4, 0.05) / math.sqrt(4) == pytest.approx(3.607, abs=0.001)
    known_variance = math.sqrt(2 * math.log(math.sqrt(13) / 0.05) * 13 / 12 / 3)
    assert t_boundary(3, 0.05, freedom=1e7) / math.sqrt(3) == pytest.approx(known_variance)
    assert known_variance == pytest.approx(1.758, abs=0.001)


def test_few_degrees_of_freedom_are_no_plug_in():
    """A spread of four degrees of freedom, taken for the truth, errs one time in seven."""
    rng = np.random.default_rng(1)
    wrong = plugged = 0
    for _ in range(400):
        s0 = math.sqrt(rng.chisquare(4) / 4)
        d = rng.normal(0, 1, 10)
        looks = range(1, 11)
        wrong += any(anytime_p(d[:n], known=Spread(s0, 4)) < 0.05 for n in looks)
        z = [d[:n].mean() / s0 * math.sqrt(n) for n in looks]
        plugged += any(bayes_factor(t, n, freedom=1e9) > 20 for t, n in zip(z, looks, strict=True))
    assert wrong / 400 < 0.05 < plugged / 400


def test_pairs_that_are_visibly_noisier_have_the_wider_interval():
    d = np.array([0.9, -1.2, 1.4, 0.3, 2.0])
    known = Spread(0.05, 20)
    assert not known.holds(d)
    assert anytime_interval(d, known=known) == anytime_interval(d)
    assert anytime_p(d, known=known) == anytime_p(d)
    assert known.holds(d / 20)
    assert anytime_interval(d / 20, known=known).high < anytime_interval(d / 20).high


def test_arms_that_share_a_control_have_fewer_degrees_of_freedom_than_pairs():
    """Against the spread of the pooled variance itself, simulated: freedom = 2 E² / Var."""
    rng = np.random.default_rng(2)
    runs = rng.normal(0, 1, (20_000, 4, 6))
    d = runs[:, 1:] - runs[:, :1]
    pooled = d.var(axis=2, ddof=1).mean(axis=1)
    simulated = 2 * pooled.mean() ** 2 / pooled.var()
    assert spreads.freedom_of([5, 5, 5]) == pytest.approx(simulated, rel=0.04)
    assert spreads.freedom_of([5]) == 5
    value, freedom = spreads.pool([[[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]]])
    assert value == pytest.approx(1.0)
    assert freedom == pytest.approx(16 / 5)


def test_a_spread_needs_looks_and_pairs():
    known = KnownSpread("earlier", 0.01, 8.0)
    with pytest.raises(ValueError, match="seeds=auto"):
        asked(until_decided=False, spread=known)
    with pytest.raises(ValueError, match="no two pairs"):
        asked(spread=KnownSpread("earlier"))
    assert rules_of(asked(spread=known)).spread == Spread(0.01, 8.0)


# -- with runs ------------------------------------------------------------------------------------


def test_a_decided_arm_costs_nothing_more(ask, here):
    arms = {"c": ["optim.lr=0.001"], "clear": ["optim.lr=0.1"], "none": ["optim.eps=0.000000011"]}
    content = {"arms": arms, "axis": ["optim"], "until_decided": True, "max_seeds": 5}
    Path("asked.yaml").write_text(yaml.safe_dump({**content, "delta": 1e-12}))
    words = "asked.yaml max_steps=4 eval_interval=4"
    conclusion = conclude(ask(words).run())
    runs = {arm: len(row) for arm, row in conclusion.runs.items()}
    assert runs == {"c": 4, "clear": 4, "none": 3}
    assert conclusion.evidence[0].verdict == "better"
    again = conclude(ask(words).run())
    assert [e.to_dict() for e in again.evidence] == [e.to_dict() for e in conclusion.evidence]
    assert seeds_table(conclusion)[3]["none"] == ""


def test_the_spread_of_a_comparison_is_taken_and_other_sizes_are_refused(ask, here):
    folder = ask("optim.lr=0.001,0.0011 seeds=4").run()
    known = spreads.spread_of_comparison(folder)
    lost = conclude(folder).evidence[0]
    assert known.value == pytest.approx(lost.sd)
    assert known.freedom == 3
    comparison = ask("optim.eps=1e-8,1e-3 seeds=auto max_seeds=4")
    spreads.refuse_other_size(known, comparison.arms[0], {"primary": "val_loss", "last": 1})
    other = ask("optim.eps=1e-8,1e-3 max_steps=8 seeds=2").arms[0]
    with pytest.raises(ValueError, match="max_steps is 6 there and 8 here"):
        spreads.refuse_other_size(known, other, {"primary": "val_loss", "last": 1})
