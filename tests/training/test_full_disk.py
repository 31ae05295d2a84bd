"""A save that fails anywhere leaves the checkpoint before it, whole; and the run goes on."""

import errno
from contextlib import suppress

import pytest
import torch
from torch import nn

from altgrad.runs.lines import LineLog, read_jsonl
from altgrad.training import Trainer
from altgrad.training.checkpoints.manager import CheckpointError, CheckpointManager

from .faulty_disk import FaultyDisk, PowerCut


@pytest.fixture
def saved(tmp_path):
    """`saved(disk)` saves step 1 on a sound disk and step 2 on `disk`."""

    def save(disk, *, folder, second=2, keep=1):
        torch.manual_seed(0)
        model = nn.Linear(5, 5)
        manager = CheckpointManager(folder, keep)
        manager.save(1, model, val_loss=2.0)
        manager.disk = disk
        manager.save(second, model, val_loss=1.0)

    return save


def operations(saved, tmp_path, **how):
    counting = FaultyDisk(error=None)
    saved(counting, folder=tmp_path / "counted", **how)
    return counting.operations


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_fails_at_any_operation_leaves_the_previous_checkpoint(saved, tmp_path, error):
    count = operations(saved, tmp_path)
    assert count > 12
    for n in range(1, count + 1):
        folder = tmp_path / f"{n}"
        # After the new checkpoint is in place, a failing removal of the old one may pass.
        with suppress(OSError):
            saved(FaultyDisk(n, error), folder=folder)
        _, content, skipped = CheckpointManager(folder).load_newest()
        assert content.step in (1, 2)
        assert skipped == []
        assert not list(folder.glob(".step_*.part*"))


@pytest.mark.parametrize("second", [1, 2])
def test_a_power_cut_at_any_operation_leaves_a_checkpoint(saved, tmp_path, second):
    """Also while the same step is saved again; unflushed files are empty afterwards."""
    for n in range(1, operations(saved, tmp_path, second=second) + 1):
        folder = tmp_path / f"{n}"
        with pytest.raises(PowerCut):
            saved(FaultyDisk(n, None), folder=folder, second=second)
        manager = CheckpointManager(folder)
        manager.tidy()
        _, content, skipped = manager.load_newest()
        assert content.step in (1, second)
        assert skipped == []
        assert not list(folder.glob(".step_*"))


@pytest.mark.parametrize("background", [True, False])
def test_a_run_survives_a_disk_that_is_full_for_a_while(
    make_config, make_model, data_dir, background
):
    config = make_config(max_steps=8, checkpoint_interval=1, checkpoint_background=background)
    trainer = Trainer(config, make_model(config), data_dir, "cpu")

    class FullForAWhile(FaultyDisk):
        def _count(self):
            if 2 <= trainer.step <= 5:
                self._fail()

    trainer.checkpoint_manager.disk = FullForAWhile()
    assert trainer.train()["status"] == "finished"
    events = list(read_jsonl(trainer.recorder.folder.events))
    assert any("No space left" in e.get("error", "") for e in events)
    assert trainer.checkpoint_manager.latest().name == "step_00000008"


def test_a_last_save_that_fails_is_said_and_the_run_is_not_called_finished(
    make_config, make_model, data_dir
):
    config = make_config(max_steps=4, checkpoint_interval=-1, eval_interval=-1)
    trainer = Trainer(config, make_model(config), data_dir, "cpu")
    trainer.train(2)
    trainer.checkpoint_manager.disk = FaultyDisk(1)
    with pytest.raises(CheckpointError, match=r"No space left.*newest checkpoint is step_00000002"):
        trainer.train()
    assert list(read_jsonl(trainer.recorder.folder.events))[-1]["event"] == "failed"


def test_metrics_wait_in_memory_while_the_disk_refuses_them(tmp_path, monkeypatch):
    log = LineLog(tmp_path / "metrics.jsonl")
    log.append({"step": 1})
    real = LineLog._write

    def half_a_line(self, handle, content):
        real(self, handle, content[:4])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LineLog, "_write", half_a_line)
    assert log.append({"step": 2}).errno == errno.ENOSPC
    log.append({"step": 3})
    assert [m["step"] for m in read_jsonl(log.path)] == [1]
    monkeypatch.setattr(LineLog, "_write", real)
    log.append({"step": 4})
    assert [m["step"] for m in read_jsonl(log.path)] == [1, 2, 3, 4]
    log.close()


def test_a_torn_line_is_cut_before_the_next_one(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"step": 1}\n{"st')
    log = LineLog(path)
    log.append({"step": 2})
    log.close()
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
