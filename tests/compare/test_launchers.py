"""Wherever runs are executed they give the same losses; whatever kills them, they go on."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from altgrad.compare.conclusion import conclude
from altgrad.compare.launching import worker
from altgrad.compare.launching.launch import Launch, take_launch_words
from altgrad.compare.launching.sweep import LAUNCHERS, Wanted, complete
from altgrad.runs.disk import Disk
from altgrad.runs.folder import find_runs
from altgrad.runs.lines import read_jsonl
from altgrad.settings import ConfigError

WORDS = "optim.lr=0.01,0.1 seeds=2"


def losses(conclusion) -> dict[str, list[float]]:
    return {arm: [o.outcome for o in row] for arm, row in conclusion.outcomes.items()}


@pytest.fixture
def one_after_another(ask, here, tmp_path):
    return losses(conclude(ask(f"{WORDS} runs={tmp_path}/one").run()))


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        "launcher=local jobs=1",
        "launcher=local jobs=2",
        "launcher=ray jobs=2",
        "launcher=slurm slurm_cluster=local jobs=2",
    ],
)
def test_every_launcher_gives_the_same_losses(ask, one_after_another, monkeypatch, tmp_path, how):
    pytest.importorskip({"ray": "ray", "slurm": "submitit"}.get(how.split("=")[1].split()[0], "os"))
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    conclusion = conclude(ask(f"{WORDS} {how} runs={tmp_path}/other").run())
    assert losses(conclusion) == one_after_another


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("victim", ["the command", "everything"])
def test_a_killed_comparison_goes_on_where_it_was(tmp_path, data_dir, jobs, victim):
    """Kill -9 half-way, then the same command again: no run is repeated, the verdict is the same
    as that of a comparison that was left in peace."""
    words = [f"runs={tmp_path}/killed", f"jobs={jobs}"]
    process = start_comparison(data_dir, *words)
    deadline = time.monotonic() + 120
    while len(finished_runs(tmp_path / "killed")) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    if victim == "everything":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    before = {run: starts(run) for run in finished_runs(tmp_path / "killed")}
    begun = find_runs(tmp_path / "killed")
    assert 2 <= len(before) < 6

    assert start_comparison(data_dir, *words).wait(timeout=200) == 0
    assert len(finished_runs(tmp_path / "killed")) == 6
    assert {run: starts(run) for run in before} == before
    for run in begun:
        steps = [line["step"] for line in read_jsonl(run / "metrics.jsonl")]
        assert steps == list(range(1, 61))

    assert start_comparison(data_dir, f"runs={tmp_path}/whole").wait(timeout=200) == 0
    assert verdict_in(tmp_path / "killed") == verdict_in(tmp_path / "whole")


def start_comparison(data_dir: Path, *words: str) -> subprocess.Popen:
    """`altgrad compare` as somebody types it, in a process group of its own."""
    tiny = "model=gpt2 model.n_layer=1 model.n_head=1 model.n_embd=8 model.block_size=8"
    run = "model.vocab_size=13 data.batch_size=2 max_steps=60 eval_interval=20 device=cpu"
    question = "optim.lr=0.01,0.1 seeds=3 optim=adamw precision=fp32 compile=false threads=1"
    typed = [*question.split(), *tiny.split(), *run.split(), f"data.path={data_dir}", *words]
    return subprocess.Popen(
        [sys.executable, "-m", "altgrad", "compare", *typed],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
    )


def verdict_in(runs: Path) -> tuple:
    """What was concluded, and from which losses."""
    (path,) = runs.glob("compare/*/verdict.json")
    content = json.loads(path.read_text())
    outcomes = {a: [o["outcome"] for o in row] for a, row in content["outcomes"].items()}
    return content["evidence"], outcomes


def finished_runs(base: Path) -> list[Path]:
    runs = find_runs(base)
    return [r for r in runs if "finished" in [e["event"] for e in read_jsonl(r / "events.jsonl")]]


def starts(run: Path) -> int:
    return sum(e["event"] in ("started", "resumed") for e in read_jsonl(run / "events.jsonl"))


@pytest.mark.slow
def test_a_process_that_dies_takes_no_other_run_along(compose, tmp_path):
    good, bad = compose(["optim.lr=0.01"]), compose(["optim.lr=0.1"])
    bad.data.path = "nowhere"
    bad.tracker.names = []
    wanted = [Wanted("good", good, Path("runs/good")), Wanted("bad", bad, Path("runs/bad"))]
    seen = []
    complete(wanted, Launch(jobs=2, threads=1, retries=0), lambda *said: seen.append(said[2:]))
    assert dict(seen) == {"good": "finished", "bad": "failed"}


def test_threads_are_shared_out(monkeypatch):
    monkeypatch.setattr("altgrad.compare.launching.launch.available_cores", lambda: 8)
    assert Launch(jobs=3).threads_each(3) == 2
    assert Launch(jobs=16).threads_each(16) == 1
    assert Launch(jobs=4, threads=5).threads_each(4) == 5


def test_gpus_get_several_runs_each(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert Launch(jobs_per_device=2).slots("cuda:0") == [0, 1, 0, 1]
    assert Launch(jobs=3, jobs_per_device=2).slots("cuda:0") == [0, 1, 0]
    assert Launch(jobs=2).slots("cpu") == [None, None]


def test_launch_words_are_no_part_of_the_question():
    launch, others = take_launch_words(["jobs=2", "seeds=3", "launcher=ray", "threads=null"])
    assert (launch.jobs, launch.launcher, launch.threads) == (2, "ray", None)
    assert others == ["seeds=3"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("launcher=k8s", "launcher='k8s'"),
        ("jobs=0", "jobs=0"),
        ("jobs=many", "jobs='many'"),
        ("retries=-1", "retries=-1"),
        ("slurm_cluster=here", "slurm_cluster='here'"),
    ],
)
def test_impossible_launches_are_refused(word, expected):
    with pytest.raises(ValueError, match=expected):
        take_launch_words([word])[0].check(list(LAUNCHERS))


def test_a_run_stopped_before_its_first_checkpoint_starts_over(compose, here):
    config = compose([])
    run = Path("runs/cut")
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(yaml.safe_dump(config.to_dict()))
    (run / "events.jsonl").write_text('{"time": 0, "event": "started", "step": 0}\n')
    complete([Wanted("cut", config, run)], Launch(threads=1))
    assert starts(run) == 2
    assert finished_runs(Path("runs")) == [run]


def test_a_disk_that_fills_up_is_no_finding_about_the_arm_whatever_words_say_it(
    compose, here, monkeypatch
):
    """The last save's failure arrives as a `CheckpointError`."""
    config, run = compose([]), Path("runs/full")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Disk, "write", full)
    with pytest.raises(ConfigError, match=r"could not go on: .*That is no finding about the arm"):
        complete([Wanted("full", config, run)], Launch(threads=1, retries=0))
    assert "gave_up" not in (run / "events.jsonl").read_text()
    monkeypatch.undo()


def test_a_refusal_is_the_arms_own_failure(compose, here, monkeypatch):
    run = Path("runs/refused")

    def refuse(*_, **__):
        raise ConfigError("not so")

    monkeypatch.setattr(worker, "build_run", refuse)
    complete([Wanted("refused", compose([]), run)], Launch(threads=1, retries=0))
    assert "gave_up" in (run / "events.jsonl").read_text()
