"""Arms that differ in something undeclared are refused, and the refusal says how to declare it."""

import json
from pathlib import Path

import pytest
import yaml

from altgrad.compare.conclusion import conclude
from altgrad.compare.fairness import Unfair, check_runs, covers
from altgrad.compare.identity import altered
from altgrad.compare.question import Question


def write(tmp_path: Path, arms: dict[str, list[str]], **fields) -> str:
    path = tmp_path / "question.yaml"
    path.write_text(yaml.safe_dump({"arms": arms, "seeds": 2, **fields}))
    return str(path)


UNDECLARED = [
    ("data.batch_size=4", "data.batch_size", "(2 in a, 4 in b)"),
    ("schedule.warmup_steps=3", "schedule.warmup_steps", "(0 in a, 3 in b)"),
    ("precision.compute=bf16-mixed", "precision.compute", "('32-true' in a, 'bf16-mixed' in b)"),
    ("eval_interval=2", "eval_interval", "(3 in a, 2 in b)"),
    ("max_steps=24", "max_steps", "(6 in a, 24 in b)"),
    ("model.dropout=0.1", "model.dropout", "(0.0 in a, 0.1 in b)"),
    ("compile=true", "compile", "(False in a, True in b)"),
]


@pytest.mark.parametrize(("word", "name", "values"), UNDECLARED)
def test_what_is_not_declared_is_refused_by_name(ask, tmp_path, word, name, values):
    arms = {"a": ["optim.lr=0.01"], "b": ["optim.lr=0.1", word]}
    comparison = ask(write(tmp_path, arms, axis=["optim"]))
    with pytest.raises(Unfair) as caught:
        comparison.run()
    assert f"{name} {values}" in str(caught.value)
    assert f"allow=[{name}]" in str(caught.value)
    assert not Path("runs").exists()


@pytest.mark.parametrize("word", [word for word, *_ in UNDECLARED])
def test_what_is_declared_is_allowed(ask, tmp_path, word):
    arms = {"a": ["optim.lr=0.01"], "b": ["optim.lr=0.1", word]}
    name = word.partition("=")[0]
    ask(write(tmp_path, arms, axis=["optim"], allow=[name])).prepare()


def test_an_axis_of_precision_does_not_include_the_arithmetic(ask, tmp_path):
    arms = {"a": ["precision.compute=32-true"], "b": ["precision.compute=bf16-mixed"]}
    with pytest.raises(Unfair, match="arms must compute in the same dtype"):
        ask(write(tmp_path, arms, axis=["precision"])).prepare()
    ask(write(tmp_path, arms, axis=["precision.compute"])).prepare()


@pytest.mark.parametrize("order", [("auto", "bf16-mixed"), ("bf16-mixed", "auto")])
def test_an_arithmetic_left_open_is_that_of_the_other_arms(ask, tmp_path, order):
    arms = {f"arm {c}": [f"precision.compute={c}", f"optim.lr=0.{len(c)}"] for c in order}
    comparison = ask(write(tmp_path, arms, axis=["optim"]))
    assert [a.config.precision.compute for a in comparison.arms] == ["bf16-mixed"] * 2


def test_every_undeclared_setting_is_named_at_once(ask, tmp_path):
    arms = {"a": [], "b": ["data.batch_size=4", "model.dropout=0.1"]}
    with pytest.raises(Unfair, match=r"allow=\[model.dropout,data.batch_size\]"):
        ask(write(tmp_path, arms, axis=["optim"])).prepare()


def test_an_axis_that_is_no_setting_is_refused(ask, tmp_path):
    arms = {"a": [], "b": ["optim.lr=0.1"]}
    with pytest.raises(ValueError, match=r"'optim.lrr' is no setting. Did you mean 'optim.lr'"):
        ask(write(tmp_path, arms, axis=["optim.lrr"])).prepare()


@pytest.mark.parametrize("word", ["seed=3", "run_dir=here", "checkpoint_dir=there"])
def test_what_the_comparison_decides_cannot_be_set(ask, word):
    with pytest.raises(ValueError, match=word.partition("=")[0]):
        ask(f"optim.lr=0.01,0.1 {word}")


def test_an_outcome_that_is_never_logged_is_refused_before_the_runs(ask):
    with pytest.raises(ValueError, match=r"last=5, but eval_interval=3 with max_steps=6 makes 2"):
        ask("optim.lr=0.01,0.1 last=5").prepare()


def test_runs_on_other_machines_leave_nothing_open(ask):
    with pytest.raises(ValueError, match=r"write precision\.compute=bf16-mixed compile=true"):
        ask("optim.lr=0.1,0.2 precision.compute=auto compile=null launcher=slurm")


@pytest.fixture
def folder(ask, here):
    return ask("optim.lr=0.01,0.1 seeds=2").run()


def first_run(folder: Path) -> Path:
    record = json.loads((folder / "record.json").read_text())
    return folder.parent.parent / record["runs"]["lr=0.1"]["1"]


@pytest.mark.parametrize(
    ("file", "key", "value", "words"),
    [
        ("data.json", "sha256", {"train": "0" * 64, "val": "0" * 64}, "differ in their data"),
        ("environment.json", "code", {"altgrad": "0" * 16}, "differ in their code"),
    ],
)
def test_runs_of_other_data_or_code_are_no_comparison(folder, file, key, value, words):
    path = first_run(folder) / file
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(Unfair, match=words):
        conclude(folder)


def test_a_run_that_was_altered_on_its_way_is_no_comparison(folder):
    changed = {"event": "resumed", "step": 2, "changed": {"optim.lr": [0.1, 0.2]}}
    with (first_run(folder) / "events.jsonl").open("a") as file:
        file.write(json.dumps(changed) + '\n{"event": "finished"}\n')
    with pytest.raises(Unfair, match=r"in the middle \(optim\.lr\); move it away"):
        conclude(folder)


def test_an_alteration_without_effect_forbids_nothing(folder):
    changed = {"event": "resumed", "step": 2, "changed": {"tracker.if_gone": ["new", "off"]}}
    with (first_run(folder) / "events.jsonl").open("a") as file:
        file.write(json.dumps(changed) + '\n{"event": "finished"}\n')
    assert altered(first_run(folder)) == []
    assert conclude(folder).evidence


def test_another_machine_is_said_but_not_refused(folder):
    path = first_run(folder) / "environment.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "threads": 99}))
    assert any("threads" in note for note in conclude(folder).fairness.notes)


def test_a_run_that_was_planned_longer_is_refused_from_its_folder(folder):
    path = first_run(folder) / "config.yaml"
    path.write_text(path.read_text().replace("max_steps: 6", "max_steps: 24"))
    with pytest.raises(Unfair, match=r"lr=0.1 was planned for 384 tokens a run, lr=0.01 for 96"):
        conclude(folder)


def test_steps_that_are_the_axis_stay_as_they_are(ask):
    comparison = ask("max_steps=6,12")
    comparison.prepare()
    assert [arm.config.max_steps for arm in comparison.arms] == [6, 12]


def test_unpaired_seeds_are_refused():
    runs = {"a": {1: Path("x"), 2: Path("y")}, "b": {1: Path("z")}}
    with pytest.raises(Unfair, match=r"a and b are not paired: seeds \[2\]"):
        check_runs(runs, Question())


def test_the_statement_lists_what_differs_and_what_does_not(folder):
    fairness = conclude(folder).fairness
    assert fairness.differing == {"lr=0.1": {"optim.lr": (0.01, 0.1)}}
    assert [check.what for check in fairness.checks] == [
        "seeds",
        "data",
        "code",
        "initial weights",
        "order of the data",
        "evaluation",
        "arithmetic",
    ]


def test_a_group_covers_its_settings_only():
    assert covers(["optim"], "optim.lr")
    assert not covers(["optim"], "optimism.lr")
