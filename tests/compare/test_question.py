"""From words or a file to a question that is complete, or a line that says what is missing."""

from pathlib import Path

import pytest
import yaml

from altgrad.compare.question import read_question, split_values


def ask(words: str):
    return read_question(words.split()).complete()


def test_the_first_value_is_the_control():
    question = ask("precision=bf16,e4m3,e5m2 seeds=5 max_steps=100")
    assert question.control == "bf16"
    assert question.arms["e5m2"] == ["precision=e5m2"]
    assert question.base == ["max_steps=100"]
    assert question.axis == ["precision"]
    assert question.seed_list() == [1, 2, 3, 4, 5]


def test_five_hundred_values_are_no_name_of_a_file():
    rates = ",".join(f"{0.001 + 0.00001 * i:.5f}" for i in range(500))
    assert len(ask(f"optim.lr={rates} seeds=2").arms) == 500


def test_the_control_may_be_named():
    assert ask("precision=bf16,e5m2 control=e5m2").control == "e5m2"


def test_a_crossed_design_has_every_combination():
    question = ask("optim=adamw,muon precision=e3m4,e5m2 design=crossed tune=optim.lr")
    assert list(question.arms) == [
        "adamw + e3m4",
        "adamw + e5m2",
        "muon + e3m4",
        "muon + e5m2",
    ]
    assert question.tuning.setting == "optim.lr"


def test_commas_inside_brackets_belong_to_the_value():
    assert split_values("[0.9,0.95],[0.8,0.99]") == ["[0.9,0.95]", "[0.8,0.99]"]
    assert list(ask("optim.betas=[0.9,0.95],[0.8,0.99]").arms) == [
        "betas=[0.9,0.95]",
        "betas=[0.8,0.99]",
    ]


def test_a_setting_may_be_typed_by_its_last_part_if_only_one_ends_so():
    question = ask("n_layer=2,3 storage=rounded name=x")
    assert question.axes == {"model.n_layer": ["2", "3"]}
    assert question.base == ["precision.storage=rounded"]
    assert ask("format=e5m2,e4m3").axis == ["format"]


def test_as_you_go_has_a_limit():
    question = ask("optim=adamw,muon seeds=auto max_seeds=5")
    assert question.until_decided
    assert question.all_seeds() == [1, 2, 3, 4, 5]


def test_tuning_seeds_are_not_test_seeds():
    question = ask("optim=adamw,muon tune=optim.lr tuning.seeds=2 seeds=50")
    assert not set(question.tuning_seeds()) & set(question.all_seeds())


def test_a_file_states_everything_and_words_change_it(tmp_path):
    content = {"arms": {"a": ["optim=adamw"], "b": ["optim=muon"]}, "axis": ["optim"], "seeds": 4}
    path = tmp_path / "question.yaml"
    path.write_text(yaml.safe_dump(content))
    question = ask(f"{path} seeds=2 delta=0.5")
    assert (question.seeds, question.delta) == (2, 0.5)
    assert question.control == "a"


def test_a_saved_question_can_be_asked_again(tmp_path):
    question = ask("optim=adamw,muon precision=bf16,fp32 design=crossed")
    path = tmp_path / "question.yaml"
    path.write_text(yaml.safe_dump(question.to_dict()))
    assert ask(str(path)) == question


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("precision=bf16", ["at least two arms"]),
        ("precision=bf16,e5m2 optim=adamw,muon", ["precision, optim", "design=crossed"]),
        ("precision=bf16,e5m2 budget=token", ["budget='token'", "'tokens'"]),
        ("precision=bf16,e5m2 control=fp8", ["control='fp8'", "bf16"]),
        ("precision=bf16,e5m2 seeds=0", ["seeds=0"]),
        ("precision=bf16,e5m2 seeds=[1,1]", ["seeds=[1, 1]"]),
        ("precision=bf16,e5m2 seeds=many", ["seeds='many'"]),
        ("precision=bf16,e5m2 delta=0", ["delta=0"]),
        ("precision=bf16,e5m2 alpha=2", ["alpha=2"]),
        ("precision=bf16,e5m2 last=0", ["last=0"]),
        ("precision=bf16,e5m2 correction=bonferroni", ["correction='bonferroni'", "holm"]),
        ("precision=bf16,e5m2 tune=optim.lr tuning.grid=0.1", ["tuning.grid=[0.1]"]),
        ("precision=bf16,e5m2 tune=optim.lr tuning.gird=0.1,0.2", ["tuning.gird", "'grid'"]),
        ("precision=bf16,e5m2 tune=optim.lr seeds=[1,1001]", ["1001", "tuning seeds"]),
        ("precision=bf16,e5m2 seeds=auto max_seeds=2", ["max_seeds=2"]),
        ("precision=bf16,e5m2 optim=adamw design=crossed", ["two axes or more"]),
        ("seeds=3 nothing.yaml", ["comes first"]),
        ("nothing.yaml", ["nothing.yaml", "readable experiment file"]),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused_in_one_line(words, expected):
    with pytest.raises(ValueError) as caught:
        ask(words)
    assert "\n" not in str(caught.value).strip()
    for word in expected:
        assert word in str(caught.value)


def test_an_unknown_key_of_a_file_is_refused(tmp_path):
    path = tmp_path / "question.yaml"
    path.write_text("arms: {a: [], b: []}\naxes_: {}\n")
    with pytest.raises(ValueError, match="axes_"):
        ask(str(path))


@pytest.mark.parametrize("path", sorted(Path("experiments").absolute().glob("*.yaml")), ids=str)
def test_every_shipped_experiment_is_a_complete_question(path):
    assert len(ask(str(path)).arms) >= 2
