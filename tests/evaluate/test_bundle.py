"""The published bundle's layout, as a folder and as its zip file."""

import shutil

import pytest

from altgrad.data import DataError
from altgrad.evaluate.bundle import CORE_TASKS, Bundle, find_bundle


def test_tasks_have_their_shots_delimiter_and_baseline(bundle_dir):
    task = Bundle(bundle_dir).tasks["openbook_qa"]
    assert (task.shots, task.delimiter, task.baseline) == (2, "\nAnswer: ", 0.25)
    assert Bundle(bundle_dir).tasks["winograd"].delimiter == " "


def test_core_means_the_tasks_whose_file_is_there(bundle_dir):
    names = [task.name for task in Bundle(bundle_dir).select(["core"])]
    assert names == ["openbook_qa", "winograd", "jeopardy"]


def test_a_missing_file_and_an_unknown_name_are_refused(bundle_dir):
    with pytest.raises(DataError, match="squad"):
        Bundle(bundle_dir).select(["squad"])
    with pytest.raises(DataError, match="did you mean 'winograd'"):
        Bundle(bundle_dir).select(["winogard"])


def test_the_zip_file_reads_as_the_folder_does(bundle_dir, tmp_path):
    (tmp_path / "zipped").mkdir()
    shutil.copytree(bundle_dir, tmp_path / "zipped" / "eval_bundle")
    archive = shutil.make_archive(str(tmp_path / "eval_bundle"), "zip", tmp_path / "zipped")
    folder, zipped = Bundle(bundle_dir), Bundle(archive)
    assert zipped.tasks == folder.tasks
    assert zipped.present == folder.present
    task = folder.tasks["winograd"]
    assert zipped.items(task) == folder.items(task)


def test_damage_is_named(bundle_dir, tmp_path):
    path = bundle_dir / "eval_data" / "world_knowledge" / "jeopardy_all.jsonl"
    path.write_text(path.read_text()[:-10])
    bundle = Bundle(bundle_dir)
    with pytest.raises(DataError, match=r"jeopardy_all.* is damaged"):
        bundle.items(bundle.tasks["jeopardy"])
    torn = tmp_path / "torn.zip"
    torn.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DataError, match="not a whole zip file"):
        Bundle(torn)
    with pytest.raises(DataError, match=r"no core\.yaml"):
        Bundle(tmp_path)


def test_without_a_bundle_the_message_says_where_to_get_one(monkeypatch, bundle_dir):
    monkeypatch.delenv("ALTGRAD_CORE", raising=False)
    with pytest.raises(DataError, match=r"eval_bundle\.zip"):
        find_bundle(None)
    monkeypatch.setenv("ALTGRAD_CORE", str(bundle_dir))
    assert find_bundle(None).present


def test_core_has_22_tasks():
    assert len(set(CORE_TASKS)) == 22
