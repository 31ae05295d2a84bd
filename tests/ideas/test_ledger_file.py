"""The ledger's file: only added to, chained, and safe to be killed while writing."""

import json
import multiprocessing

import pytest

from altgrad.ideas.ledger import FILE, LedgerFile
from altgrad.settings import ConfigError


@pytest.fixture
def file(tmp_path):
    made = LedgerFile(tmp_path / "ledger")
    for k in range(3):
        made.append("note", text=f"entry {k}")
    return made


def test_entries_come_back_in_order(file):
    assert [(e["n"], e["text"]) for e in file.entries()] == [(k, f"entry {k}") for k in range(3)]


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_line_that_a_kill_cut_off_was_never_an_entry(file, cut):
    whole = file.path.read_bytes()
    file.path.write_bytes(whole[:-cut])
    assert len(file.entries()) == 2
    file.append("note", text="entry 2")
    assert [e["text"] for e in file.entries()] == [f"entry {k}" for k in range(3)]


@pytest.mark.parametrize("harm", ["changed", "dropped", "swapped", "garbage"])
def test_a_ledger_that_was_tampered_with_is_refused(file, harm):
    lines = file.path.read_text().splitlines(keepends=True)
    made = {
        "changed": [lines[0].replace("entry 0", "entry 9"), *lines[1:]],
        "dropped": lines[1:],
        "swapped": [lines[1], lines[0], lines[2]],
        "garbage": [lines[0], "}{\n", lines[2]],
    }
    file.path.write_text("".join(made[harm]))
    with pytest.raises(ConfigError, match="is not what was written"):
        file.entries()


def test_a_folder_without_a_ledger_says_how_to_begin_one(tmp_path):
    with pytest.raises(ConfigError, match="altgrad ideas new"):
        LedgerFile(tmp_path).entries()


def test_a_number_that_is_none_is_no_entry(file):
    with pytest.raises(ValueError, match="JSON"):
        file.append("note", value=float("nan"))
    assert len(file.entries()) == 3


def test_a_second_process_is_told_that_the_ledger_is_taken(file):
    with (
        file.lock(),
        pytest.raises(ConfigError, match="another process"),
        LedgerFile(file.folder).lock(wait=False),
    ):
        pass


def _append_many(folder, name):
    file = LedgerFile(folder)
    for k in range(20):
        with file.lock():
            file.append("note", text=f"{name} {k}")


def test_processes_that_share_a_ledger_take_turns(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_append_many, args=(tmp_path, n)) for n in "ab"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    entries = LedgerFile(tmp_path).entries()
    assert sorted(e["text"] for e in entries) == sorted(f"{n} {k}" for n in "ab" for k in range(20))
    assert all(json.loads(x) for x in (tmp_path / FILE).read_text().splitlines())
