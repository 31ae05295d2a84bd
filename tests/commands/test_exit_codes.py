"""What a command answers with, and whether the words it was given arrive. Nothing is trained."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from altgrad.cli import main, parse_words
from altgrad.commands import train
from altgrad.commands.config import annotated_yaml
from altgrad.learn.verify.result import Result
from altgrad.training.config import TrainConfig


@pytest.fixture
def fake(monkeypatch):
    """`fake("altgrad.training.checkpoints.garbage.find_garbage", function)`"""
    return lambda name, value: monkeypatch.setattr(name, value)


@pytest.fixture
def run_folder(fake, tmp_path):
    fake("altgrad.runs.resolve_run", lambda *_: tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("status", "code"), [("finished", 0), ("diverged", 1), ("interrupted", 130)]
)
def test_a_run_answers_with_how_it_ended(fake, status, code):
    fake("altgrad.commands.end_of_run.close_run", lambda *_: None)
    said = []
    trainer = SimpleNamespace(
        train=lambda: {"status": status, "run_dir": Path("run"), "step": 3},
        fabric=SimpleNamespace(is_global_zero=True),
    )
    assert train.run_trainer(trainer, SimpleNamespace(say=said.append)) == code
    assert bool(said) == (status == "interrupted")


@pytest.mark.parametrize(("same", "code"), [(True, 0), (False, 1)])
def test_reproduce_answers_whether_it_is_the_same(fake, run_folder, same, code):
    likeness = SimpleNamespace(within=lambda tolerance: same and tolerance == 0.5)
    result = SimpleNamespace(environment={}, again="again", verdict="", likeness=likeness)
    fake("altgrad.training.reproduce.reproduce", lambda *_, **__: result)
    assert main(["reproduce", "run", "--tolerance", "0.5"]) == code


@pytest.mark.parametrize(("status", "code"), [("finished", 0), ("failed", 1), ("interrupted", 1)])
def test_watching_answers_with_how_the_run_ended(fake, run_folder, status, code):
    fake("altgrad.runs.watch.watch", lambda *_, **__: status)
    assert main(["watch", "run"]) == code


@pytest.mark.parametrize("words", [[], ["--json"]])
@pytest.mark.parametrize(("passed", "code"), [([True, None], 0), ([True, False, None], 1)])
def test_verify_answers_whether_a_check_failed(fake, capsys, words, passed, code):
    results = [Result("name", "proves", p, "evidence", "look at") for p in passed]
    fake("altgrad.learn.verify.verify.verify", lambda config: iter(results))
    assert main(["verify", *words]) == code


@pytest.mark.parametrize(("words", "act"), [([], "collected"), (["--dry-run"], "found")])
def test_a_dry_run_of_gc_only_looks(fake, run_folder, capsys, words, act):
    done = []
    fake(
        "altgrad.training.checkpoints.garbage.find_garbage",
        lambda *_, **__: done.append("found") or [],
    )
    fake(
        "altgrad.training.checkpoints.garbage.collect_garbage",
        lambda *_, **__: done.append("collected") or [],
    )
    assert main(["gc", "run", *words]) == 0
    assert done == [act]


class Written(str):
    """Pieces of a text, as `write` gives them."""

    prompt = "a"


def test_sampling_hands_on_what_was_typed(fake, run_folder, capsys):
    given = []

    def write(loaded, prompt, tokens, **how):
        given.append((loaded.which, prompt, tokens, how))
        return Written("b")

    fake(
        "altgrad.training.build.load_run",
        lambda run, which: SimpleNamespace(which=which, remarks=[]),
    )
    fake("altgrad.interchange.writing.write", write)
    words = ["--prompt", "a", "--tokens", "7", "--top-k", "5", "--top-p", "0.5", "--seed", "2"]
    assert main(["sample", "run", *words, "--temperature", "0.1", "--checkpoint", "latest"]) == 0
    how = {"temperature": 0.1, "seed": 2, "top_k": 5, "top_p": 0.5}
    assert given == [("latest", "a", 7, how)]


def test_several_samples_are_written_side_by_side(fake, run_folder, capsys):
    fake("altgrad.training.build.load_run", lambda run, which: SimpleNamespace(remarks=[]))
    fake(
        "altgrad.interchange.writing.write_batch",
        lambda loaded, prompt, tokens, count, **how: ["x"] * count,
    )
    assert main(["sample", "run", "--count", "3", "--prompt", "a"]) == 0
    assert capsys.readouterr().out.count("of 3\nax") == 3


def test_words_may_stand_on_both_sides_of_an_option():
    found = parse_words(["config", "max_steps=3", "--config-dir", "mine", "seed=4"])
    assert found.overrides == ["max_steps=3", "seed=4"]
    assert found.config_dir == "mine"


def test_an_option_that_is_not_there_is_no_setting(capsys):
    with pytest.raises(SystemExit) as ended:
        parse_words(["config", "max_steps=3", "--fast"])
    assert ended.value.code == 2
    assert "unrecognized arguments: --fast" in capsys.readouterr().err


def test_a_mistake_of_the_users_is_one_line_and_two(capsys):
    assert main(["config", "max_step=3"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_resuming_with_words_changes_those_settings_and_no_others():
    config = TrainConfig(max_steps=9, batch_size=3, learning_rate=0.5)
    changed = train.changed_config(config, ["max_steps=20", "optim.lr=0.1"], None)
    assert (changed.max_steps, changed.optim.lr, changed.data.batch_size) == (20, 0.1, 3)
    expected = config.to_dict()
    expected["max_steps"], expected["optim"]["lr"] = 20, 0.1
    assert changed.to_dict() == expected


def test_the_origin_of_a_value_is_that_of_its_full_name():
    tree = {"seed": 1, "data": {"seed": 2}}
    origin = {"seed": "command line", "data.seed": "mine.yaml"}
    lines = annotated_yaml(tree, origin)
    assert [line.split("# ")[-1] for line in lines] == ["command line", "data:", "mine.yaml"]
