"""A run folder holds one run, written by one process, and survives being cut off."""

import json

import pytest

from altgrad.training.run_folder import (
    RunFolder,
    find_runs,
    is_locked,
    new_run_path,
    read_jsonl,
    resolve_run,
    run_status,
)


def make_run(root, *events):
    folder = RunFolder(root)
    folder.create()
    folder.config.write_text("max_steps: 3\n")
    for event in events:
        folder.event(event)
    return folder


def test_two_new_runs_never_share_a_name():
    assert new_run_path({}) != new_run_path({})


def test_a_second_writer_is_refused(tmp_path):
    folder = make_run(tmp_path / "a")
    with pytest.raises(ValueError, match="another process"):
        RunFolder(tmp_path / "a").create()
    folder.unlock()
    RunFolder(tmp_path / "a").create()


def test_status_follows_the_last_event_and_the_lock(tmp_path):
    folder = make_run(tmp_path / "a", "started")
    assert run_status(folder.root) == "running"
    folder.unlock()
    assert not is_locked(folder.root)
    assert run_status(folder.root) == "interrupted"
    folder.event("finished")
    assert run_status(folder.root) == "finished"
    folder.event("resumed")
    assert run_status(folder.root) == "interrupted"


def test_a_torn_last_line_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert [m["step"] for m in read_jsonl(path)] == [1, 2]


def test_metrics_after_a_step_are_forgotten(tmp_path):
    folder = make_run(tmp_path / "a")
    folder.metrics.write_text("".join(json.dumps({"step": i}) + "\n" for i in range(1, 6)) + '{"s')
    folder.forget_metrics_after(3)
    assert [m["step"] for m in read_jsonl(folder.metrics)] == [1, 2, 3]


def test_latest_points_at_the_newest_run(tmp_path):
    make_run(tmp_path / "runs" / "a").unlock()
    make_run(tmp_path / "runs" / "b").unlock()
    assert resolve_run(None, tmp_path / "runs").name == "b"
    assert resolve_run("a", tmp_path / "runs").name == "a"
    assert [p.name for p in find_runs(tmp_path / "runs")] == ["a", "b"]


def test_no_run_is_one_clear_line(tmp_path):
    with pytest.raises(ValueError, match="altgrad train"):
        resolve_run(None, tmp_path)
    with pytest.raises(ValueError, match="not a run folder"):
        resolve_run("nothing", tmp_path)
