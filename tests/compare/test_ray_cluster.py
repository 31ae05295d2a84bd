"""Ray on a cluster: nodes of different sizes, what never fits, what waits, a node that dies."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import altgrad
from altgrad.compare.conclusion import conclude
from altgrad.compare.launching import ray as on_ray
from altgrad.compare.launching.launch import Launch
from altgrad.compare.launching.ray import Need
from altgrad.runs import read_json
from altgrad.runs.code_version import package_version
from altgrad.runs.folder import find_runs
from altgrad.runs.lines import read_jsonl
from altgrad.settings import ConfigError
from altgrad.training.checkpoints import find_checkpoint
from altgrad.training.checkpoints.files import verify_files

WORDS = "optim.lr=0.01,0.1 seeds=2"
LONG = "max_steps=3000 eval_interval=1000 checkpoint_interval=50"
"""Runs of some seconds: workers start seconds apart, and two of them must be at work at once."""


def node(name: str, cpus: float = 0, gpus: float = 0) -> dict:
    resources = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
    return {"NodeID": name, "NodeManagerHostname": "host", "Alive": True, "Resources": resources}


def nodes(**cpus: int) -> dict:
    return {name: node(name, n) for name, n in cpus.items()}


def test_threads_are_those_of_the_smallest_node_that_has_any():
    cluster = Launch(launcher="ray", ray_address="a:1")
    assert on_ray._threads(nodes(head=0, big=8, small=2), cluster, here=16) == 2
    assert on_ray._threads(nodes(head=0, big=8), Launch(launcher="ray"), here=16) == 16
    typed = Launch(launcher="ray", ray_address="a:1", threads=4)
    assert on_ray._threads(nodes(big=8, small=2), typed, here=4) == 4


def test_a_node_holds_as_many_runs_as_both_its_cpus_and_gpus_allow():
    assert Need(2, 0).fit(node("a", 5)) == 2
    assert Need(1, 0.25).fit(node("a", 16, 2)) == 8
    assert Need(4, 0.25).fit(node("a", 16, 2)) == 4
    assert Need(1, 1).fit(node("a", 16)) == 0


@pytest.mark.parametrize(
    ("need", "how", "expected"),
    [
        (Need(4, 0), Launch(threads=4), r"needs 4 CPUs \(threads=4\).*host \(a\) has 1 CPU;"),
        (Need(1, 1), Launch(), r"1 CPU and 1 GPU .*Write device=cpu"),
    ],
)
def test_what_no_node_can_hold_is_refused_by_name(need, how, expected):
    with pytest.raises(ConfigError, match=expected):
        on_ray._refuse_what_never_fits(nodes(a=1, b=2), need, how)


def test_what_waits_is_said_once_with_its_reason(capsys):
    said = on_ray._say_why(nodes(a=1, b=1), Need(1, 0), 5, "")
    assert capsys.readouterr().err == (
        "3 runs wait: each takes 1 CPU, and 2 nodes (host (a) has 1 CPU; host (b) has 1 CPU) hold "
        "2 at a time\n"
    )
    assert on_ray._say_why(nodes(a=1, b=1), Need(1, 0), 4, said) == said
    on_ray._say_why(nodes(a=1, b=1), Need(1, 0), 2, "")
    assert capsys.readouterr().err == ""


def test_a_cluster_that_has_lost_its_nodes_is_not_waited_for():
    with pytest.raises(ConfigError, match=r"no node is left that has 2 CPUs .*start a node"):
        on_ray._say_why(nodes(a=1), Need(2, 0), 5, "")


# -- real ones ------------------------------------------------------------------------------------


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    """`cluster(1, 1)`: a head without CPUs and nodes with so many."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})

    def make(*cpus: int) -> SimpleNamespace:
        found = [made.add_node(num_cpus=n) for n in cpus]
        made.wait_for_nodes()
        return SimpleNamespace(address=made.address, nodes=found, remove=made.remove_node)

    yield make
    made.shutdown()


@pytest.fixture
def one_machine(ask, here, tmp_path):
    """What the same words say on one machine, made before any cluster."""
    return lambda words: said_by(conclude(ask(f"{words} runs={tmp_path}/one").run()))


def said_by(conclusion) -> tuple:
    outcomes = {arm: [o.outcome for o in row] for arm, row in conclusion.outcomes.items()}
    return outcomes, [e.to_dict() for e in conclusion.evidence]


def on_cluster(ask, found, words: str, runs: Path):
    # `threads=1` of the fixture would hide how many are chosen.
    comparison = ask(f"{words} launcher=ray ray_address={found.address} runs={runs} retries=0")
    comparison.launch.threads = None
    return comparison


@pytest.mark.slow
def test_two_nodes_of_one_cpu_give_the_verdict_of_one_machine(ask, one_machine, cluster, tmp_path):
    expected = one_machine(WORDS)
    found = cluster(1, 1)
    assert said_by(conclude(on_cluster(ask, found, WORDS, tmp_path / "ray").run())) == expected


@pytest.mark.slow
def test_threads_that_no_node_has_are_refused_at_once(ask, cluster, tmp_path):
    comparison = on_cluster(ask, cluster(1), WORDS, tmp_path / "ray")
    comparison.launch.threads = 3
    started = time.monotonic()
    with pytest.raises(ConfigError, match=r"3 CPUs \(threads=3\), and no node"):
        comparison.run()
    assert time.monotonic() - started < 60
    assert find_runs(tmp_path / "ray") == []


@pytest.mark.slow
def test_what_cannot_travel_to_a_node_that_sees_nothing_is_refused(
    ask, cluster, tmp_path, monkeypatch
):
    comparison = on_cluster(ask, cluster(1), WORDS, tmp_path / "ray")
    # The nodes look where this machine has written nothing.
    monkeypatch.setattr(on_ray, "_sees", lambda path: Path("/nowhere", path[1:]).is_file())
    monkeypatch.setattr("altgrad.compare.launching.travel._needs", lambda task: "a program")
    with pytest.raises(ConfigError, match=r"needs a program.*does not see .*that all nodes share"):
        comparison.run()


OWN_DISK = """
mount -t tmpfs none /tmp && mount -t tmpfs none {package} && cd / && unset PYTHONPATH &&
exec {python} -m ray.scripts.scripts start --address={address} --num-cpus={cpus} --block
"""
"""A node whose /tmp (all that a test writes) and altgrad are not this machine's."""


@pytest.fixture
def islands(cluster):
    """`islands(1, 1)`: a head without CPUs, and nodes with so many that share no disk with it."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"]).returncode:
        pytest.skip("no mount namespaces here")
    found, nodes = cluster(), []

    def make(*cpus: int) -> SimpleNamespace:
        for count in cpus:
            typed = OWN_DISK.format(
                package=Path(altgrad.__file__).parent,
                python=sys.executable,
                address=found.address,
                cpus=count,
            )
            nodes.append(
                subprocess.Popen(
                    ["unshare", "-m", "sh", "-c", typed],
                    start_new_session=True,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        wait_for_nodes(found.address, 1 + len(nodes))
        return SimpleNamespace(address=found.address, nodes=nodes)

    yield make
    for node in nodes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(node.pid, signal.SIGKILL)
        node.wait()


def wait_for_nodes(address: str, count: int) -> None:
    import ray

    ray.init(address=address, include_dashboard=False, logging_level="ERROR")
    try:
        deadline = time.monotonic() + 120
        while sum(node["Alive"] for node in ray.nodes()) < count:
            assert time.monotonic() < deadline, "the nodes did not come up"
            time.sleep(0.5)
    finally:
        ray.shutdown()


@pytest.mark.slow
def test_without_a_shared_disk_the_verdict_is_that_of_one_machine(
    ask, one_machine, islands, tmp_path, capfd
):
    """With a part of one's own that imports another file."""
    (tmp_path / "helper.py").write_text("from altgrad.model.mlp import GELU as Parent\n")
    (tmp_path / "mine.py").write_text("from helper import Parent\n\nclass MLP(Parent): pass\n")
    words = f"{WORDS} model.mlp=mine:MLP"
    expected = one_machine(words)
    runs = tmp_path / "ray"
    conclusion = conclude(on_cluster(ask, islands(1, 1), words, runs).run())
    assert said_by(conclusion) == expected
    assert "run folders come back when they end" in capfd.readouterr().err
    for run in find_runs(runs):
        assert verify_files(find_checkpoint(run)).step == 6
        assert read_json(run / "environment.json")["code"]["altgrad"] == package_version()
        assert (run / "code" / "helper.py").is_file()


@pytest.mark.slow
def test_a_node_with_a_disk_of_its_own_dies_and_its_run_goes_on_from_the_storage(
    ask, one_machine, islands, tmp_path
):
    words = f"optim.lr=0.01,0.1 seeds=1 {LONG}"
    expected = one_machine(words)
    found, runs = islands(1, 1), tmp_path / "ray"
    with tempfile.TemporaryDirectory(dir="/var/tmp") as kept:

        def kill() -> None:
            while len({path.parent for path in Path(kept).glob("*/step_*.json")}) < 2:
                time.sleep(0.05)
            os.killpg(found.nodes[0].pid, signal.SIGKILL)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        conclusion = conclude(on_cluster(ask, found, f"{words} storage={kept}", runs).run())
        killer.join()
        assert not list(Path(kept).glob("*/files/*")), "what came home has left the storage"
    assert said_by(conclusion) == expected
    events = [e["event"] for run in find_runs(runs) for e in read_jsonl(run / "events.jsonl")]
    assert events.count("resumed") == 1
    assert "failed" not in events


def under_way(run: Path) -> bool:
    events = [e["event"] for e in read_jsonl(run / "events.jsonl")]
    return any(run.glob("checkpoints/step_*")) and "finished" not in events


@pytest.mark.slow
def test_a_node_that_dies_loses_no_run(ask, one_machine, cluster, tmp_path, capfd):
    words = f"{WORDS} {LONG}"
    expected = one_machine(words)
    found, runs = cluster(1, 2), tmp_path / "ray"

    def kill() -> None:
        # The first node holds one run, so one of two under way is on the second.
        while sum(under_way(run) for run in find_runs(runs)) < 2:
            time.sleep(0.05)
        found.remove(found.nodes[1], allow_graceful=False)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    conclusion = conclude(on_cluster(ask, found, words, runs).run())
    killer.join()
    assert said_by(conclusion) == expected
    assert "its node is gone; the run goes on elsewhere" in capfd.readouterr().err
    events = [e["event"] for run in find_runs(runs) for e in read_jsonl(run / "events.jsonl")]
    assert "resumed" in events
    assert "failed" not in events
