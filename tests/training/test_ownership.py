"""A run reads, replaces and removes its own checkpoints alone; a folder taken away stops it."""

import errno
import json
import math
import os
import shutil

import pytest
from torch import nn

from altgrad.runs.folder import FileLock, FolderLostError, RunFolder, run_status
from altgrad.runs.lines import read_jsonl
from altgrad.settings import ConfigError
from altgrad.training.build import build_run, load_run, resume_run
from altgrad.training.checkpoints.garbage import collect_garbage
from altgrad.training.checkpoints.manager import (
    CheckpointError,
    CheckpointManager,
    find_checkpoint,
    load_checkpoint,
    step_of,
)
from altgrad.training.loading import pick_checkpoint
from altgrad.training.run_differences import last_weights_equal


@pytest.fixture
def make(make_config, data_dir, tmp_path):
    def make(name, **settings):
        how = {"max_steps": 4, "eval_interval": 2, "checkpoint_interval": 1, **settings}
        config = make_config(**how, run_dir=str(tmp_path / name))
        config.data.path = str(data_dir)
        return build_run(config)

    return make


def step_read(run):
    """The step of the checkpoint that `sample`, `eval` and `export` read."""
    return step_of(pick_checkpoint(run, "best"))


@pytest.fixture
def shared(make, tmp_path):
    """Two runs of an older altgrad: the second's checkpoints lie over the first's."""
    folder = str(tmp_path / "shared")
    make("first", checkpoint_dir=folder).train()
    shutil.rmtree(folder)
    make("second", checkpoint_dir=folder, seed=2).train()
    return tmp_path


def test_a_folder_with_another_runs_checkpoints_is_refused_at_the_start(make, tmp_path):
    make("first", checkpoint_dir=str(tmp_path / "shared")).train()
    second = make("second", checkpoint_dir=str(tmp_path / "shared"))
    with pytest.raises(ConfigError, match=r"shared holds the checkpoints of another run"):
        second.train()
    assert not (tmp_path / "second").exists()
    assert step_read(tmp_path / "first") == 4


def test_a_folder_in_which_another_run_is_saving_is_refused(make, tmp_path):
    (tmp_path / "shared").mkdir()
    lock = FileLock(tmp_path / "shared" / ".lock")
    assert lock.take()
    with pytest.raises(ConfigError, match="another run is saving there"):
        make("second", checkpoint_dir=str(tmp_path / "shared")).train()
    lock.release()
    assert make("second", checkpoint_dir=str(tmp_path / "shared")).train()["step"] == 4


@pytest.mark.parametrize("read", [step_read, load_run, find_checkpoint, resume_run])
def test_every_reader_refuses_another_runs_checkpoint(shared, read):
    events = shared / "first" / "events.jsonl"
    events.write_text(events.read_text().replace('"finished"', '"gone"'))
    with pytest.raises(CheckpointError, match="another run"):
        read(shared / "first")


def test_weights_of_another_run_are_not_compared(shared, make):
    make("third", seed=2).train()
    assert last_weights_equal(shared / "first", shared / "third") is None


def test_a_checkpoint_of_another_run_is_not_replaced(tmp_path):
    CheckpointManager(tmp_path, run="theirs").save(1, nn.Linear(1, 1))
    with pytest.raises(OSError, match="another run"):
        CheckpointManager(tmp_path, run="mine").save(1, nn.Linear(1, 1))
    assert load_checkpoint(tmp_path / "step_00000001").run == "theirs"


@pytest.mark.parametrize("link", [False, True])
def test_gc_of_a_strangers_run_removes_nothing_of_mine(make, tmp_path, link):
    mine, stranger = make("mine", max_checkpoints=4), make("stranger")
    mine.train()
    stranger.train()
    theirs, checkpoints = tmp_path / "stranger", tmp_path / "mine" / "checkpoints"
    (checkpoints / ".step_00000009.part.1").mkdir()
    (checkpoints / "aside_step_00000001").mkdir()
    if link:
        shutil.rmtree(theirs / "checkpoints")
        (theirs / "checkpoints").symlink_to(checkpoints)
    else:
        text = (theirs / "config.yaml").read_text()
        changed = text.replace("checkpoint_dir: null", f"checkpoint_dir: {checkpoints}")
        assert changed != text
        (theirs / "config.yaml").write_text(changed)
    before = sorted(p.name for p in checkpoints.iterdir())
    assert collect_garbage(theirs, keep=1) == []
    assert sorted(p.name for p in checkpoints.iterdir()) == before


def test_a_moved_run_is_read_from_where_its_checkpoints_moved_to(make, tmp_path):
    make("run", checkpoint_dir=str(tmp_path / "run" / "kept")).train()
    (tmp_path / "run").rename(tmp_path / "moved")
    assert step_read(tmp_path / "moved") == 4


# -- losses and states that are not finite --------------------------------------------------------


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf, 1.5])
def test_a_checkpoint_comes_back_whatever_its_numbers_are(tmp_path, loss):
    manager = CheckpointManager(tmp_path)
    extra = {"a": [loss, (loss, {"b": loss})], "deep": {"c": {1: loss}}}
    manager.save(1, nn.Linear(1, 1), None, None, {"x": loss}, loss, extra=extra)
    _, saved, skipped = manager.load_newest()
    same = [saved.val_loss, saved.extra["a"][0], saved.extra["a"][1][1]["b"], saved.config["x"]]
    assert skipped == []
    assert all(v == loss or (v != v and loss != loss) for v in same)
    assert (manager.best() is None) is not math.isfinite(loss)


def test_a_run_whose_validation_is_nan_can_be_resumed(make, tmp_path, monkeypatch):
    trainer = make("run")
    monkeypatch.setattr(trainer.evaluator, "loss", lambda: math.nan)
    trainer.train(2)
    events = tmp_path / "run" / "events.jsonl"
    events.write_text(events.read_text().replace('"finished"', '"gone"'))
    assert resume_run(tmp_path / "run").step == 2
    last = list(read_jsonl(tmp_path / "run" / "metrics.jsonl"))[-1]
    assert math.isnan(last["val_loss"])
    assert math.isnan(last["val_perplexity"])


# -- a disk that does not read, and what a kill leaves ---------------------------------------------


class Broken:
    """`os.open` gives a handle, reading fails: as a disk with a bad sector does."""

    def __init__(self, monkeypatch, folder):
        from altgrad.training.checkpoints import manifest

        class File(manifest.io.FileIO):
            def read(self, *_):
                raise OSError(errno.EIO, os.strerror(errno.EIO))

            readinto = read

        def open_file(handle, mode):
            path = os.readlink(f"/proc/self/fd/{handle}")
            kind = File if str(folder) in path else os_file
            return kind(handle, mode)

        os_file = manifest.io.FileIO
        monkeypatch.setattr(manifest.io, "FileIO", open_file)


def stopped(run):
    events = run / "events.jsonl"
    events.write_text(events.read_text().replace('"finished"', '"gone"'))


def test_a_checkpoint_that_cannot_be_read_is_skipped_and_never_removed(make, tmp_path, monkeypatch):
    make("run", max_checkpoints=3).train()
    stopped(tmp_path / "run")
    with monkeypatch.context() as patch:
        newest = tmp_path / "run" / "checkpoints" / "step_00000004"
        Broken(patch, newest)
        trainer = resume_run(tmp_path / "run")
        assert trainer.step == 3
        assert "Input/output error" in trainer.remarks[0]
        collect_garbage(tmp_path / "run", keep=1)
        assert newest.is_dir()
    assert load_checkpoint(newest).step == 4


def test_the_one_that_was_being_replaced_is_found_by_every_reader(make, tmp_path):
    make("run").train()
    stopped(tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    for path in sorted(folder.glob("step_*"))[:-1]:
        shutil.rmtree(path)
    (folder / "step_00000004").rename(folder / ".step_00000004.old")
    assert step_read(tmp_path / "run") == 4
    trainer = resume_run(tmp_path / "run")
    assert trainer.step == 4
    trainer.train()
    assert [p.name for p in folder.glob("*step_*")] == ["step_00000004"]


# -- a folder that is taken away -------------------------------------------------------------------


def move(run):
    run.rename(run.with_name("moved"))


def take_lock(run):
    (run / ".lock").unlink()
    RunFolder(run).lock()


@pytest.mark.parametrize(
    "act", [move, shutil.rmtree, take_lock, lambda run: (run / ".lock").unlink()]
)
def test_a_run_whose_folder_is_taken_away_stops_and_writes_no_more(make, tmp_path, act):
    trainer, run = make("run", checkpoint_interval=-1), tmp_path / "run"

    class Taker:
        opened = evaluated = alert = notice = closed = lambda self, *_: None

        def progress(self, step, end, metrics):
            if step == 2:
                act(run)

    trainer.recorder.listeners.append(Taker())
    with pytest.raises(FolderLostError, match="was moved, deleted or taken"):
        trainer.train()
    left = run if run.exists() else tmp_path / "moved"
    assert trainer.step == 2
    assert "finished" not in [e["event"] for e in read_jsonl(left / "events.jsonl")]
    assert act is not move or not run.exists()
    if act is move:
        assert run_status(left) == "interrupted"
        json.loads((left / "data.json").read_text())
