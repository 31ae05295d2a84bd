"""Runs as tasks of Ray: on a cluster's machines, or in Ray's workers on this one.

On a cluster (`ray_address`) a run gets as many threads as the smallest node has CPUs, so that every
node can take runs, or as many as are typed. What no node can hold is refused before anything is
queued. Where the nodes share no disk with this machine, or `storage` is given, runs travel
(`travel.py`). A run whose node died is queued again, whatever `retries` says, and goes on from its
last checkpoint.
"""

import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from altgrad.compare.launching.launch import Launch, Task
from altgrad.compare.launching.local import make_log
from altgrad.compare.launching.parcel import DamagedParcel
from altgrad.compare.launching.storage import Storage
from altgrad.compare.launching.travel import NoSharedDisk, lay_code, refuse_what_stays
from altgrad.runs.printable import printable
from altgrad.settings import ConfigError, require

NOTICE_S = 5.0
"""After so long without a run that ended, the queue is looked at."""
NODE_GONE_S = 15.0
"""How long a cluster may take to notice that a node is gone."""
PROBE_S = 120.0
"""How long a node may take to start a first worker."""

Nodes = dict[str, dict[str, Any]]
"""Id of a node that is alive -> what Ray says of it."""


@dataclass(frozen=True)
class Need:
    """What one run asks of its node."""

    cpus: int
    gpus: float

    def fit(self, node: dict[str, Any]) -> int:
        """How many such runs a node holds at once."""
        has = node["Resources"]
        by_cpus = int(has.get("CPU", 0) // self.cpus)
        return min(by_cpus, int(has.get("GPU", 0) / self.gpus + 1e-6)) if self.gpus else by_cpus

    def __str__(self) -> str:
        gpus = f" and {self.gpus:g} GPU" if self.gpus else ""
        return f"{_count(self.cpus, 'CPU')}{gpus}"


def run_on_ray(
    tasks: Sequence[Task], how: Launch, slots: list[int | None], done: Callable[[Task], None]
) -> None:
    """Attempt each task once. A Ray already running in this process is used and left running.

    Raises:
        ConfigError: no node can hold a run, or one of them needs more of this machine's disk than
            can travel.
    """
    ray = _import_ray()
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, how, slots, tasks)
    try:
        nodes = _nodes(ray)
        gpus = 1 / how.jobs_per_device if slots[0] is not None else 0
        need = Need(_threads(nodes, how, tasks[0].threads), gpus)
        _refuse_what_never_fits(nodes, need, how)
        tasks = [replace(task, threads=need.cpus) for task in tasks]
        _run(ray, tasks, need, _way(ray, nodes, how, tasks), done)
    finally:
        if ours:
            ray.shutdown()


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise ConfigError("launcher=ray needs Ray; pip install 'altgrad[cluster]'.") from None
    return ray


def _connect(ray: Any, how: Launch, slots: list[int | None], tasks: Sequence[Task]) -> None:
    """`ray_address`, whose nodes get this altgrad and the own parts of the tasks; or as many
    workers here as there are slots."""
    here = {} if how.ray_address else {"num_cpus": len(slots) * tasks[0].threads}
    env: dict[str, Any] = {
        "env_vars": {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    }
    with tempfile.TemporaryDirectory(prefix="altgrad-code-") as code:
        if how.ray_address:
            lay_code(tasks, Path(code))
            env["working_dir"] = code  # uploaded before `init` returns
        try:
            ray.init(
                address=how.ray_address or None,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env=env,
                **here,
            )
        except ConnectionError as error:
            raise ConfigError(
                f"ray_address={how.ray_address}: no cluster answers: {error}"
            ) from None


# -- what the cluster can hold --------------------------------------------------------------------


def _nodes(ray: Any) -> Nodes:
    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}


def _threads(nodes: Nodes, how: Launch, here: int) -> int:
    """Of each run: as typed, or the CPUs of the smallest node that has any. On this machine alone,
    as its cores are shared out."""
    if how.threads or not how.ray_address:
        return here
    cpus = [int(node["Resources"].get("CPU", 0)) for node in nodes.values()]
    return min((n for n in cpus if n >= 1), default=1)


def _refuse_what_never_fits(nodes: Nodes, need: Need, how: Launch) -> None:
    if any(need.fit(node) for node in nodes.values()):
        return
    typed = f"threads={how.threads}" if how.threads else f"jobs_per_device={how.jobs_per_device}"
    raise ConfigError(
        f"a run needs {need} ({typed}), and no node of the cluster has that: {_listed(nodes)}. "
        f"Write {'device=cpu' if need.gpus else 'threads=…'} for what a node has, or add a node."
    )


def _listed(nodes: Nodes) -> str:
    said = [f"{_name(node)} has {_has(node['Resources'])}" for node in nodes.values()]
    return "; ".join(said) or "there is no node"


def _has(resources: dict[str, float]) -> str:
    gpus = resources.get("GPU", 0)
    cpus = _count(int(resources.get("CPU", 0)), "CPU")
    return f"{cpus} and {_count(int(gpus), 'GPU')}" if gpus else cpus


def _name(node: dict[str, Any]) -> str:
    return f"{node.get('NodeManagerHostname', 'a node')} ({node['NodeID'][:6]})"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _blind(ray: Any, nodes: Nodes, runs: Path) -> list[str]:
    """Names of the nodes that do not see what this machine writes into the runs' folder.

    Raises:
        ConfigError: one cannot even load altgrad.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    runs.mkdir(parents=True, exist_ok=True)
    probe = runs / f".probe-{uuid4().hex}"
    probe.write_text(socket.gethostname())
    try:
        look = ray.remote(num_cpus=0, max_retries=0)(_sees)
        asked = {
            name: look.options(scheduling_strategy=On(name, soft=False)).remote(str(probe))
            for name, node in nodes.items()
            if node["Resources"].get("CPU", 0)
        }
        return [_name(nodes[name]) for name, found in asked.items() if not _answer(ray, found)]
    finally:
        probe.unlink()


def _answer(ray: Any, found: Any) -> bool:
    try:
        return bool(ray.get(found, timeout=PROBE_S))
    except ray.exceptions.RayTaskError as error:
        last = str(error).strip().splitlines()[-1]
        raise ConfigError(
            f"a node of the cluster cannot run altgrad: {last}. Start its Ray in an environment "
            "that has what altgrad needs (pip install 'altgrad[cluster]')."
        ) from None
    except ray.exceptions.RayError:
        return False  # a node that does not answer sees nothing


def _sees(path: str) -> bool:
    return Path(path).is_file()


# -- the queue ------------------------------------------------------------------------------------


class SharedDisk:
    """Every node writes the run folders where this machine reads them: only the task travels."""

    def __init__(self) -> None:
        self.call = _remote

    def sent(self, task: Task) -> tuple[Any, ...]:
        return (task,)

    def take(self, task: Task, result: Any) -> None:
        """What became of the run is in its folder already."""


def _way(ray: Any, nodes: Nodes, how: Launch, tasks: Sequence[Task]) -> SharedDisk | NoSharedDisk:
    """How runs get to the nodes and back.

    Raises:
        ConfigError: the storage cannot be used, or a run needs what cannot travel.
    """
    runs = Path(tasks[0].run).parent
    blind = _blind(ray, nodes, runs) if how.ray_address else []
    if not blind and not how.storage:
        return SharedDisk()
    refuse_what_stays(tasks, f"{_do(blind)} not see {runs}" if blind else "storage= is given")
    storage = Storage(how.storage) if how.storage else None
    if storage is not None:
        storage.check()
    elif blind:
        _say(
            f"{_do(blind)} not see {runs}: run folders come back when they end. A run whose node "
            "dies begins anew; with storage=… it goes on from its last checkpoint"
        )
    return NoSharedDisk(ray.put, storage)


def _do(names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'do' if len(names) > 1 else 'does'}"


def _run(
    ray: Any,
    tasks: Sequence[Task],
    need: Need,
    way: SharedDisk | NoSharedDisk,
    done: Callable[[Task], None],
) -> None:
    # A worker ends after its run: the next one starts from a clean process.
    remote = ray.remote(num_cpus=need.cpus, num_gpus=need.gpus, max_calls=1, max_retries=0)(
        way.call
    )
    # With each run, the nodes that were there when it was queued: several die with one node.
    alive = set(_nodes(ray))
    pending = {remote.remote(*way.sent(task)): (task, alive) for task in tasks}
    said = ""
    while pending:
        ready, _ = ray.wait(list(pending), num_returns=1, timeout=NOTICE_S)
        if not ready:
            said = _say_why(_nodes(ray), need, len(pending), said)
        for found in ready:
            task, alive = pending.pop(found)
            crashed, result = _result(ray, found, task)
            if crashed and _gone(ray, alive):
                _say(f"{task.label}: its node is gone; the run goes on elsewhere")
                pending[remote.remote(*way.sent(task))] = (task, set(_nodes(ray)))
            else:
                _take(way, task, result)
                done(task)


def _result(ray: Any, found: Any, task: Task) -> tuple[bool, Any]:
    """Whether the process that made the run died, and what it gave back; what else happened is in
    the run's folder, or in its log if it did not get that far."""
    try:
        return False, ray.get(found)
    except ray.exceptions.RayTaskError as error:
        with make_log(Path(task.run)).open("a") as log:
            log.write(f"{error}\n")
        return False, None
    except ray.exceptions.RayError:
        return True, None


def _take(way: SharedDisk | NoSharedDisk, task: Task, result: Any) -> None:
    """What arrives damaged has not arrived: the run is attempted again, as after a failure."""
    try:
        way.take(task, result)
    except DamagedParcel as error:
        _say(f"{task.label}: {error}")


def _gone(ray: Any, alive: set[str]) -> set[str]:
    """Nodes that were there and are not: the cluster may notice a little later than the run."""
    until = time.monotonic() + NODE_GONE_S
    while not (gone := alive - set(_nodes(ray))) and time.monotonic() < until:
        time.sleep(0.5)
    return gone


def _say_why(nodes: Nodes, need: Need, pending: int, said: str) -> str:
    """Says why runs wait, if that is news; returns what was said last.

    Raises:
        ConfigError: the nodes that could hold a run are gone.
    """
    room = sum(need.fit(node) for node in nodes.values())
    require(
        room > 0,
        f"no node is left that has {need} for a run: {_listed(nodes)}. Everything so far is kept; "
        "start a node, then ask again.",
    )
    waiting = pending - room
    if waiting <= 0:
        return said
    text = (
        f"{_count(waiting, 'run')} wait{'s' if waiting == 1 else ''}: each takes {need}, and "
        f"{_count(len(nodes), 'node')} ({_listed(nodes)}) hold{'s' if len(nodes) == 1 else ''} "
        f"{room} at a time"
    )
    # The count falls with each run that ends; only another cluster is news.
    news = text.partition(":")[2]
    if news != said:
        _say(text)
    return news


def _say(text: str) -> None:
    """To the person, beside the lines about runs that ended."""
    print(printable(text), file=sys.stderr, flush=True)


def _remote(task: Task) -> str:
    from altgrad.compare.launching.worker import run_task

    return run_task(task)
