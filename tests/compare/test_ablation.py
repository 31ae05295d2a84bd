"""Two configurations: which of their differences do something, alone and in company."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats
from statsmodels.stats.multitest import multipletests

from altgrad.compare.between import plan_ablation, word_of, words_of
from altgrad.compare.conclusion import conclude, judge_all
from altgrad.compare.dependence import moved_together, units
from altgrad.compare.designs.ablation import arms_of
from altgrad.compare.question import Question, read_question
from altgrad.compare.report.contributions import contributions_table
from altgrad.compare.report.markdown import markdown
from altgrad.compare.report.words import headline
from altgrad.compare.same_arms import void
from altgrad.runs.folder import find_runs


@pytest.fixture
def files():
    """`files(a, b)`: two files of settings, as the words of a question."""

    def write(a: dict, b: dict) -> str:
        for name, content in (("A", a), ("B", b)):
            Path(f"{name}.yaml").write_text(yaml.safe_dump(content))
        return "A.yaml B.yaml design=ablation"

    return write


@pytest.fixture
def planned(files, compose):
    """The question about two files of settings, with its arms."""

    def plan(a: dict, b: dict, words: str = "") -> Question:
        typed = f"{files(a, b)} {words}".split()
        return plan_ablation(read_question(typed), compose, "runs").complete()

    return plan


THREE = (
    {"optim": {"lr": 0.01}},
    {"optim": {"lr": 0.1, "weight_decay": 0.3}, "data.batch_size": 4},
)


def test_every_difference_is_a_change_alone_and_taken_out(planned):
    question = planned(*THREE)
    assert list(question.arms) == [
        *("A", "B", "only lr", "only weight_decay", "only batch_size"),
        *("without lr", "without weight_decay", "without batch_size"),
    ]
    assert question.base == ["optim.lr=0.01"]
    assert question.arms["only lr"] == ["optim.lr=0.1"]
    assert question.arms["without lr"] == ["optim.weight_decay=0.3", "data.batch_size=4"]
    assert question.control == "A"
    assert set(question.axis) == {"optim.lr", "optim.weight_decay", "data.batch_size"}


def test_without_one_of_two_changes_is_only_the_other():
    assert list(arms_of("A", "B", {"x": ["x=1"], "y": ["y=1"]})) == ["A", "B", "only x", "only y"]
    assert list(arms_of("A", "B", {"x": ["x=1"]})) == ["A", "B"]


def test_settings_of_which_one_would_be_refused_are_one_change(planned):
    a = {"model": {"n_head": 1, "n_embd": 8}}
    question = planned(a, {"model": {"n_head": 3, "n_embd": 12}, "optim.lr": 0.1})
    assert question.changes == {
        "lr": ["optim.lr=0.1"],
        "n_head, n_embd": ["model.n_head=3", "model.n_embd=12"],
    }
    assert "n_embd" in question.together["n_head, n_embd"]


def test_a_setting_that_nothing_would_read_goes_with_what_reads_it(planned):
    b = {"optim": {"name": "muon", "momentum": 0.8, "lr": 0.02}}
    question = planned({"optim": {"lr": 0.01}}, b)
    (unit,) = (c for c in question.changes if "momentum" in c)
    assert set(question.changes) == {unit, "lr"}
    assert "optim.name=muon" in question.changes[unit]
    assert "is read with optim.name=" in question.together[unit]


def test_two_files_that_say_the_same_are_refused(planned):
    with pytest.raises(ValueError, match="A and B do not differ in anything"):
        planned({"optim": {"lr": 0.01}}, {"optim.lr": 0.01})


def test_an_experiment_file_is_no_configuration(planned):
    with pytest.raises(ValueError, match=r"B\.yaml is an experiment file"):
        planned({"optim": {"lr": 0.01}}, {"arms": {}})


def test_two_files_need_the_design(files):
    with pytest.raises(ValueError, match="design=ablation"):
        read_question(files(*THREE).split()[:2])


def test_words_typed_beside_the_files_are_everybodys(planned):
    question = planned(*THREE, "optim.weight_decay=0.2 seeds=2")
    assert list(question.changes) == ["lr", "batch_size"]
    assert "optim.weight_decay=0.2" in question.base


def test_nested_names_dots_and_presets_are_words():
    content = {"optim": "muon", "model": {"n_layer": 2}, "optim.betas": [0.9, 0.95], "lr": None}
    assert words_of(content) == [
        *("optim=muon", "model.n_layer=2", "optim.betas=[0.9,0.95]", "optim.lr=null"),
    ]
    assert word_of("sample_prompts", ["a, b", "c"]) == 'sample_prompts=["a, b",c]'
    assert word_of("compile", False) == "compile=false"


def test_a_group_that_moves_is_the_smallest_found():
    works = {frozenset("ac"), frozenset("abc")}
    assert moved_together("a", "bc", lambda g: frozenset(g) in works) == ["a", "c"]
    assert moved_together("a", "bcd", lambda g: {"a", "b", "d"} <= set(g)) == ["a", "b", "d"]
    assert moved_together("a", "bc", lambda g: False) is None


def test_groups_that_share_a_change_are_one_unit():
    assert units([["a"], ["c", "b"], ["b", "e"]], "abcde") == [["a"], ["b", "c", "e"], ["d"]]


# -- what is judged -------------------------------------------------------------------------------

CHANGES = {"x": ["optim.lr=1"], "y": ["optim.eps=1"], "z": ["optim.weight_decay=1"]}


def made_up(effects=lambda made: 0.0, seeds: int = 6, noise: float = 0.002):
    """Question and outcomes of an ablation of three changes; an arm's loss is `effects(made)`."""
    arms = arms_of("A", "B", CHANGES)
    question = Question(
        arms=arms, design="ablation", changes=CHANGES, axis=["optim"], seeds=seeds
    ).complete()
    names = {words[0]: name for name, words in CHANGES.items()}
    rng = np.random.default_rng(5)
    shared = rng.normal(3, 0.1, seeds)
    outcomes = {
        arm: shared + effects({names[w] for w in words}) + rng.normal(0, noise, seeds)
        for arm, words in arms.items()
    }
    return question, outcomes


def additive(made):
    return -0.05 * ("x" in made) + 0.03 * ("z" in made)


def test_each_contribution_is_judged_alone_and_as_a_removal():
    question, outcomes = made_up(additive)
    evidence, contrasts = judge_all(question, outcomes)
    said = {(c.kind, c.name): c.verdict for c in contrasts}
    assert {e.arm: e.verdict for e in evidence} == {
        "B": "better",
        "only x": "better",
        "only y": "equivalent",
        "only z": "worse",
    }
    assert [said["removal", n] for n in "xyz"] == ["better", "equivalent", "worse"]
    assert {said["interaction", n] for n in "xyz"} == {"no interaction"}
    assert said["together", "together"] == "no interaction"


def test_what_changes_do_only_together_is_found():
    question, outcomes = made_up(lambda made: -0.06 * ({"x", "y"} <= made))
    _, contrasts = judge_all(question, outcomes)
    found = {(c.kind, c.name): c for c in contrasts}
    assert found["together", "together"].verdict == "interaction"
    assert found["together", "together"].mean == pytest.approx(-0.06, abs=0.005)
    assert found["together", "together"].words.startswith("the changes together do more than")
    assert [found["removal", n].verdict for n in "xyz"] == ["better", "better", "equivalent"]
    assert found["interaction", "x"].words.startswith("x does more beside the other changes")


def test_the_whole_family_is_corrected_together_as_statsmodels_does():
    question, outcomes = made_up(additive, noise=0.03)
    evidence, contrasts = judge_all(question, outcomes)
    o = outcomes
    alone = {n: o[f"only {n}"] - o["A"] for n in "xyz"}
    removal = {n: o["B"] - o[f"without {n}"] for n in "xyz"}
    d = [o["B"] - o["A"], *alone.values(), *removal.values()]
    d += [removal[n] - alone[n] for n in "xyz"]
    d += [o["B"] - o["A"] - sum(alone.values())]
    p = [stats.ttest_1samp(x, 0).pvalue for x in d]
    expected = multipletests(p, method="holm")[1]
    mine = [e.p_corrected for e in evidence] + [c.p_corrected for c in contrasts]
    assert mine == pytest.approx(list(expected))
    assert [c.mean for c in contrasts] == pytest.approx([x.mean() for x in d[4:]])


def test_a_seed_that_an_arm_lost_is_left_out_and_said():
    question, outcomes = made_up(additive)
    outcomes["without x"][2] = np.nan
    contrasts = judge_all(question, outcomes)[1]
    (removal,) = (c for c in contrasts if (c.kind, c.name) == ("removal", "x"))
    assert (removal.pairs, removal.lost) == (5, 1)
    assert removal.words.endswith("(1 seed left out: a run was lost)")


def test_a_change_whose_removal_changes_no_weight_is_no_finding():
    question, outcomes = made_up(additive)
    contrasts = void(judge_all(question, outcomes)[1], [("B", "without y")])
    said = {(c.kind, c.name): c.verdict for c in contrasts}
    assert said["removal", "y"] == said["interaction", "y"] == "the same arm"
    assert said["removal", "x"] == "better"


# -- with runs ------------------------------------------------------------------------------------

TWO = ({"optim": {"lr": 0.001}}, {"optim": {"lr": 0.03}, "data": {"batch_size": 4}})


def test_an_ablation_is_run_reported_and_asked_again_from_its_question(ask, here, files):
    folder = ask(f"{files(*TWO)} seeds=2").run()
    conclusion = conclude(folder)
    assert len(find_runs("runs")) == 8
    assert headline(conclusion).startswith("B against A: ")
    rows = contributions_table(conclusion)
    assert [r["change"] for r in rows] == [
        *("all changes", "lr", "batch_size", "beyond the sum of all alone"),
    ]
    outcomes = {a: np.array([o.outcome for o in row]) for a, row in conclusion.outcomes.items()}
    removal = (outcomes["B"] - outcomes["only batch_size"]).mean()
    assert rows[1]["as a removal"].startswith(f"{removal:+.4f} [")
    assert "## What each change contributes" in markdown(conclusion)
    again = ask(f"{folder}/question.yaml")
    assert again.folder == folder
    again.run()
    assert len(find_runs("runs")) == 8


def test_two_run_folders_are_two_configurations_and_their_runs_are_used(ask, here):
    ask("optim.lr=0.01,0.1 seeds=2").run()
    ask("data.batch_size=2,4 optim.lr=0.1 max_steps=3 seeds=2").run()
    one = next(r for r in find_runs("runs") if r.name.startswith("lr=0.01-seed1"))
    other = next(r for r in find_runs("runs") if r.name.startswith("batch_size=4-seed1"))
    comparison = ask(f"{one} {other} design=ablation seeds=2")
    assert set(comparison.question.changes) == {"lr", "batch_size", "max_steps"}
    comparison.run()
    assert {one.name} <= set(comparison.record.runs[one.name].values())


def test_every_arm_of_a_plan_can_be_composed(planned, compose):
    b = {"optim": {"name": "muon", "lr": 0.02}, "model": {"n_head": 3, "n_embd": 12}}
    question = planned({"optim": {"lr": 0.01}}, b)
    for a, b in combinations(question.arms, 2):
        assert compose([*question.base, *question.arms[a]]) != compose(
            [*question.base, *question.arms[b]]
        )
