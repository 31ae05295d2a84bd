"""Slurm that pre-empts its jobs (a stand-in for its commands): runs go on, the verdict stays."""

import os
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from altgrad.compare.conclusion import conclude
from altgrad.compare.launching import slurm as on_slurm
from altgrad.compare.launching.launch import Launch, Task
from altgrad.runs.folder import find_runs
from altgrad.runs.lines import read_jsonl
from tests.compare import slurm_stand_in as slurm
from tests.compare.test_ray_cluster import said_by

WORDS = (
    "optim.lr=0.01,0.1 seeds=2 max_steps=1200 eval_interval=300 checkpoint_interval=20 "
    "device=cpu compile=false precision.compute=32-true"
)
HOW = ("signal", "term", "kill", "cancel")


@pytest.fixture
def one_machine(ask, here, tmp_path):
    return said_by(conclude(ask(f"{WORDS} runs={tmp_path}/one").run()))


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Path:
    """The folder of a Slurm that has only its commands."""
    pytest.importorskip("submitit")
    folder = tmp_path / "slurm"
    slurm.install(folder)
    monkeypatch.setenv("SLURM_STAND_IN", str(folder))
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
    # What a job without a result became is asked rarely, to spare a real cluster's accounting.
    monkeypatch.setattr("submitit.slurm.slurm.SlurmJob.watcher._delay_s", 1)
    monkeypatch.setattr(on_slurm, "GRACE_S", 5)  # here; a job has its own
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)  # nine starts of a Python with torch, on a machine that may be busy
def test_preempted_jobs_go_on_and_the_verdict_is_that_of_one_machine(
    ask, one_machine, cluster, tmp_path
):
    """Four runs, pre-empted in four ways."""
    runs, over = tmp_path / "runs", threading.Event()

    def preempt() -> None:
        """Each job once, as soon as its run has a checkpoint."""
        done: list[str] = []
        while len(done) < len(HOW) and not over.wait(0.05):
            for job in slurm.jobs(cluster):
                if job not in done and len(done) < len(HOW) and has_checkpoint(runs, job):
                    slurm.preempt(cluster, job, HOW[len(done)])
                    done.append(job)

    thread = threading.Thread(target=preempt, daemon=True)
    thread.start()
    words = f"{WORDS} launcher=slurm jobs=2 retries=0 runs={runs}"
    conclusion = conclude(ask(words).run())
    over.set()
    thread.join()
    assert said_by(conclusion) == one_machine
    events = [e["event"] for run in find_runs(runs) for e in read_jsonl(run / "events.jsonl")]
    assert events.count("resumed") == 4
    assert "failed" not in events
    assert [slurm.starts(cluster, job) for job in slurm.jobs(cluster)] == [2, 2, 2, 1, 1]


def has_checkpoint(runs: Path, job: str) -> bool:
    """Of the run that the job makes, which submitit keeps beside its output."""
    from submitit.core.utils import DelayedSubmission

    kept = runs / "logs" / "slurm" / f"{job}_submitted.pkl"
    if not kept.is_file():
        return False
    run = Path(DelayedSubmission.load(kept).args[0].run)
    return any(run.glob("checkpoints/step_*/manifest.json"))


class Job:
    def __init__(self, state: str) -> None:
        self.state = state

    def done(self) -> bool:
        return True


def test_a_job_that_slurm_took_away_for_good_is_submitted_again(monkeypatch, tmp_path):
    """PreemptMode=CANCEL, or a node that failed: no finding, and no attempt that counts."""
    states = iter(["PREEMPTED", "NODE_FAIL", "COMPLETED"])
    submitted, done = [], []

    class Executor:
        update_parameters = staticmethod(lambda **how: None)

        def submit(self, call, task):
            submitted.append(task.label)
            return Job(next(states))

    monkeypatch.setitem(
        sys.modules, "submitit", SimpleNamespace(AutoExecutor=lambda **where: Executor())
    )
    monkeypatch.setattr(on_slurm, "POLL_S", 0)
    monkeypatch.setattr(on_slurm, "GRACE_S", 0)
    task = Task("arm", str(tmp_path / "run"), {})
    on_slurm.run_on_slurm([task], Launch(launcher="slurm"), [None], done.append)
    assert (submitted, done) == (["arm"] * 3, [task])


def test_an_interrupted_run_gives_no_result_while_slurm_may_still_act(monkeypatch):
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.setattr("altgrad.compare.launching.worker.run_task", lambda task: task.label)
    assert on_slurm.Preemptible()(Task("finished", "run", {})) == "finished"
    assert waited == []
    on_slurm.Preemptible()(Task("interrupted", "run", {}))
    assert waited == [on_slurm.GRACE_S]
