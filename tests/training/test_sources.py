"""A run says which code made it."""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from altgrad.runs.code_version import CODE_SETTINGS, code_versions, package_version
from altgrad.runs.lines import read_jsonl
from altgrad.training import Trainer
from altgrad.training.build import build_run, load_run, resume_run
from altgrad.training.reproduce import reproduce
from altgrad.trust import allow


def test_the_package_has_one_version_until_a_file_changes():
    assert code_versions({"model": {"n_layer": 2}, "device": "cuda:0"}) == {
        "altgrad": package_version(),
        "torch": version("torch"),
    }


def test_a_part_from_outside_has_its_own_version(tmp_path, monkeypatch):
    (tmp_path / "mine_for_sources.py").write_text("class Attention: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    settings = {"model": {"attention": "mine_for_sources:Attention"}}
    before = code_versions(settings)["mine_for_sources:Attention"]
    (tmp_path / "mine_for_sources.py").write_text("class Attention: x = 1\n")
    assert code_versions(settings)["mine_for_sources:Attention"] != before


@pytest.mark.parametrize("setting", CODE_SETTINGS)
def test_code_that_is_not_there_is_refused_not_left_out(setting):
    group, _, leaf = setting.partition(".")
    value = ["own_nowhere:A"] if leaf in ("names", "own") else "own_nowhere:A"
    with pytest.raises(ValueError, match=f"{setting}=own_nowhere:A: no module 'own_nowhere'"):
        code_versions({group: {leaf: value}})


def test_what_only_looks_like_a_name_of_code_is_none():
    settings = {"device": "cuda:0", "sample_prompts": ["ROMEO:hello"], "data": {"path": "s3:x"}}
    assert set(code_versions(settings)) == {"altgrad", "torch"}


PARTS = (
    "import own_helper_of_sources\n"
    "from altgrad.model.mlp import GELU\n"
    "from altgrad.optim.makers import sgd as mine\n"
    "from altgrad.optim.schedules import constant as flat\n"
    "class Tracker:\n"
    "    id = '1'\n"
    "    def __init__(self, run): ...\n"
    "    def log(self, *_): ...\n"
    "    def close(self, *_): ...\n"
    "class Mine(GELU): ...\n"
)


@pytest.fixture
def own(make_config, data_dir, monkeypatch):
    """`own()` makes a run whose part, optimiser, schedule and tracker are one's own."""
    for name in ("own_of_sources", "own_helper_of_sources"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("own_of_sources.py").write_text(PARTS)
    Path("own_helper_of_sources.py").write_text("x = 1\n")
    config = make_config(max_steps=4, eval_interval=2)
    config.data.path, config.model.mlp = str(data_dir), "own_of_sources:Mine"
    config.optim.name, config.schedule.name = "own_of_sources:mine", "own_of_sources:flat"
    config.tracker.names = ["own_of_sources:Tracker"]
    return config


def edit_helper():
    """As in the next process: Python has not imported it yet."""
    Path("own_helper_of_sources.py").write_text("x = 2\n")
    for name in ("own_of_sources", "own_helper_of_sources"):
        del sys.modules[name]


def test_the_run_folder_keeps_the_outside_code_with_what_it_imports(own, tmp_path):
    build_run(own).train()
    kept = {p.name: p.read_text() for p in (tmp_path / "run/code").rglob("*")}
    assert kept == {"own_of_sources.py": PARTS, "own_helper_of_sources.py": "x = 1\n"}
    code = json.loads((tmp_path / "run/environment.json").read_text())["code"]
    names = ("Mine", "mine", "flat", "Tracker")
    assert set(code) == {"altgrad", "torch", *(f"own_of_sources:{name}" for name in names)}


def test_a_resumed_run_says_which_of_its_outside_files_was_edited(own, tmp_path):
    build_run(own).train(2)
    with (tmp_path / "run/events.jsonl").open("a") as events:
        events.write('{"event": "interrupted", "step": 2}\n')
    edit_helper()
    resume_run(tmp_path / "run").train()
    notes = [e["text"] for e in read_jsonl(tmp_path / "run/events.jsonl") if e["event"] == "note"]
    assert any("code of own_of_sources:Mine is not what the run began with" in n for n in notes)
    assert any(n.endswith("the run began with: own_helper_of_sources.py") for n in notes)
    assert (tmp_path / "run/code/own_helper_of_sources.py").read_text() == "x = 1\n"


def test_reproducing_says_which_of_its_outside_files_was_edited(own, tmp_path):
    build_run(own).train()
    assert reproduce(tmp_path / "run", out=tmp_path / "same").environment == {}
    edit_helper()
    found = reproduce(tmp_path / "run", out=tmp_path / "again").environment
    assert "code/own_helper_of_sources.py" in found
    assert "code/own_of_sources.py" not in found


def test_a_tracker_that_is_not_there_is_refused_before_there_is_a_run(own, tmp_path):
    own.tracker.names = ["own_of_sources:Traker"]
    with pytest.raises(ValueError, match=r"tracker\.names=.*did you mean 'Tracker'"):
        build_run(own)
    assert not (tmp_path / "run").exists()


def test_the_run_folder_holds_code_and_data_hashes(make_config, make_model, data_dir):
    config = make_config()
    trainer = Trainer(config, make_model(config), data_dir, "cpu")
    trainer.train()
    folder = trainer.recorder.folder
    assert json.loads(folder.environment.read_text())["code"]["altgrad"] == package_version()
    hashes = json.loads(folder.data.read_text())["sha256"]
    assert {name: len(digest) for name, digest in hashes.items()} == {"train": 64, "val": 64}


def test_whoever_uses_a_run_is_told_that_its_own_code_was_edited_since(make_config, monkeypatch):
    Path("my.txt").write_text("the cat sat on a mat " * 40)
    part = Path("own_edited_part.py")
    part.write_text("from altgrad.model.mlp import GELU\nclass Mine(GELU): ...\n")
    rate = Path("own_gone_rate.py")
    rate.write_text("from altgrad.optim.schedules import constant as flat\n")
    config = make_config(max_steps=1, vocab_size=None)
    config.schedule.name = "own_gone_rate:flat"
    config.model.mlp = "own_edited_part:Mine"
    config.data.path = "my.txt"
    allow(["own_edited_part:Mine", "own_gone_rate:flat"])
    build_run(config).train()
    rate.unlink()
    run = Path(config.run_dir)
    assert load_run(run).remarks == []
    part.write_text(part.read_text() + "EDITED = True\n")
    monkeypatch.delitem(sys.modules, "own_edited_part")
    (remark,) = load_run(run).remarks
    assert remark.startswith("own_edited_part.py was edited since")
    assert str(run / "code") in remark
