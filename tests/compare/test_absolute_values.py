"""Numbers that must be right by themselves: outside oracles and hand counts, on examples that are
lopsided on purpose. Runs partly lost, higher is better, unequal spreads, other levels than 95 %.
"""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from altgrad.compare.arm import Arm
from altgrad.compare.budget import spend_equally, tokens_per_step
from altgrad.compare.conclusion import conclude, rules_of
from altgrad.compare.contrasts import Contrast, judge_contrasts, weigh_contrasts
from altgrad.compare.designs import DESIGNS
from altgrad.compare.outcomes import check_evaluations
from altgrad.compare.question import Question
from altgrad.compare.statistics import anytime, paired
from altgrad.compare.statistics.power import seeds_needed, t_power
from altgrad.compare.tuning import tune
from altgrad.compare.verdict import BETTER, EQUIVALENT, INCONCLUSIVE, WORSE, Rules, judge
from altgrad.training.evaluation import Evaluator

D = np.array([0.3, -0.1, 0.4, 0.2, 0.05, 0.6])
SEEDS = np.arange(20)
CONTROL = 2.4 + 0.03 * np.sin(1.0 + SEEDS)
JITTER = 0.001 * np.cos(3.0 * SEEDS)


def with_lost(values: np.ndarray, *seeds: int) -> np.ndarray:
    return np.where(np.isin(np.arange(len(values)), seeds), np.nan, values)


def verdict(arm, control=CONTROL, **rules):
    return judge(control, {"arm": arm}, Rules(**rules), resamples=0)[0]


# -- lost runs ------------------------------------------------------------------------------------


def test_mcnemar_is_statsmodels_where_most_seeds_agree():
    """Five seeds lost by the arm alone, one by the control alone, three by both, eleven by none."""
    contingency_tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    arm, control = np.isin(SEEDS, [0, 1, 2, 3, 4, 10, 11, 12]), np.isin(SEEDS, [5, 10, 11, 12])
    table = [[3, 5], [1, 11]]
    two_sided = contingency_tables.mcnemar(table, exact=True).pvalue
    assert paired.less_stable_p(arm, control) == pytest.approx(two_sided / 2)
    assert paired.less_stable_p(arm, control) == pytest.approx(7 / 64)
    assert paired.lost_alone(arm, control) == (5, 1)


def test_an_arm_that_lost_a_run_alone_is_not_equivalent_however_equal_the_others():
    assert verdict(CONTROL + JITTER).verdict == EQUIVALENT
    evidence = verdict(with_lost(CONTROL + JITTER, 7))
    assert evidence.p_equivalent < 1e-6
    assert evidence.verdict == INCONCLUSIVE
    assert "1 of 20 runs lost, control 0 of 20" in evidence.words


def test_an_arm_that_lost_the_runs_its_control_lost_too_may_be_equivalent():
    evidence = verdict(with_lost(CONTROL + JITTER, 7), with_lost(CONTROL, 7))
    assert (evidence.verdict, evidence.pairs) == (EQUIVALENT, 19)
    assert (evidence.lost, evidence.lost_control) == (1, 1)


def test_lost_runs_of_the_control_are_counted_as_the_controls():
    evidence = verdict(CONTROL - 0.1 + JITTER, with_lost(CONTROL, 2, 5, 9))
    assert (evidence.verdict, evidence.lost, evidence.lost_control) == (BETTER, 0, 3)
    assert evidence.pairs == 17
    assert evidence.mean == pytest.approx(np.delete(JITTER - 0.1, [2, 5, 9]).mean())


def test_worse_by_lost_runs_needs_evidence():
    """Four seeds of twenty: p = 1/16. Five: 1/32."""
    equal = CONTROL + JITTER
    assert verdict(with_lost(equal, 0, 1, 2, 3)).verdict == INCONCLUSIVE
    assert verdict(with_lost(equal, 0, 1, 2, 3, 4)).verdict == WORSE


# -- levels, sides, several arms ------------------------------------------------------------------


def test_the_interval_has_the_level_that_alpha_asks_for():
    low, high = scipy_stats.ttest_1samp(D, 0.0).confidence_interval(0.8)
    evidence = judge(np.zeros(6), {"arm": D}, Rules(alpha=0.2))[0]
    assert (evidence.low, evidence.high) == pytest.approx((low, high))


def test_the_bootstrap_is_scipys_at_the_level_asked_for():
    made = scipy_stats.bootstrap(
        (D,), np.mean, confidence_level=0.8, n_resamples=999, rng=np.random.default_rng(0)
    )
    ours = paired.bca_interval(D, 0.8, resamples=999)
    assert (ours.low, ours.high) == pytest.approx(tuple(made.confidence_interval))


def test_wilson_is_statsmodels():
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    theirs = proportion.proportion_confint(3, 11, alpha=0.1, method="wilson")
    ours = paired.wilson(3, 11, 0.9)
    assert (ours.low, ours.high) == pytest.approx(theirs)


def test_the_effect_is_in_units_of_both_arms_noise():
    """Standard deviations 1 and 7: the noise is 5."""
    assert paired.effect_in_noise([1.0, 2.0, 3.0], [3.0, 10.0, 17.0]) == pytest.approx(8 / 5)


def test_equivalence_lies_on_both_sides():
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    for d in (D, -D):
        theirs = weightstats.DescrStatsW(d).ttost_mean(-0.3, 0.3)[0]
        assert paired.tost_p(d, 0.3) == pytest.approx(theirs)


def test_direction_follows_higher_is_better():
    for higher, lower_arm, higher_arm in ((False, BETTER, WORSE), (True, WORSE, BETTER)):
        how = {"higher_is_better": higher, "delta": 1e-6}
        assert verdict(CONTROL - 0.1 + JITTER, **how).verdict == lower_arm
        assert verdict(CONTROL + 0.1 + JITTER, **how).verdict == higher_arm


def test_several_arms_are_corrected_by_holm_once_and_by_bonferroni_as_you_go():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    rng = np.random.default_rng(5)
    shifts = {"a": 0.02, "b": 0.012, "c": 0.002}
    arms = {n: CONTROL + s + rng.normal(0, 0.015, 20) for n, s in shifts.items()}
    for peeking, method in ((False, "holm"), (True, "bonferroni")):
        evidence = judge(CONTROL, arms, Rules(anytime=peeking), resamples=0)
        raw = [e.p for e in evidence]
        theirs = multitest.multipletests(raw, method=method)[1]
        assert [e.p_corrected for e in evidence] == pytest.approx(theirs)
        assert len({round(p, 6) for p in raw}) == 3


def test_without_correction_every_p_stays_as_you_go_too():
    arms = {"a": CONTROL + 0.01 + JITTER, "b": CONTROL + 7 * JITTER}
    for peeking in (False, True):
        rules = Rules(correction="none", anytime=peeking)
        for e in judge(CONTROL, arms, rules, resamples=0):
            assert (e.p_corrected, e.p_equivalent_corrected) == (e.p, e.p_equivalent)


def test_the_advice_leaves_out_the_seeds_that_are_there():
    d = 0.002 + 9 * JITTER
    evidence = judge(np.zeros(20), {"arm": d}, Rules(delta=1e-9), resamples=99)[0]
    needed = seeds_needed(float(d.mean()), float(d.std(ddof=1)), 1e-9)
    assert evidence.verdict == INCONCLUSIVE
    assert evidence.seeds_more == max(1, needed - 20)
    assert needed > 21


def test_the_shorter_way_to_a_decision_is_planned():
    """Half of delta away: equivalence would take long, the difference is seen soon; and back."""
    near = seeds_needed(0.1, 1.0, 0.9)
    assert t_power(np.array([near]), 0.1)[0] < 0.2
    assert seeds_needed(0.8, 1.0, 0.9) < seeds_needed(0.5, 1.0, 1e-9)


# -- as you go ------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("tau", [0.5, 2.0])
def test_the_edges_of_the_sequence_are_where_the_bayes_factor_reaches_one_over_alpha(alpha, tau):
    d = np.concatenate([D, 0.9 * D + 0.1, D - 0.05])
    interval = anytime.anytime_interval(d, alpha, tau)
    for edge in (interval.low, interval.high):
        t = paired.t_value(float(d.mean()) - edge, float(d.std(ddof=1)), len(d))
        assert anytime.bayes_factor(t, len(d), tau) == pytest.approx(1 / alpha)


def test_as_you_go_every_arm_gets_its_share_of_alpha():
    arms = dict.fromkeys("abcd", CONTROL + 0.01 + JITTER)
    alone = judge(CONTROL, {"a": arms["a"]}, Rules(anytime=True, alpha=0.0125), resamples=0)[0]
    among = judge(CONTROL, arms, Rules(anytime=True, alpha=0.05), resamples=0)[0]
    assert (among.low, among.high) == pytest.approx((alone.low, alone.high))


def test_as_you_go_a_mean_outside_delta_is_never_equivalent():
    d = np.full(20, 0.03) + JITTER
    evidence = judge(np.zeros(20), {"arm": d}, Rules(anytime=True, delta=0.01), resamples=0)[0]
    assert (evidence.p_equivalent, evidence.verdict) == (1.0, WORSE)


def test_a_p_as_you_go_is_at_most_one():
    assert anytime.anytime_p([0.1, -0.1, 0.05, -0.06]) == 1.0


# -- crossed designs ------------------------------------------------------------------------------


def crossed(both: np.ndarray, **rules) -> Contrast:
    question = Question(axes={"a": ["1", "2"], "b": ["x", "y"]}, design="crossed").complete()
    cells = dict(zip(question.arms, [CONTROL, CONTROL - 0.1, CONTROL - 0.05, both], strict=True))
    planned = [c for c in DESIGNS["crossed"].contrasts(question) if c.kind == "interaction"]
    return judge_contrasts(weigh_contrasts(planned, cells, Rules(**rules), 1), Rules(**rules))[0]


def test_an_interaction_leaves_lost_cells_out():
    contrast = crossed(with_lost(CONTROL - 0.35 + JITTER, 3, 8))
    expected = np.delete(JITTER - 0.2, [3, 8])
    assert (contrast.pairs, contrast.verdict) == (18, "interaction")
    assert contrast.mean == pytest.approx(expected.mean())


def test_an_interaction_within_delta_is_none_although_it_is_shown():
    contrast = crossed(CONTROL - 0.154 + JITTER)
    assert contrast.p < 0.05
    assert contrast.verdict == "no interaction"


@pytest.mark.parametrize("higher", [False, True])
def test_who_gains_by_an_interaction_follows_higher_is_better(higher):
    lowered = crossed(CONTROL - 0.35 + JITTER, higher_is_better=higher).words
    raised = crossed(CONTROL + 0.05 + JITTER, higher_is_better=higher).words
    assert ("gains more" in raised, "gains more" in lowered) == (higher, not higher)


# -- tuning ---------------------------------------------------------------------------------------

SCORES = {0.001: [0.2, 0.4], 0.01: [0.7, 0.9], 0.1: [0.6, 0.1], 0.3: [0.9, math.nan]}


def tuned(compose, **changes):
    how = {"setting": "optim.lr", "grid": list(SCORES), "seeds": 2, **changes.pop("tuning", {})}
    question = Question(arms={"a": [], "b": []}, axis=["optim"], **changes)
    for name, value in how.items():
        setattr(question.tuning, name, value)
    arms = [Arm("a", (), compose([]))]
    (chosen,), (found,) = tune(arms, question, lambda points: [SCORES[v] for _, v in points])
    assert chosen.config.optim.lr == found.value
    return found


@pytest.mark.parametrize(("higher", "best"), [(False, 0.001), (True, 0.01)])
def test_tuning_takes_the_best_mean_in_the_direction_asked_for(compose, higher, best):
    found = tuned(compose, higher_is_better=higher)
    assert found.value == best
    assert found.edge == ("" if higher else "lowest")


def test_a_lost_run_loses_its_value_whatever_the_other_seeds_say(compose):
    assert tuned(compose, higher_is_better=True).value != 0.3


def test_a_grid_grows_outwards_at_the_ratio_of_its_edge(compose):
    seen = []

    def score(points):
        seen.extend(value for _, value in points)
        return [[abs(math.log10(value) + 3.9)] for _, value in points]

    question = Question(arms={"a": [], "b": []}, axis=["optim"])
    question.tuning.setting, question.tuning.extend = "optim.lr", 2
    question.tuning.grid = [0.01, 0.03]
    tune([Arm("a", (), compose([]))], question, score)
    assert seen == pytest.approx([0.01, 0.03, 0.01 / 3, 0.01 / 9])


def test_factors_multiply_the_arms_own_value(compose):
    seen = []

    def score(points):
        seen.extend(value for _, value in points)
        return [[1.0] for _ in points]

    question = Question(arms={"a": [], "b": []}, axis=["optim"])
    question.tuning.setting, question.tuning.factors = "optim.lr", [0.5, 1.0, 4.0]
    tune([Arm("a", (), compose(["optim.lr=0.02"]))], question, score)
    assert seen == pytest.approx([0.01, 0.02, 0.08])


@pytest.mark.parametrize("higher", [False, True])
def test_optuna_searches_in_the_direction_asked_for(compose, higher):
    """After its ten random trials it stays in the better half of the range."""
    pytest.importorskip("optuna")
    tried = []

    def score(points):
        tried.extend(value for _, value in points)
        return [[math.log(value)] for _, value in points]

    question = Question(arms={"a": [], "b": []}, axis=["optim"], higher_is_better=higher)
    question.tuning.setting, question.tuning.search = "optim.lr", "optuna"
    question.tuning.grid, question.tuning.trials = [0.001, 0.1], 25
    _, (found,) = tune([Arm("a", (), compose([]))], question, score)
    assert found.value == (max if higher else min)(tried)
    assert np.mean([(value > 0.01) == higher for value in tried[10:]]) > 0.8


# -- outcomes and budgets -------------------------------------------------------------------------


@pytest.fixture
def evaluations(monkeypatch):
    """`evaluations(3.0, 1.0, 2.0)`: what the evaluations of every run give, over and over."""

    def script(*values: float) -> None:
        count = iter(range(10**6))
        monkeypatch.setattr(Evaluator, "loss", lambda _: values[next(count) % len(values)])

    return script


def outcome(ask, words: str):
    folder = ask(f"optim.lr=0.01,0.1 seeds=1 {words}").run()
    return conclude(folder).outcomes["lr=0.01"][0]


def test_the_outcome_is_the_last_evaluation_not_the_best(ask, here, evaluations):
    evaluations(3.0, 1.0, 2.0)
    assert outcome(ask, "max_steps=9").outcome == 2.0


def test_the_outcome_is_the_mean_of_the_last_evaluations_only(ask, here, evaluations):
    evaluations(3.0, 1.0, 2.0)
    assert outcome(ask, "max_steps=9 last=2").outcome == 1.5


def test_a_run_that_ends_with_nan_is_lost(ask, here, evaluations):
    evaluations(1.0, 2.0, math.nan)
    found = outcome(ask, "max_steps=9")
    assert found.lost
    assert found.state == "diverged"


@pytest.mark.parametrize(("steps", "last"), [(6, 2), (7, 3), (9, 3)])
def test_the_evaluation_at_the_last_step_counts(steps, last):
    settings = {"eval_interval": 3, "max_steps": steps}
    check_evaluations(settings, Question(last=last), "arm")
    with pytest.raises(ValueError, match=f"makes {last} evaluations"):
        check_evaluations(settings, Question(last=last + 1), "arm")


def test_every_rule_of_the_question_reaches_the_judge():
    question = Question(
        delta=0.3, alpha=0.2, correction="none", higher_is_better=True, until_decided=True
    )
    assert rules_of(question) == Rules(0.3, 0.2, "none", higher_is_better=True, anytime=True)


def test_tokens_of_a_step_count_batch_accumulation_and_block(compose):
    words = ["data.batch_size=3", "accumulation=5", "model.block_size=7"]
    config = compose(words)
    assert tokens_per_step(config) == 3 * 5 * 7
    config.devices = 2
    assert tokens_per_step(config) == 3 * 5 * 7 * 2


def test_the_controls_steps_are_the_budget_and_parts_of_a_step_are_rounded(compose):
    arms = [
        Arm("control", (), compose(["data.batch_size=3", "max_steps=11"])),
        Arm("arm", (), compose(["data.batch_size=4", "max_steps=99"])),
    ]
    fitted, spent = spend_equally(arms, "tokens", lambda arm: 1.0)
    assert [a.config.max_steps for a in fitted] == [11, 8]  # 8.25
    assert [s.steps for s in spent] == [11, 8]
    arms[1] = Arm("arm", (), compose(["data.batch_size=2", "max_steps=99"]))
    assert spend_equally(arms, "tokens", lambda arm: 1.0)[0][1].config.max_steps == 16  # 16.5: even
