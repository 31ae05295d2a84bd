"""A stopped run is continued from what is sound, with the settings it had, wherever it lies."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch

from altgrad.commands.resume_words import split_resume_words
from altgrad.runs.folder import RunFolder, run_status
from altgrad.runs.lines import read_jsonl
from altgrad.settings import ConfigError
from altgrad.training.build import build_run, read_config, resume_run, settle
from altgrad.training.checkpoints.garbage import collect_garbage, find_garbage
from altgrad.training.checkpoints.manager import CheckpointError
from altgrad.training.resume import changed_settings, newest_alike, refuse_changes


@pytest.fixture
def config(make_config, data_dir):
    """A run that would take 8 steps and saves at each."""
    made = make_config(max_steps=8, eval_interval=4, checkpoint_interval=1, max_checkpoints=3)
    made.data.path = str(data_dir)
    return made


@pytest.mark.parametrize(
    ("schedule", "steps", "words"),
    [
        (
            "cosine",
            16,
            "back up, from 0.23 to 0.72 of its peak: schedule.name=cosine",
        ),
        ("cosine", 7, "down, from 0.23 to 0.14"),
        ("constant", 16, ""),
        ("cosine", 8, ""),
    ],
)
def test_a_schedule_that_jumps_on_resuming_says_so(config, schedule, steps, words):
    config.schedule.name = schedule
    stop_at(config, 6)
    longer = copy.deepcopy(config)
    longer.max_steps = steps
    trainer = resume_run(Path(config.run_dir), config=longer, allow=["max_steps"])
    told = [r for r in trainer.remarks if "learning rate" in r]
    assert [words in r for r in told] == [True] * bool(words)


def stop_at(config, step):
    """Run to `step` and stop as a killed process would: without a word."""
    trainer = build_run(config)
    trainer.keeper.saver.every_steps = 1
    trainer.train(step)
    events = RunFolder(config.run_dir).events
    lines = [e for e in events.read_text().splitlines() if '"finished"' not in e]
    events.write_text("\n".join(lines) + "\n")
    return trainer


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def notes(run):
    return [e["text"] for e in read_jsonl(run / "events.jsonl") if e["event"] == "note"]


@pytest.fixture
def whole(config, make_config, data_dir, tmp_path):
    other = make_config(**{**config.to_dict(), "run_dir": str(tmp_path / "whole")})
    trainer = build_run(other)
    trainer.train()
    return weights(trainer)


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_damaged_checkpoints_are_skipped_named_and_set_aside(config, whole, tmp_path):
    run = tmp_path / "run"
    stop_at(config, 5)
    damage(run / "checkpoints" / "step_00000005" / "model.safetensors")
    (run / "checkpoints" / "step_00000004" / "state.json").unlink()
    trainer = resume_run(run)
    assert trainer.step == 3
    trainer.train()
    assert torch.equal(weights(trainer), whole)
    assert "model.safetensors is damaged: its sha256" in notes(run)[0]
    assert "state.json is missing" in notes(run)[1]
    assert {p.name for p in (run / "checkpoints").glob("aside_*")} == {
        "aside_step_00000004",
        "aside_step_00000005",
    }
    steps = [m["step"] for m in read_jsonl(run / "metrics.jsonl")]
    assert steps == list(range(1, 9))


def test_with_no_sound_checkpoint_left_it_is_refused(config, tmp_path):
    stop_at(config, 3)
    for path in (tmp_path / "run" / "checkpoints").glob("step_*/state.json"):
        damage(path)
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* can be used"):
        resume_run(tmp_path / "run")


def test_a_run_stopped_before_its_first_save_starts_again(config, whole, tmp_path):
    stop_at(config, 2)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    trainer = resume_run(tmp_path / "run")
    trainer.train()
    assert torch.equal(weights(trainer), whole)
    assert [m["step"] for m in read_jsonl(tmp_path / "run" / "metrics.jsonl")] == list(range(1, 9))


def test_a_checkpoint_of_another_run_is_not_taken(config, make_config, whole, tmp_path):
    stop_at(config, 3)
    taken = tmp_path / "whole" / "checkpoints" / "step_00000008"
    shutil.copytree(taken, tmp_path / "run" / "checkpoints" / taken.name)
    trainer = resume_run(tmp_path / "run")
    assert trainer.step == 3
    assert "belongs to another run" in trainer.remarks[0]


def test_a_moved_folder_goes_on(config, whole, tmp_path):
    config.checkpoint_dir = str(tmp_path / "run" / "kept")
    stop_at(config, 5)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").rename(tmp_path / "elsewhere" / "moved")
    trainer = resume_run(tmp_path / "elsewhere" / "moved")
    assert trainer.step == 5
    trainer.train()
    assert torch.equal(weights(trainer), whole)
    assert not (tmp_path / "run").exists()
    assert (tmp_path / "elsewhere" / "moved" / "kept" / "step_00000008").is_dir()


def test_other_data_is_refused(config, data_dir, tmp_path):
    stop_at(config, 2)
    damage(data_dir / "train.bin")
    with pytest.raises(ConfigError, match=r"train\.bin is not what"):
        resume_run(tmp_path / "run")


def test_changed_settings_are_refused_unless_allowed_by_name(config, make_config, tmp_path):
    stop_at(config, 4)
    longer = make_config(**{**config.to_dict(), "max_steps": 10})
    with pytest.raises(ConfigError, match=r"max_steps=8, not 10.*resume.allow=\[max_steps\]"):
        resume_run(tmp_path / "run", config=longer)
    trainer = resume_run(tmp_path / "run", config=longer, allow=["max_steps"])
    assert trainer.train()["step"] == 10
    resumed = next(e for e in read_jsonl(tmp_path / "run" / "events.jsonl") if "changed" in e)
    assert resumed["changed"] == {"max_steps": [8, 10]}
    assert "max_steps: 10" in (tmp_path / "run" / "config.yaml").read_text()


def test_an_average_can_be_taken_up_on_purpose(config, make_config, tmp_path):
    stop_at(config, 4)
    changed = make_config(**config.to_dict())
    changed.optim.ema_decay = 0.9
    trainer = resume_run(tmp_path / "run", config=changed, allow=["optim.ema_decay"])
    assert trainer.remarks == ["average starts afresh"]


def test_a_group_can_be_allowed_and_a_misspelt_name_is_not():
    changes = {"optim.lr": (1, 2), "optim.ema_decay": (0, 1)}
    refuse_changes(changes, ["optim"])
    with pytest.raises(ConfigError, match="'max_step'"):
        refuse_changes({}, ["max_step"])


def test_auto_takes_the_newest_run_with_the_same_settings(make_config, data_dir):
    def run(name, **settings):
        made = make_config(max_steps=3, run_dir=f"runs/{name}", **settings)
        made.data.path = str(data_dir)
        return made

    stop_at(run("a"), 1)
    stop_at(run("b"), 2)
    stop_at(run("c", seed=5), 1)
    wanted = run("e", vocab_size=None)
    wanted.model.vocab_size = None
    wanted.run_dir = None
    assert newest_alike(wanted).name == "b"
    assert newest_alike(wanted, allow=["seed"]).name == "c"
    lock = RunFolder("runs/b")
    lock.lock()
    assert newest_alike(wanted).name == "a"
    lock.unlock()
    build_run(run("d")).train()
    assert newest_alike(wanted).name == "d"
    wanted.max_steps = 4
    assert newest_alike(wanted) is None


def test_places_are_no_settings(make_config):
    assert changed_settings(make_config(run_dir="a"), make_config(run_dir="b")) == {}


def test_words_about_resuming_are_told_from_settings():
    words, how = split_resume_words(["resume=auto", "seed=3", "resume.allow=[max_steps, seed]"])
    assert words == ["seed=3"]
    assert how.auto
    assert how.allow == ("max_steps", "seed")
    with pytest.raises(ValueError, match="auto, never"):
        split_resume_words(["resume=always"])


def test_a_finished_run_is_not_resumed_by_accident(config):
    build_run(config).train()
    with pytest.raises(ConfigError, match="finished"):
        resume_run(RunFolder(config.run_dir).root)


def test_gc_removes_what_is_never_needed_and_keeps_what_verifies(config, tmp_path):
    stop_at(config, 6)
    folder = tmp_path / "run" / "checkpoints"
    (folder / ".step_00000009.part.1").mkdir()
    (folder / ".step_00000009.part.1" / "model.safetensors").write_bytes(b"x" * 1000)
    (folder / "aside_step_00000001").mkdir()
    damage(folder / "step_00000006" / "model.safetensors")
    told = find_garbage(tmp_path / "run", keep=1)
    assert (folder / "step_00000006").exists()
    removed = {g.path.name for g in collect_garbage(tmp_path / "run", keep=1)}
    assert {g.path.name for g in told} >= removed
    assert "step_00000006" in removed
    left = {p.name for p in folder.iterdir()}
    assert "step_00000005" in left
    assert resume_run(tmp_path / "run").step == 5


def test_gc_leaves_a_run_alone_that_somebody_writes(config, tmp_path):
    stop_at(config, 2)
    lock = RunFolder(tmp_path / "run")
    lock.lock()
    with pytest.raises(ValueError, match="another process"):
        collect_garbage(tmp_path / "run")
    assert run_status(tmp_path / "run") == "running"


def test_gc_never_removes_the_last_hope(config, tmp_path):
    stop_at(config, 2)
    for path in (tmp_path / "run" / "checkpoints").glob("step_*/state.json"):
        damage(path)
    assert collect_garbage(tmp_path / "run", keep=1) == []


def test_the_environment_names_the_data_that_was_read(config, tmp_path):
    stop_at(config, 1)
    described = json.loads((tmp_path / "run" / "data.json").read_text())
    assert described["licence"] == "unknown"
    assert set(described["sha256"]) == {"train", "val"}


@pytest.mark.parametrize("place", ["run_dir", "checkpoint_dir"])
def test_another_place_typed_for_a_run_that_goes_on_is_refused(make_config, data_dir, place):
    config = make_config(max_steps=3)
    config.data.path = str(data_dir)
    stop_at(config, 1)
    run = Path(config.run_dir)
    wished = read_config(run)
    setattr(wished, place, "elsewhere")
    with pytest.raises(
        ConfigError, match=f"^{place}=elsewhere: this run has {place}=.*leave {place}"
    ):
        resume_run(run, config=wished)
    setattr(wished, place, {"run_dir": str(run), "checkpoint_dir": f"{run}/checkpoints"}[place])
    assert resume_run(run, config=wished).train()["step"] == 3


def test_a_standard_input_for_several_processes_is_refused(make_config):
    config = make_config(devices=2, strategy="ddp")
    config.data.path = "-"
    with pytest.raises(ConfigError, match="by one process alone, and devices=2"):
        settle(config)
