"""Wherever runs are executed they give the same losses; whatever kills them, they go on."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from altgrad.compare.conclusion import conclude
from altgrad.compare.launch import Launch, take_launch_words
from altgrad.compare.sweep import LAUNCHERS, Wanted, complete
from altgrad.training.run_folder import find_runs, read_jsonl

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
def test_a_killed_comparison_goes_on_where_it_was(tmp_path, data_dir):
    """Kill -9 half-way, as a power cut would; then the same command again."""
    script = tmp_path / "ask.py"
    script.write_text(SCRIPT.format(data=str(data_dir)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(script)]
    process = subprocess.Popen(command, env=environment, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while len(finished_runs(tmp_path)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    before = {run: starts(run) for run in finished_runs(tmp_path)}
    assert 2 <= len(before) < 6
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, timeout=200)
    assert len(finished_runs(tmp_path)) == 6
    assert {run: starts(run) for run in before} == before


SCRIPT = """
import sys
from altgrad.compare.comparison import Comparison
from altgrad.compare.launch import Launch
from altgrad.compare.question import read_question
from altgrad.training.config import TrainConfig

def compose(words):
    values = dict(w.split("=") for w in words)
    return TrainConfig(
        n_layer=1, n_head=1, n_embd=8, block_size=8, vocab_size=13, batch_size=2, device="cpu",
        max_steps=60, eval_interval=60, data={{"path": {data!r}, "batch_size": 2}},
        learning_rate=float(values["optim.lr"]),
    )

if __name__ == "__main__":
    question = read_question(["optim.lr=0.01,0.1", "seeds=3"])
    Comparison(question, compose, launch=Launch(jobs=1, threads=1)).run()
"""


def finished_runs(base: Path) -> list[Path]:
    runs = find_runs(base / "runs")
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
    monkeypatch.setattr("altgrad.compare.launch.available_cores", lambda: 8)
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
    assert finished_runs(Path(".")) == [run]
