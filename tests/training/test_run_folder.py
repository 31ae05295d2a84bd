"""A run folder holds one run, written by one process, and survives being cut off."""

import json

import pytest

from altgrad.cli import main
from altgrad.runs.folder import (
    RunFolder,
    find_runs,
    is_locked,
    new_run_path,
    resolve_run,
    run_status,
)
from altgrad.runs.lines import read_jsonl
from altgrad.runs.view import in_words, without_unit


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


def test_a_file_or_a_folder_of_somebody_named_latest_stays(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "latest").write_text("precious")
    (tmp_path / "b" / "notes").mkdir()
    (tmp_path / "b" / "latest").symlink_to("notes")
    for base in ("a", "b"):
        said = RunFolder(tmp_path / base / "run").create()
        assert "latest is not a link to a run" in said
    assert (tmp_path / "a" / "latest").read_text() == "precious"
    assert (tmp_path / "b" / "latest").resolve().name == "notes"


def test_a_link_to_a_run_that_was_deleted_is_replaced(tmp_path):
    (tmp_path / "latest").symlink_to("gone")
    folder = RunFolder(tmp_path / "run")
    assert folder.create() == ""
    assert (tmp_path / "latest").resolve().name == "run"


def test_what_is_no_run_is_left_out_of_show_and_named(tmp_path, capsys):
    for name, text in {"empty": "", "foreign": "a: 1", "bad": "a: [", "list": "- 1"}.items():
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.yaml").write_text(text)
    assert main(["show"]) == 0
    said = capsys.readouterr()
    assert said.err.count("left out") == 4
    assert "runs/foreign/config.yaml does not hold the settings of a run" in said.err
    assert main(["show", "foreign"]) == 2


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("peak_memory_bytes", 456_789_123, "436 MiB"),
        ("train_s", 3725.123456789, "1 h 02 min"),
        ("waited_s", 0.0123456, "0.012 s"),
        ("energy_j", 1234.5678, "1,235 J"),
        ("tokens_per_s", 20483.123, "20,483"),
        ("val_loss", 2.123456789012345, "2.1235"),
        ("seed", 1337, "1337"),
        ("best_val_loss", None, ""),
    ],
)
def test_show_says_units_and_no_more_digits_than_one_reads(name, value, words):
    assert in_words(name, value) == words
    assert without_unit("wall_s") == "wall"
    assert without_unit("tokens_per_s") == "tokens_per_s"
