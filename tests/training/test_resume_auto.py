"""`altgrad train resume=auto …`: the same words go on with the same run, whatever stopped it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from altgrad.cli import main
from altgrad.runs.folder import find_runs, run_status
from altgrad.runs.lines import read_jsonl
from altgrad.training.run_differences import read_numbers

SMALL = [
    "model.n_layer=1",
    "model.n_head=1",
    "model.n_kv_head=null",
    "model.n_embd=8",
    "model.block_size=8",
    "data.batch_size=2",
    "eval_interval=-1",
    "sample_tokens=0",
    "compile=false",
    "precision=fp32",
    "device=cpu",
    "data.path=my.txt",
    "checkpoint_interval=1",
    "checkpoint_background=false",
    "schedule=constant",
]
AUTO = ["train", "resume=auto", *SMALL]


@pytest.fixture(autouse=True)
def text():
    Path("my.txt").write_text("the cat sat on a mat " * 40)


def events(run, kind):
    return [e for e in read_jsonl(run / "events.jsonl") if e["event"] == kind]


def stop(run):
    """As if the machine had gone after the last save: the session has no end."""
    path = run / "events.jsonl"
    path.write_text(path.read_text().replace('"finished"', '"gone"'))


def again(*words):
    return main([*AUTO, *words])


def resumed_at(run):
    return [e["step"] for e in events(run, "resumed")]


@pytest.mark.parametrize("place", [[], ["run_dir=here/run"]], ids=["below runs", "run_dir"])
def test_the_same_words_go_on_where_the_run_was_stopped(place):
    def the_run():
        return Path("here/run") if place else find_runs("runs")[0]

    assert again("max_steps=2", *place) == 0
    stop(the_run())
    assert again("max_steps=4", "resume.allow=[max_steps]", *place) == 0
    stop(the_run())
    assert again("max_steps=4", *place) == 0
    assert resumed_at(the_run()) == [2, 4]
    assert sorted(read_numbers(the_run())) == [1, 2, 3, 4]
    assert len(find_runs("runs")) == (0 if place else 1)


@pytest.mark.parametrize("place", [[], ["run_dir=run"]], ids=["below runs", "run_dir"])
def test_a_finished_run_is_named_and_nothing_is_trained(place, capsys):
    again("max_steps=2", *place)
    run = Path("run") if place else find_runs("runs")[0]
    before = (run / "events.jsonl").read_text()
    capsys.readouterr()
    assert again("max_steps=2", *place) == 0
    assert f"{run} is finished: nothing to train" in capsys.readouterr().out
    assert (run / "events.jsonl").read_text() == before
    assert len(find_runs("runs")) == (0 if place else 1)


def test_a_moved_folder_is_found_and_goes_on():
    again("max_steps=2")
    run = find_runs("runs")[0]
    stop(run)
    run = run.rename("runs/moved")
    assert again("max_steps=2") == 0
    assert resumed_at(run) == [2]


@pytest.mark.parametrize("finetune", [[], ["finetune=lora"]], ids=["weights", "lora"])
def test_a_run_from_another_run_goes_on_even_if_its_base_was_moved(finetune):
    if finetune:
        pytest.importorskip("peft")
    main(["train", *SMALL, "max_steps=1", "run_dir=base"])
    words = [*finetune, "max_steps=2", "run_dir=run"]
    assert again("init_from=base", *words) == 0
    stop(Path("run"))
    assert again(f"init_from={Path('base').resolve()}", *words) == 0
    Path("base").rename("elsewhere")
    stop(Path("run"))
    if not finetune:
        assert again("init_from=elsewhere", *words) == 0
        assert resumed_at(Path("run")) == [2, 2]


def test_other_settings_in_the_same_folder_are_refused_by_name(capsys):
    again("max_steps=2", "run_dir=run")
    stop(Path("run"))
    assert again("max_steps=2", "run_dir=run", "seed=5") == 2
    assert "this run has seed=1337, not 5" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_three_kills_of_the_real_command_and_it_ends_as_if_there_had_been_none(tmp_path):
    words = [*AUTO, "max_steps=2000", "log_interval=1"]
    for kill in range(3):
        process = subprocess.Popen(
            [sys.executable, "-m", "altgrad.cli", *words], stdout=subprocess.DEVNULL
        )
        wait_for_step(process, 5 * (kill + 1))
        process.send_signal(signal.SIGKILL)
        process.wait()
    (run,) = find_runs("runs")
    assert run_status(run) == "interrupted"
    assert len(resumed_at(run)) == 2
    assert 0 < resumed_at(run)[0] < resumed_at(run)[1]
    end = max(read_numbers(run)) + 3
    allowed = ["resume.allow=[max_steps]"]
    assert main([*AUTO, f"max_steps={end}", *allowed]) == 0
    main(["train", *SMALL, f"max_steps={end}", "run_dir=whole"])
    whole = {s: m["loss"] for s, m in read_numbers(Path("whole")).items()}
    assert {s: m["loss"] for s, m in read_numbers(run).items()} == whole


def wait_for_step(process, step, patience_s=120):
    """Until the run has saved so many steps more than it had."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until and process.poll() is None:
        runs = find_runs("runs")
        if runs and len(list(read_jsonl(runs[0] / "metrics.jsonl"))) >= step:
            return
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    raise AssertionError(f"no step {step}")
