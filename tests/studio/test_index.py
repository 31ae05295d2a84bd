"""The index says of every run what `altgrad show` says, and sees what changes."""

import math
import os
import socket

import pytest

from altgrad.runs import RunFolder, lock_holder, summarise_run
from altgrad.runs.reading import SettingsReader, read_settings
from altgrad.studio.index import Index
from altgrad.studio.live import changes
from altgrad.studio.progress import MOST_POINTS, Progress
from altgrad.studio.query import Query, differences, matches, table
from tests.studio.conftest import add_steps, write_run


def looked(base) -> Index:
    index = Index(base)
    index.look()
    return index


def test_a_card_agrees_with_the_summary_of_the_whole_file(base):
    run = write_run(base, "long", losses=[3 / (1 + 0.1 * i) for i in range(500)])
    add_steps(run, [0.5], first=501, evaluate=True)
    card, summary = looked(base).get("long"), summarise_run(run)
    assert card.status == summary.status == "finished"
    assert card.max_steps == summary.max_steps
    assert card.progress.last["step"] == summary.step == 501
    assert card.progress.best_val_loss == summary.best_val_loss
    assert card.progress.val_loss == summary.val_loss


def test_a_small_curve_stays_small_and_even(tmp_path):
    run = write_run(tmp_path, "r", losses=[float(i) for i in range(1, 5001)])
    progress = Progress(run / "metrics.jsonl")
    progress.follow()
    assert MOST_POINTS / 2 <= len(progress.spark) < 2 * MOST_POINTS
    gaps = {b[0] - a[0] for a, b in zip(progress.spark, progress.spark[1:], strict=False)}
    assert len(gaps) == 1
    assert progress.last["loss"] == 5000.0


def test_a_file_that_was_replaced_is_read_anew(tmp_path):
    run = write_run(tmp_path, "r", losses=(3.0, 2.0))
    progress = Progress(run / "metrics.jsonl")
    progress.follow()
    (run / "metrics.jsonl").unlink()
    add_steps(run, [9.0], evaluate=True)
    assert progress.follow()
    assert (progress.last["loss"], progress.best_val_loss, progress.lines) == (9.0, 9.5, 1)
    assert not progress.follow()


def test_new_grown_and_deleted_runs_are_seen(base):
    index = looked(base)
    assert table(index, Query())["total"] == 0
    run = write_run(base, "a", losses=(3.0,), ended="", max_steps=9)
    index.look()
    version = index.version
    add_steps(run, [2.0], first=2)
    index.look()
    assert index.changed_since(version) == ["a"]
    assert table(index, Query())["rows"][0]["loss"] == 2.0
    for file in run.iterdir():
        file.unlink()
    run.rmdir()
    index.look()
    assert table(index, Query())["total"] == 0


def test_a_metrics_file_that_lost_lines_makes_a_finished_run_damaged(base):
    run = write_run(base, "short", losses=(3.0, 2.0, 1.0))
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 3.0}\n')
    index = looked(base)
    assert index.get("short").status == "damaged" == summarise_run(run).status


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("", ["run-a", "run-b"]),
        ("optim.lr=0.5", ["run-b"]),
        ("lr=0.5", ["run-b"]),
        ("finished", ["run-a"]),
        ("-finished", ["run-b"]),
        ("e4m3", []),
        ("-failed run-a", ["run-a"]),
    ],
)
def test_words_find_runs(base, words, names):
    write_run(base, "run-a", learning_rate=0.25)
    write_run(base, "run-b", learning_rate=0.5, ended="failed")
    cards = sorted(looked(base).cards(), key=lambda c: c.name)
    assert [c.name for c in cards if matches(c, words)] == names


def test_what_has_no_value_stands_last_whichever_way(base):
    write_run(base, "never", losses=(1.0,), ended="")
    write_run(base, "low", losses=(1.0,))
    write_run(base, "high", losses=(2.0,))
    index = looked(base)
    for down, order in ((False, ["low", "high", "never"]), (True, ["high", "low", "never"])):
        rows = table(index, Query(sort="val_loss", down=down))["rows"]
        assert [r["name"] for r in rows] == order


def test_differences_name_the_settings_and_nothing_else(base):
    write_run(base, "a", learning_rate=0.25)
    write_run(base, "b", learning_rate=0.5)
    a, b = sorted(looked(base).cards(), key=lambda c: c.name)
    assert differences([a, b]) == [("optim.lr", ["0.25", "0.5"])]


def test_a_page_of_the_table_holds_its_first_row_against_the_one_before(base):
    for i in range(3):
        run = write_run(base, f"r{i}", learning_rate=0.1 * (i + 1))
        os.utime(run / "config.yaml", (i, i))
    (row,) = table(looked(base), Query(first=1, count=1))["rows"]
    assert (row["name"], row["differs"]) == ("r1", [["optim.lr", "0.2"]])


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb:\n- 2\n- 3\n\nc:\n  d: x\n",
        "a: &k 1\nb: *k\n",
        "a: 'x\nb: y'\n",
        "a: [1,\nb]\n",
        "--- \na: 1\n",
        "a: 1\na: 2\n",
        "# remark\na: 1\n",
    ],
)
def test_blocks_are_read_as_yaml_is(text, tmp_path, monkeypatch):
    from altgrad.runs import reading

    monkeypatch.setattr(reading, "SETTINGS", {})
    path = tmp_path / "config.yaml"
    path.write_text(text)
    reader = SettingsReader()
    for _ in range(2):
        assert reader.read(path) == read_settings(path)


def test_the_lock_says_which_process_holds_it(base):
    run = write_run(base, "a", ended="")
    folder = RunFolder(run)
    assert lock_holder(run) is None
    folder.lock()
    assert lock_holder(run) == os.getpid()
    (run / ".lock").write_text(f"{os.getppid()} {socket.gethostname()}\n")
    assert lock_holder(run) is None  # it does not hold it, whatever the file says
    folder.unlock()
    assert lock_holder(run) is None


def test_the_first_news_says_that_anything_may_have_changed(base):
    import asyncio
    import json

    index, told = looked(base), []

    async def listen():
        async for line in changes(index, lambda: asyncio.sleep(0, len(told) == 2), every_s=0.01):
            told.append(json.loads(line.removeprefix("data: ")))
            if len(told) == 1:
                write_run(base, "a")
                index.look()

    asyncio.run(listen())
    assert [t["all"] for t in told] == [True, False]
    assert told[1]["runs"] == ["a"]


def test_time_left_counts_the_evaluations(tmp_path):
    run = write_run(tmp_path, "r", losses=(3.0, 2.0))
    progress = Progress(run / "metrics.jsonl")
    progress.follow()
    assert math.isclose(progress.left_s(10), 8 * (0.010 + 0.1 / 2))
