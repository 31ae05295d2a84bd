"""Crossed designs of two axes or more: their effects against statsmodels, what a part tells."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml

from altgrad.compare.conclusion import judge_all
from altgrad.compare.designs import DESIGNS, cells_of
from altgrad.compare.designs.fraction import aliases, generators, products
from altgrad.compare.question import Question, read_question
from altgrad.compare.record import comparison_folder
from altgrad.compare.report.crossed import outcome_by_seed
from altgrad.compare.report.crossed_charts import heat_table, interaction_plots
from altgrad.compare.report.html import page
from altgrad.compare.report.markdown import markdown
from altgrad.compare.statistics import paired

THREE = {"format": ["bf16", "e4m3", "e5m2"], "storage": ["master", "grid"], "optim": ["a", "m"]}
TWOS = {"a": ["0", "1"], "b": ["0", "1"], "c": ["0", "1"]}


def crossed(axes=THREE, **more) -> Question:
    return Question(axes=axes, design="crossed", **more).complete()


def made_up(question: Question, seeds: int = 6) -> dict[str, np.ndarray]:
    """Outcomes with effects of every order, and a part that every arm of a seed shares."""
    rng = np.random.default_rng(3)
    shared = rng.normal(0, 0.3, seeds)
    return {
        arm: 2 + shared + 0.1 * rng.normal() + rng.normal(0, 0.05, seeds) for arm in question.arms
    }


def as_table(question: Question, outcomes) -> pd.DataFrame:
    return pd.DataFrame(
        {**own, "seed": seed, "y": y}
        for arm, own in cells_of(question).items()
        for seed, y in enumerate(outcomes[arm])
    )


def test_every_combination_is_an_arm_and_the_first_of_each_is_the_control():
    question = crossed()
    assert len(question.arms) == 12
    assert question.control == "bf16 + master + a"
    assert question.arms["e5m2 + grid + m"] == ["format=e5m2", "storage=grid", "optim=m"]


def test_main_effects_and_interactions_are_one_family():
    question = crossed(interactions=3)
    outcomes = made_up(question)
    found = judge_all(question, outcomes)[1]
    orders = [c.name.count(" with ") for c in found]
    assert [orders.count(order) for order in range(3)] == [4, 5, 2]
    assert [c.p_corrected for c in found] == paired.holm([c.p for c in found])


@pytest.mark.parametrize("axes", [TWOS, THREE], ids=["2x2x2", "3x2x2"])
def test_effects_are_those_of_statsmodels_least_squares(axes):
    """Difference coding against the first level, cells equally many: coefficients of OLS with the
    seeds as blocks."""
    import statsmodels.formula.api as smf

    question = crossed(axes, interactions=3)
    outcomes = made_up(question)
    coded = as_table(question, outcomes)
    for axis, values in axes.items():
        # A contrast of means over a balanced axis is the coefficient of its centred indicator.
        for value in values[1:]:
            coded[f"{axis}_{value}"] = (coded[axis] == value) - 1 / len(values)
    terms = [
        ":".join(f"{axis}_{value}" for axis, value in zip(chosen, levels, strict=True))
        for order in (1, 2, 3)
        for chosen in itertools.combinations(axes, order)
        for levels in itertools.product(*(axes[a][1:] for a in chosen))
    ]
    fit = smf.ols(f"y ~ C(seed) + {' + '.join(terms)}", coded).fit()
    found = judge_all(question, outcomes)[1]
    assert [c.mean for c in found] == pytest.approx([fit.params[t] for t in terms], abs=1e-12)


def test_p_values_are_those_of_a_repeated_measures_anova():
    """With two values on every axis each effect has its own error, seed by seed: F = t²."""
    from statsmodels.stats.anova import AnovaRM

    question = crossed(TWOS, interactions=3)
    outcomes = made_up(question)
    table = AnovaRM(as_table(question, outcomes), "y", "seed", within=list(TWOS)).fit().anova_table
    found = judge_all(question, outcomes)[1]
    assert [c.p for c in found] == pytest.approx(
        [table.loc[name, "Pr > F"] for name in ("a", "b", "c", "a:b", "a:c", "b:c", "a:b:c")]
    )


def test_two_axes_have_the_difference_of_the_differences():
    question = crossed({"optim": ["a", "m"], "format": ["x", "y"]})
    *_, both = DESIGNS["crossed"].contrasts(question)
    assert both.weights == {"a + x": 1.0, "a + y": -1.0, "m + x": -1.0, "m + y": 1.0}
    assert "averaged" not in both.unknown


def test_a_sentence_says_over_what_an_effect_is_averaged():
    question = crossed()
    outcomes = dict.fromkeys(question.arms, np.array([2.0, 2.1, 2.05]))
    tilt = np.array([-0.5, -0.52, -0.51])
    outcomes |= {arm: outcomes[arm] + tilt for arm in question.arms if arm.endswith("+ m")}
    found = {c.name: c for c in judge_all(question, outcomes)[1]}
    assert found["optim=m"].words == (
        "optim=m is better than optim=a, averaged over format and storage, by 0.5100"
    )
    assert found["storage=grid with optim=m"].verdict == "no interaction"


# -- a part of the combinations -------------------------------------------------------------------


def test_half_of_eight_has_every_pair_of_values_equally_often():
    question = crossed(TWOS, fraction="1/2")
    cells = cells_of(question)
    assert len(cells) == 4
    assert question.control == "0 + 0 + 0"
    for one, other in itertools.combinations(TWOS, 2):
        pairs = [(own[one], own[other]) for own in cells.values()]
        assert sorted(pairs) == sorted(itertools.product("01", repeat=2))


@pytest.mark.parametrize(
    ("k", "p", "resolution"),
    [
        (3, 1, 3),
        (4, 1, 4),
        (5, 1, 5),
        (5, 2, 3),
        (6, 2, 4),
        (7, 3, 4),
        (7, 4, 3),
        (8, 4, 4),
        (8, 2, 5),
    ],
)
def test_a_part_has_the_resolution_of_the_tables(k, p, resolution):
    """Box, Hunter and Hunter, Statistics for Experimenters (2005), table 6.22."""
    assert min(len(word) for word in products(generators(k, p)) if word) == resolution


def test_a_part_says_what_it_cannot_tell_apart():
    planned = DESIGNS["crossed"].contrasts(crossed(TWOS, fraction="1/2"))
    assert [c.name for c in planned] == ["a=1", "b=1", "c=1"]
    assert "(or it is b=1 with c=1: this fraction cannot tell)" in planned[0].unknown


def test_what_is_called_an_alias_has_the_same_weights():
    axes = {name: ["0", "1"] for name in "abcde"}
    question = crossed(axes, fraction="1/4", interactions=5)
    cells = cells_of(question)
    signs = {arm: [1 if own[a] == "1" else -1 for a in axes] for arm, own in cells.items()}

    def column(effect):
        return np.array([np.prod([own[i] for i in effect]) for own in signs.values()])

    words = generators(5, 2)
    for size in (1, 2, 3):
        for effect in map(frozenset, itertools.combinations(range(5), size)):
            for other in aliases(effect, words):
                assert abs(column(effect) @ column(other)) == len(cells)


def test_effects_of_a_part_are_those_that_made_the_outcomes():
    axes = {name: ["0", "1"] for name in "abcde"}
    question = crossed(axes, fraction="1/2")
    effects = {"a": -0.4, "d": 0.25}
    outcomes = {
        arm: np.full(3, 2.0 + sum(size for a, size in effects.items() if own[a] == "1"))
        + np.array([0.0, 0.1, 0.3])
        for arm, own in cells_of(question).items()
    }
    found = {c.name: c.mean for c in judge_all(question, outcomes)[1]}
    assert len(outcomes) == 16
    expected = {f"{a}=1": effects.get(a, 0.0) for a in axes}
    assert {n: found[n] for n in expected} == pytest.approx(expected, abs=1e-12)
    assert [found[n] for n in found if n not in expected] == pytest.approx([0.0] * 10, abs=1e-12)


@pytest.mark.parametrize(
    ("axes", "more", "expected"),
    [
        (THREE, {"fraction": "1/2"}, "two values on every axis; format has more"),
        (TWOS, {"fraction": "1/3"}, "write 1/2, 1/4 or 1/8"),
        (TWOS, {"fraction": "1/4"}, "too few arms"),
        (TWOS, {"interactions": 0}, "interactions=0"),
        (TWOS, {"fraction": "1/2", "design": "one"}, "more than one thing"),
    ],
)
def test_an_impossible_part_is_refused(axes, more, expected):
    with pytest.raises(ValueError, match=expected):
        Question(axes=axes, **{"design": "crossed", **more}).complete()


# -- contrasts by name ----------------------------------------------------------------------------


def test_a_named_contrast_may_take_all_arms_with_a_value():
    asked = (
        "{eight bits: {e4m3: 0.5, e5m2: 0.5, bf16: -1}, "
        "on a grid: {storage=grid + m: 1, storage=grid + a: -1}}"
    )
    axes = [f"{name}={','.join(values)}" for name, values in THREE.items()]
    question = read_question([*axes, "design=crossed", f"contrasts={asked}"]).complete()
    assert question.contrasts == yaml.safe_load(asked)
    planned = {c.name: c for c in DESIGNS["crossed"].contrasts(question) if c.kind == "named"}
    bits, grid = planned["eight bits"].weights, planned["on a grid"].weights
    assert bits == {arm: -1 / 4 if arm.startswith("bf16") else 1 / 8 for arm in question.arms}
    assert sum(w for w in grid.values() if w > 0) == pytest.approx(1)
    assert {arm for arm, w in grid.items() if w} == {a for a in question.arms if "grid" in a}


@pytest.mark.parametrize(
    ("sides", "expected"),
    [({"e3m4": 1, "bf16": -1}, "'e3m4' is no arm.*bf16, master, a"), ({"a": 1, "m": 1}, "add up")],
)
def test_a_contrast_of_what_is_not_there_is_refused(sides, expected):
    with pytest.raises(ValueError, match=expected):
        crossed(contrasts={"mine": sides})


def test_a_question_keeps_the_folder_it_had_before_parts_could_be_run(tmp_path):
    folder = "0-0-0-1-1-0-1-1-e4cf15"
    question = crossed({"a": ["0", "1"], "b": ["0", "1"]})
    assert comparison_folder(question, tmp_path).name == folder
    assert comparison_folder(replace(question, interactions=1), tmp_path).name != folder


# -- the report -----------------------------------------------------------------------------------


def test_the_report_has_every_combination_effects_and_two_axes_at_a_time(finished):
    found = finished(
        "optim.lr=0.001,0.03 data.batch_size=2,4 optim.grad_clip=0.5,1.0 design=crossed seeds=2"
    )
    text, html = markdown(found), page(found)
    assert "| optim.lr | data.batch_size | grad_clip=0.5 | grad_clip=1.0 |" in text
    assert text.count(" * |") == 1
    assert "| main effect | optim.lr=0.03 |" in text
    assert "| interaction | optim.lr=0.03 with data.batch_size=4 |" in text
    for title in ("Effects", "Every combination", "Interactions", "Means"):
        assert f"<h2>{title}</h2>" in html
    assert len(interaction_plots(found)) == 3
    (cell,) = (r for r in heat_table(found)["data"]["values"] if r["control"])
    mean = np.mean([o.outcome for o in found.outcomes[found.control]])
    assert cell["outcome"] == pytest.approx(mean)
    assert found.to_dict()["factors"][found.control] == {
        "optim.lr": "0.001",
        "data.batch_size": "2",
        "optim.grad_clip": "0.5",
    }


def test_a_seed_that_one_arm_lost_is_left_out_of_a_mean_over_arms(finished):
    found = finished("optim.lr=0.001,0.03 data.batch_size=2,4 design=crossed seeds=2")
    lost, *others = found.outcomes[found.control]
    outcomes = {**found.outcomes, found.control: [replace(lost, outcome=math.nan), *others]}
    arms = list(found.outcomes)
    assert list(outcome_by_seed(replace(found, outcomes=outcomes), arms)) == [2]
