"""What has been told to be safe outlives a power cut: every file, every folder, every name."""

import pytest
from torch import nn

from altgrad.runs.disk import Disk
from altgrad.runs.folder import RunFolder, write_atomically
from altgrad.training.build import build_run
from altgrad.training.checkpoints.manager import CheckpointManager

from .faulty_disk import FlushLedger

PASSING = (".lock", "latest", "samples", "figures")
"""Of these nothing is promised: what they say is found again, or decoration."""


def test_a_checkpoint_and_the_folders_made_for_it_are_on_the_disk(tmp_path):
    with FlushLedger() as ledger:
        CheckpointManager(tmp_path / "deep" / "checkpoints").save(1, nn.Linear(2, 2))
        assert ledger.lost(tmp_path / "deep") == []


def test_a_file_written_at_once_is_there_under_its_name(tmp_path):
    with FlushLedger() as ledger:
        Disk().make_folder(tmp_path / "new")
        write_atomically(tmp_path / "new" / "a.json", "first")
        write_atomically(tmp_path / "new" / "a.json", "second")
        assert ledger.lost(tmp_path / "new") == []


def test_a_new_run_and_the_folder_of_all_runs_are_on_the_disk(tmp_path):
    with FlushLedger() as ledger:
        folder = RunFolder(tmp_path / "runs" / "a")
        folder.create()
        folder.event("started")
        folder.sync()
        folder.unlock()
        assert ledger.lost(tmp_path / "runs", but=PASSING) == []


@pytest.fixture
def saved(make_config, data_dir, tmp_path):
    """What the disk would have lost at each save, told by whoever was saving."""
    config = make_config(
        max_steps=4,
        eval_interval=2,
        checkpoint_interval=2,
        checkpoint_background=False,
        run_dir=str(tmp_path / "runs" / "a"),
    )
    config.data.path = str(data_dir)
    return build_run(config)


def test_a_run_that_is_cut_off_after_a_save_has_all_of_it(saved, tmp_path, monkeypatch):
    lost = []
    with FlushLedger() as ledger:
        report = saved.recorder.saved

        def look(outcome):
            lost.append(ledger.lost(tmp_path / "runs", but=PASSING))
            report(outcome)

        monkeypatch.setattr(saved.recorder, "saved", look)
        saved.train()
        assert ledger.lost(tmp_path / "runs", but=PASSING) == []
    assert lost == [[], []]


@pytest.mark.parametrize("operation", ["flush", "flush_folder"])
def test_the_ledger_sees_what_was_not_flushed(tmp_path, monkeypatch, operation):
    monkeypatch.setattr(Disk, operation, lambda self, what: None)
    with FlushLedger() as ledger:
        CheckpointManager(tmp_path / "checkpoints").save(1, nn.Linear(2, 2))
        lost = ledger.lost(tmp_path / "checkpoints")
    assert "checkpoints/step_00000001" in lost
    assert "checkpoints/step_00000001/state.json" in lost
