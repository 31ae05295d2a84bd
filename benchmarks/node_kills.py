"""Kill a node of a Ray cluster, or the command that asks, at random moments; compare the verdicts.

    python benchmarks/node_kills.py [--nodes 10] [--drivers 3] [--seed 1]

A cluster of three nodes with 1, 2 and 3 CPUs (processes of this machine) makes a small comparison.
Once nothing is killed, to learn how long it takes. Then, at a random moment of that time, a random
node is killed with SIGKILL, its workers with it, and a new one takes its place afterwards; or the
command itself is killed, and typed again. Every other comparison has no shared disk: its runs
travel, with their checkpoints in a `storage=`. Each verdict (outcomes, evidence) must be that of
one machine, bit for bit. Prints a table in Markdown.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from altgrad.runs.folder import find_runs
from altgrad.runs.lines import read_jsonl

SIZES = (1, 2, 3)
VOCABULARY = 13
QUESTION = (
    *("optim.lr=0.01,0.1", "seeds=2", "max_steps={steps}", "eval_interval=500"),
    *("checkpoint_interval=100", "device=cpu", "compile=false", "precision=fp32", "threads=1"),
    *("model=gpt2", "model.n_layer=1", "model.n_head=1", "model.n_embd=8", "model.block_size=8"),
    *(f"model.vocab_size={VOCABULARY}", "data.batch_size=2", "optim=adamw"),
)


@dataclass(frozen=True)
class Trial:
    """victim: node, driver, or nobody. at_s: after the command was typed."""

    number: int
    victim: str
    at_s: float
    storage: bool


def main() -> None:
    arguments = _arguments()
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="node-kills-") as place:
        folder = Path(place)
        _make_tokens(folder / "tokens")
        words = [*QUESTION, f"data.path={folder}/tokens"]
        words = [word.format(steps=arguments.steps) for word in words]
        expected = _one_machine(folder / "one", words)
        field = Field(folder, words, expected)
        try:
            _campaign(field, arguments, chance)
        finally:
            field.cluster.shutdown()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=10, help="nodes to kill")
    parser.add_argument("--drivers", type=int, default=3, help="commands to kill")
    parser.add_argument("--steps", type=int, default=2000, help="of each run")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def _campaign(field: "Field", arguments: argparse.Namespace, chance: random.Random) -> None:
    print("| # | killed | after | disk | said | resumed | begun again | verdict |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    whole_s = field.run(Trial(0, "nobody", 0, False), chance)
    victims = ["node"] * arguments.nodes + ["driver"] * arguments.drivers
    for number, victim in enumerate(victims, start=1):
        moment = chance.uniform(0.1, 0.95) * whole_s
        field.run(Trial(number, victim, moment, bool(number % 2)), chance)
    if field.different:
        sys.exit(f"{field.different} verdicts differ")


def _make_tokens(folder: Path) -> None:
    folder.mkdir()
    ids = (np.arange(4000) % VOCABULARY).astype(np.uint16)
    ids[:3500].tofile(folder / "train.bin")
    ids[3500:].tofile(folder / "val.bin")


def _one_machine(runs: Path, words: list[str]) -> Any:
    assert _ask(runs, words).wait() == 0
    return verdict_in(runs)


def _ask(runs: Path, words: list[str], log: Path | None = None) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "altgrad", "compare", *words, f"runs={runs}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        stdout=subprocess.DEVNULL,
        stderr=log.open("ab") if log else subprocess.DEVNULL,
        start_new_session=True,
    )


def verdict_in(runs: Path) -> Any:
    """What was concluded, and from which losses."""
    (path,) = runs.glob("compare/*/verdict.json")
    content = json.loads(path.read_text())
    outcomes = {a: [o["outcome"] for o in row] for a, row in content["outcomes"].items()}
    return content["evidence"], outcomes


class Field:
    """A cluster, and comparisons on it."""

    def __init__(self, folder: Path, words: list[str], expected: Any) -> None:
        from ray.cluster_utils import Cluster

        self.folder, self.words, self.expected = folder, words, expected
        self.different = 0
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        self.nodes = {size: self.cluster.add_node(num_cpus=size) for size in SIZES}
        self.cluster.wait_for_nodes()

    def run(self, trial: Trial, chance: random.Random) -> float:
        """One comparison with its kill; prints a row and returns its seconds."""
        runs, log = self.folder / f"runs{trial.number}", self.folder / f"log{trial.number}"
        words = [*self.words, "launcher=ray", f"ray_address={self.cluster.address}"]
        words += [f"storage={self.folder}/kept{trial.number}"] if trial.storage else []
        started = time.monotonic()
        driver = _ask(runs, words, log)
        killed = self._kill(trial, driver, started, chance)
        if trial.victim == "driver":
            driver = _ask(runs, words, log)
        code = driver.wait()
        seconds = time.monotonic() - started
        self._tell(trial, killed, runs, log, code)
        self._replace()
        return seconds

    def _kill(
        self, trial: Trial, driver: subprocess.Popen, started: float, chance: random.Random
    ) -> str:
        if trial.victim == "nobody":
            return "nothing"
        time.sleep(max(0.0, started + trial.at_s - time.monotonic()))
        if trial.victim == "driver":
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
            return "the command"
        size = chance.choice(SIZES)
        self.cluster.remove_node(self.nodes.pop(size), allow_graceful=False)
        return f"the node of {size}"

    def _replace(self) -> None:
        for size in SIZES:
            if size not in self.nodes:
                self.nodes[size] = self.cluster.add_node(num_cpus=size)

    def _tell(self, trial: Trial, killed: str, runs: Path, log: Path, code: int) -> None:
        said = log.read_text(errors="replace")
        same = code == 0 and verdict_in(runs) == self.expected
        self.different += not same
        events = [e["event"] for run in find_runs(runs) for e in read_jsonl(run / "events.jsonl")]
        count = Counter(events)
        moved = said.count("its node is gone")
        again = count["started"] - len(find_runs(runs))
        verdict = "the same" if same else f"DIFFERENT (exit {code}: {said.strip()[-300:]})"
        disk = "none shared" if trial.storage else "shared"
        print(
            f"| {trial.number} | {killed} | {trial.at_s:.0f} s | {disk} | {moved} moved | "
            f"{count['resumed']} | {again} | {verdict} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
