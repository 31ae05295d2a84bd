"""What a launcher owes: every task attempted once and reported once, no more at a time than slots.

Each is tried with a stand-in for what starts its workers; `test_launchers.py` has the real ones.
"""

import os
import sys
from types import SimpleNamespace

import pytest

from altgrad.compare.launching import LAUNCHERS, Launch, local
from altgrad.compare.launching.launch import Task

SLOTS = [None, None]


class Pool:
    """Counts what is begun and what is reported."""

    def __init__(self):
        self.begun, self.ended, self.most = [], [], 0

    def begin(self, task):
        self.begun.append(task.label)
        self.most = max(self.most, len(self.begun) - len(self.ended))
        return task

    def done(self, task):
        self.ended.append(task.label)


def processes(pool, monkeypatch):
    def start(context, task, slot, running):
        pool.begin(task)
        reading, writing = os.pipe()
        os.close(writing)  # what waits for the process sees it end at once
        process = SimpleNamespace(join=lambda: os.close(reading), terminate=lambda: None)
        running[reading] = (process, slot, task)

    monkeypatch.setattr(local, "_start", start)


def ray(pool, monkeypatch):
    remote = SimpleNamespace(remote=lambda task: pool.begin(task).label)
    fake = SimpleNamespace(
        is_initialized=lambda: True,
        remote=lambda **how: lambda function: remote,
        nodes=lambda: [{"NodeID": "a", "Alive": True, "Resources": {"CPU": 2}}],
        wait=lambda pending, num_returns, timeout: (pending[:1], pending[1:]),
        get=lambda ready: None,
        exceptions=SimpleNamespace(RayError=RuntimeError, RayTaskError=KeyError),
    )
    monkeypatch.setitem(sys.modules, "ray", fake)


class Job:
    state = "COMPLETED"

    def done(self):
        return True


def slurm(pool, monkeypatch):
    class Executor:
        def __init__(self, **where):
            self.update_parameters = lambda **how: None

        def submit(self, call, task):
            pool.begin(task)
            return Job()

    monkeypatch.setitem(sys.modules, "submitit", SimpleNamespace(AutoExecutor=Executor))
    monkeypatch.setattr("altgrad.compare.launching.slurm.POLL_S", 0)


FAKES = {"local": processes, "ray": ray, "slurm": slurm}
QUEUED_ELSEWHERE = {"ray"}
"""Launchers that hand everything over: the cluster counts."""


def test_every_launcher_is_tried():
    assert set(FAKES) == set(LAUNCHERS)


@pytest.mark.parametrize("name", LAUNCHERS)
def test_every_task_is_attempted_and_reported_once(name, monkeypatch, tmp_path):
    pool = Pool()
    FAKES[name](pool, monkeypatch)
    tasks = [Task(f"task {i}", str(tmp_path / f"run{i}"), {}, 1, str(tmp_path)) for i in range(5)]
    how = Launch(launcher=name, jobs=len(SLOTS), slurm_cluster="local")
    LAUNCHERS[name](tasks, how, SLOTS, pool.done)
    labels = [task.label for task in tasks]
    assert sorted(pool.begun) == sorted(pool.ended) == labels
    # A cluster queues for itself and is handed everything at once.
    assert pool.most <= (len(tasks) if name in QUEUED_ELSEWHERE else len(SLOTS))
