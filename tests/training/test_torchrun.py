"""`torchrun` over two agents (machines) of two processes: one is lost, the run goes on."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import altgrad
from altgrad.runs.lines import read_events, read_jsonl
from altgrad.settings import ConfigError
from altgrad.training.machine import accumulation_of, processes

LAST_BIT = 1e-6
"""DDP lays its gradients into other buckets at the first step of a session, and gloo adds up those
of four processes in another order then: not bit for bit, as it is with two."""
AGENT = {"TORCHELASTIC_RUN_ID": "run", "LOCAL_WORLD_SIZE": "2"}


def test_processes_are_those_that_torchrun_started(make_config, monkeypatch):
    config = make_config(devices=4, strategy="ddp")
    assert processes(config) == (4, 1)
    for name, value in {**AGENT, "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    assert processes(config) == (2, 2)


@pytest.mark.parametrize(("count", "each"), [(4, 3), (2, 6), (12, 1), (1, 12)])
def test_a_step_reads_the_same_micro_batches_whoever_shares_them(make_config, count, each):
    config = make_config(devices=4, strategy="ddp", accumulation=3)
    assert accumulation_of(config, count) == each


def test_processes_that_cannot_share_a_step_are_refused(make_config):
    config = make_config(devices=4, strategy="ddp")
    with pytest.raises(
        ConfigError, match=r"3 processes cannot share the 4 micro-batches .*devices"
    ):
        accumulation_of(config, 3)


# -- real ones ------------------------------------------------------------------------------------


class Agents:
    """Of one run; each is a `torchrun` of its own, a machine as far as torch is concerned.

    nodes: `--nnodes`, such as `2` or `1:2`.
    """

    def __init__(self, run: Path, words: list[str], nodes: str) -> None:
        self.run, self.words, self.nodes = run, words, nodes
        self.port = free_port()
        self.agents: list[subprocess.Popen] = []

    def start(self) -> subprocess.Popen:
        # The first one holds the rendezvous: it is the machine that must live.
        host = not self.agents
        rendezvous = ["--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{self.port}"]
        rendezvous += [f"--rdzv-conf=is_host={int(host)},last_call_timeout=5"]
        how = [f"--nnodes={self.nodes}", "--nproc-per-node=2", "--max-restarts=5"]
        log = self.run.parent / f"{self.run.name}.{len(self.agents)}.log"
        torchrun = [sys.executable, "-m", "torch.distributed.run", *how, *rendezvous]
        train = ["altgrad", "train", *self.words, f"run_dir={self.run}", "resume=auto"]
        with log.open("w") as file:
            agent = subprocess.Popen(
                [*torchrun, "--local-addr=127.0.0.1", "-m", *train],
                env={
                    **os.environ,
                    "PYTHONPATH": str(Path(altgrad.__file__).parents[1]),
                    "OMP_NUM_THREADS": "1",
                    # With its store shared, an agent that was there before does not publish its
                    # address to one that is new, and both wait until they give up (torch 2.13).
                    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
                },
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.agents.append(agent)
        return agent

    def lose(self, agent: subprocess.Popen) -> None:
        """As a machine goes: the agent first, or it would start its processes again."""
        children = children_of(agent.pid)
        agent.kill()
        agent.wait()
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    def finish(self) -> None:
        for agent in self.agents:
            if agent.poll() is None:
                assert agent.wait(timeout=280) == 0, self.said()

    def said(self) -> str:
        logs = sorted(self.run.parent.glob(f"{self.run.name}.*.log"))
        return "\n".join(log.read_text()[-2000:] for log in logs)

    def end(self) -> None:
        for agent in self.agents:
            if agent.poll() is None:
                self.lose(agent)


def children_of(pid: int) -> list[int]:
    """torchrun's processes lead sessions of their own, which a kill of its group leaves alive."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def agents(tmp_path, data_dir):
    made: list[Agents] = []
    words = [
        *("model=gpt2", "model.n_layer=1", "model.n_head=2", "model.n_embd=16"),
        *("model.block_size=8", "model.vocab_size=13", f"data.path={data_dir}", "device=cpu"),
        *("data.batch_size=2", "max_steps=150", "eval_interval=-1", "checkpoint_interval=10"),
        *("compile=false", "precision=fp32", "optim=adamw", "devices=4", "strategy=ddp"),
        "sample_tokens=0",
    ]

    def make(name: str, nodes: str = "2", more: Sequence[str] = ()) -> Agents:
        made.append(Agents(tmp_path / name, [*words, *more], nodes))
        return made[-1]

    yield make
    for each in made:
        each.end()


def wait_for_checkpoint(found: Agents) -> None:
    deadline = time.monotonic() + 200
    while not any(found.run.glob("checkpoints/step_*")):
        assert time.monotonic() < deadline, found.said()
        time.sleep(0.05)


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in read_jsonl(run / "metrics.jsonl")]


def kinds(run: Path) -> list[str]:
    return [event["event"] for event in read_events(run / "events.jsonl")]


@pytest.mark.slow
@pytest.mark.timeout(900)  # ten starts of a Python with torch, on a machine that may be busy
def test_a_run_that_loses_an_agent_goes_on_from_its_last_checkpoint(agents):
    """With dropout: each process finds its own generators again."""
    whole = agents("whole")
    whole.start(), whole.start()
    whole.finish()
    assert len(losses(whole.run)) == 150

    replaced = agents("replaced")
    replaced.start()
    lost = replaced.start()
    wait_for_checkpoint(replaced)
    replaced.lose(lost)
    replaced.start()
    replaced.finish()
    assert "resumed" in kinds(replaced.run)
    np.testing.assert_allclose(losses(replaced.run), losses(whole.run), rtol=LAST_BIT)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_that_loses_an_agent_for_good_goes_on_with_the_processes_left(agents):
    """Without dropout, whose numbers are each process's own."""
    whole = agents("whole", more=["model.dropout=0"])
    whole.start(), whole.start()
    whole.finish()

    fewer = agents("fewer", nodes="1:2", more=["model.dropout=0"])
    fewer.start()
    lost = fewer.start()
    wait_for_checkpoint(fewer)
    fewer.lose(lost)
    fewer.finish()
    assert "resumed" in kinds(fewer.run)
    np.testing.assert_allclose(losses(fewer.run), losses(whole.run), rtol=1e-5)
    notes = [e["text"] for e in read_events(fewer.run / "events.jsonl") if e["event"] == "note"]
    assert any("2 processes for devices=4: each takes 2 micro-batches" in text for text in notes)
