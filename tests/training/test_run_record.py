"""A finished run counts only with all its metrics: what was lost, edited or doubled is named."""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from altgrad.runs.folder import run_status, what_is_lost
from altgrad.runs.lines import LineLog, read_jsonl, read_metrics
from altgrad.runs.summary import summarise_run
from altgrad.training.build import build_run, resume_run
from altgrad.training.checkpoints.manager import CheckpointError


@pytest.fixture
def run(make_config, data_dir, tmp_path):
    """Finished after 6 steps, saved at each."""
    config = make_config(checkpoint_interval=1, max_checkpoints=9)
    config.data.path = str(data_dir)
    build_run(config).train()
    return tmp_path / "run"


def lines_of(run):
    return (run / "metrics.jsonl").read_text().splitlines(keepends=True)


def cut_end(lines):
    return lines[:4]


def edit_middle(lines):
    changed = json.dumps({**json.loads(lines[3]), "loss": 1.0}) + "\n"
    return [*lines[:3], changed, *lines[4:]]


def double(lines):
    return [*lines[:3], lines[2], *lines[3:]]


def leave_out(lines):
    return lines[:2] + lines[3:]


def spoil(lines):
    return [*lines[:4], "\x00\x01\n", *lines[5:]]


def append(lines):
    return [*lines, lines[-1]]


DAMAGE = {
    cut_end: ("4 of 6 lines, up to step 4 of 6", 4),
    edit_middle: ("was changed after it was written", 3),
    double: (r"was changed \(line 4 repeats step 3\)", 3),
    leave_out: ("5 of 6 lines", 2),
    spoil: (r"was changed \(line 5 cannot be read\)", 4),
    append: ("7 lines, 6 were written", 6),
}


def damage(run, how):
    (run / "metrics.jsonl").write_text("".join(how(lines_of(run))))


def test_a_whole_record_is_finished(run):
    assert run_status(run) == "finished"
    assert what_is_lost(run) == ""


@pytest.mark.parametrize("how", DAMAGE, ids=lambda f: f.__name__)
def test_a_record_that_is_not_what_was_written_is_damaged_and_repaired(run, how):
    whole = [{k: m[k] for k in ("step", "loss")} for m in read_jsonl(run / "metrics.jsonl")]
    words, sound_until = DAMAGE[how]
    damage(run, how)
    assert summarise_run(run).status == "damaged"
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(what_is_lost(run))
    trainer = resume_run(run)
    assert trainer.step == sound_until
    trainer.train()
    assert run_status(run) == "finished"
    again = [{k: m[k] for k in ("step", "loss")} for m in read_jsonl(run / "metrics.jsonl")]
    assert again == whole


def test_a_stopped_run_never_ends_finished_with_half_its_steps(make_config, data_dir, tmp_path):
    """Damaged before the oldest checkpoint: refused, with the cure."""
    config = make_config(max_steps=9, checkpoint_interval=2, eval_interval=-1)
    config.data.path = str(data_dir)
    build_run(config).train(6)
    run = tmp_path / "run"
    events = (run / "events.jsonl").read_text().replace('"finished"', '"interrupted"')
    (run / "events.jsonl").write_text(events)
    damage(run, lambda lines: lines[1:])
    with pytest.raises(CheckpointError, match=r"5 of 6 lines.*init_from="):
        resume_run(run)


def test_an_older_run_without_a_digest_counts_if_its_last_step_is_there(run):
    path = run / "events.jsonl"
    events = [{k: v for k, v in e.items() if k != "metrics"} for e in read_jsonl(path)]
    path.write_text("".join(json.dumps(e) + "\n" for e in events))
    assert run_status(run) == "finished"
    damage(run, cut_end)
    assert run_status(run) == "damaged"
    assert what_is_lost(run) == "metrics.jsonl ends at step 4 of 6"


def refuse(constant):
    raise ValueError(f"{constant} is no JSON")


@pytest.mark.parametrize("eval_interval", [-1, 3])
def test_events_are_json_for_every_program(make_config, data_dir, tmp_path, eval_interval):
    """Without an evaluation the best loss is none, not infinite."""
    config = make_config(max_steps=2, eval_interval=eval_interval)
    config.data.path = str(data_dir)
    build_run(config).train()
    for name in ("events.jsonl", "environment.json", "data.json", "weights.json"):
        text = (tmp_path / "run" / name).read_text()
        for part in text.splitlines() if name.endswith("l") else [text]:
            json.loads(part, parse_constant=refuse)


# -- two threads -----------------------------------------------------------------------------------


class LazyDisk(LineLog):
    """Lets the other threads run between a line's way to the disk and the note that it is there."""

    def _write(self, handle, content):
        super()._write(handle, content)
        time.sleep(0.002)


def test_lines_stay_whole_while_another_thread_brings_them_to_the_disk(tmp_path):
    """As the thread does that writes a checkpoint, while the run logs its next steps."""
    log, over = LazyDisk(tmp_path / "metrics.jsonl"), threading.Event()

    def sync():
        while not over.is_set():
            log.sync()

    with ThreadPoolExecutor(1) as pool:
        saving = pool.submit(sync)
        for step in range(1, 41):
            log.append({"step": step})
        over.set()
        saving.result()
    log.close()
    assert [m["step"] for m in read_metrics(log.path)] == list(range(1, 41))


def test_a_log_that_is_closed_meanwhile_is_flushed_all_the_same(tmp_path, monkeypatch):
    """The number of a closed file is soon another file's: it must not be used then."""
    log, real, flushed = LineLog(tmp_path / "metrics.jsonl"), os.fsync, []

    def close_first(handle):
        log.close()
        real(handle)
        flushed.append(handle)

    monkeypatch.setattr(os, "fsync", close_first)
    log.append({"step": 1})
    log.sync()
    assert flushed
    assert [m["step"] for m in read_metrics(log.path)] == [1]


def test_a_ctrl_c_within_a_write_doubles_no_line(tmp_path, monkeypatch):
    log, real = LineLog(tmp_path / "metrics.jsonl"), LineLog._write

    def interrupted(self, handle, content):
        real(self, handle, content)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LineLog, "_write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            log.append({"step": 1})
    log.close()
    assert [m["step"] for m in read_metrics(log.path)] == [1]
