"""A run of another process can be followed, whatever happens to its files meanwhile."""

import json

from altgrad.runs.folder import RunFolder
from altgrad.runs.watch import Follower, describe, picture, watch
from altgrad.training.config import TrainConfig


def test_only_whole_new_lines_come(tmp_path):
    path = tmp_path / "metrics.jsonl"
    follower = Follower(path)
    assert list(follower.new_lines()) == []
    path.write_text('{"step": 1}\n{"st')
    assert list(follower.new_lines()) == [{"step": 1}]
    with path.open("a") as file:
        file.write('ep": 2}\n')
    assert list(follower.new_lines()) == [{"step": 2}]


def test_a_replaced_file_is_read_from_its_start(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n')
    follower = Follower(path)
    list(follower.new_lines())
    (tmp_path / "new").write_text('{"step": 1}\n')
    (tmp_path / "new").replace(path)
    assert list(follower.new_lines()) == [{"step": 1}]


def test_it_follows_until_the_run_ends(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.create()
    folder.config.write_text(json.dumps(TrainConfig(max_steps=3).to_dict()))
    folder.event("started")
    shown: list[str] = []
    written: list[int] = []

    def write_a_step(_seconds):
        step = len(written) + 1
        written.append(step)
        with folder.metrics.open("a") as file:
            file.write(json.dumps({"step": step, "loss": 3.0 - step}) + "\n")
        if step == 3:
            folder.event("finished")
            folder.unlock()

    assert watch(folder.root, draw=shown.append, curves=False, wait=write_a_step) == "finished"
    assert shown[-1].startswith("run · finished · step 3/3 · loss 0.0000")


def test_the_curves_are_drawn_above_the_line(tmp_path):
    lines = [{"step": s, "loss": 4.0 - s / 10, "val_loss": 3.5} for s in range(1, 11)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(m) + "\n" for m in lines))
    drawn = picture(tmp_path, "mine · running").splitlines()
    assert drawn[-1] == "mine · running"
    assert len(drawn) > 10
    text = "\n".join(drawn)
    assert "training loss" in text
    assert "validation loss" in text
    assert "3.9" in text


def test_curves_that_cannot_be_drawn_cost_the_curves(tmp_path, monkeypatch):
    def failing(*_):
        raise AttributeError("no such function in this version")

    monkeypatch.setattr("altgrad.runs.plots.terminal_plot", failing)
    assert picture(tmp_path, "mine · running").splitlines() == [
        "no curves: no such function in this version",
        "mine · running",
    ]


def test_a_line_says_how_long_it_takes_still():
    numbers = {"step": 10, "loss": 2.0, "step_ms": 100.0, "tokens_per_s": 1234.0}
    line = describe("a", "running", numbers, 610)
    assert (
        line == "a · running · step 10/610 · loss 2.0000 · 1,234 tokens/s · about 1 min 00 s left"
    )
