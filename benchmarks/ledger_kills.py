"""Kill an unattended `altgrad ideas run` with SIGKILL at random moments; compare, count.

    python benchmarks/ledger_kills.py --kills 10 [--program]

One ledger of small real runs is worked off undisturbed, one is killed again and again, alone or
with all its processes, and typed again. Both must end with the same entries, but for times and what
follows from them, and no run may have been made twice. With `--program` the ledger is of somebody
else's script in a repository of its own, its ideas arguments and patches of that repository. Takes
some minutes.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from altgrad.ideas.ledger import LedgerFile
from altgrad.runs.lines import read_jsonl

TIMES = {
    *("time", "prev", "costs", "step_s", "costs_ratio", "tokens_per_s", "per_second"),
}
"""Keys of entries that hold times, hashes of lines with times, or what is computed from times."""

BASE = """
model=gpt2 model.n_layer=1 model.n_head=2 model.n_embd=16 model.block_size=8 model.vocab_size=13
data.batch_size=4 max_steps=60 eval_interval=30 device=cpu compile=false precision=fp32
optim.lr=0.001 checkpoint_interval=20 delta=0.001 reckon_at=2"""

QUEUE = """\
- optim.lr=0.01
- optim.eps=1.1e-8
- {words: "seed=3", why: refused}
- optim.lr=0.02
- {words: "optim.lr=0.02", why: duplicate}
- model.mlp=relu2
- optim.grad_clip=0.5
- optim.weight_decay=0.0
"""


PROGRAM = [
    *("program=python train.py --steps=40", r"metric=val loss ([0-9.]+)", "seed_by=torch"),
    *("delta=0.001", "reckon_at=2"),
]
PROGRAM_QUEUE = """\
- "--lr=0.8"
- {patch: ../smaller.diff, why: weights start smaller}
- {patch: ../broken.diff, why: crashes}
- "--lr=0.8"
- {patch: ../smaller.diff, why: duplicate}
- "--lr=1.2"
- "--every=10 --lr=0.4"
"""
PATCHES = {"smaller.diff": ("SMOOTHING = 0.1", "SMOOTHING = 0.01"), "broken.diff": ("main()\n", "")}
"""File -> what it replaces in the script, and by what; the last place of it counts."""


class Ledgers:
    """Two folders with the same data, queue and ledger."""

    def __init__(self, root: Path, seed: int, program: bool) -> None:
        self.root, self.random = root, random.Random(seed)
        (self._programs if program else self._settings)()

    def _settings(self) -> None:
        root = self.root
        tokens = (np.arange(6000) % 13).astype(np.uint16)
        noisy = np.random.default_rng(0).random(6000) < 0.3
        tokens[noisy] = np.random.default_rng(1).integers(0, 13, int(noisy.sum()))
        (root / "tokens").mkdir()
        tokens[:4000].tofile(root / "tokens" / "train.bin")
        tokens[4000:].tofile(root / "tokens" / "val.bin")
        (root / "queue.yaml").write_text(QUEUE)
        self.question = [*BASE.split(), f"data.path={root / 'tokens'}"]
        self.trusted: list[str] = []

    def _programs(self) -> None:
        theirs = self.root / "theirs"
        theirs.mkdir()
        script = (Path(__file__).parents[1] / "tests/programs/script.py").read_text()
        (theirs / "train.py").write_text(script)
        author = ("-c", "user.name=They", "-c", "user.email=they@example.org")
        git(theirs, "init", "-q")
        git(theirs, "add", ".")
        git(theirs, *author, "commit", "-q", "-m", "theirs")
        for file, (before, after) in PATCHES.items():
            (theirs / "train.py").write_text(after.join(script.rsplit(before, 1)))
            (self.root / file).write_text(git(theirs, "diff"))
            git(theirs, "checkout", "-q", "train.py")
        (self.root / "queue.yaml").write_text(PROGRAM_QUEUE)
        self.question = [*PROGRAM, f"cwd={theirs}"]
        self.trusted = [w for file in PATCHES for w in ("--trust", f"patch=../{file}")]

    def start(self, name: str, action: str, *words: str) -> subprocess.Popen[str]:
        """A process group of its own, so that all of it can be killed."""
        (self.root / name).mkdir(exist_ok=True)
        threads = [] if any(w.startswith("program=") for w in self.question) else ["threads=1"]
        command = [sys.executable, "-m", "altgrad", "ideas", action, "night", *words, *threads]
        return subprocess.Popen(
            command,
            cwd=self.root / name,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> None:
        said, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"ended with {process.returncode}:\n{said}")

    def new(self, name: str) -> None:
        self.finish(self.start(name, "new", *self.question))

    def run(self, name: str) -> subprocess.Popen[str]:
        return self.start(name, "run", str(self.root / "queue.yaml"), *self.trusted)

    def until_something_new(self, name: str, process: subprocess.Popen[str]) -> None:
        """A run was begun, or an entry written: so that kills fall all over the night."""
        before = self.written(name)
        while process.poll() is None and self.written(name) == before:
            time.sleep(0.05)

    def written(self, name: str) -> tuple[int, int]:
        runs = self.root / name / "runs"
        return len(list(runs.iterdir())), (runs / "ideas/night/ledger.jsonl").stat().st_size

    def entries(self, name: str) -> list[Any]:
        return [stripped(e) for e in LedgerFile(self.root / name / "runs/ideas/night").entries()]

    def finished(self, name: str) -> Counter[str]:
        """Run folder -> how often it was brought to its end."""
        logs = (self.root / name / "runs").glob("*/events.jsonl")
        return Counter(
            log.parent.name for log in logs for e in read_jsonl(log) if e["event"] == "finished"
        )


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout


def stripped(content: Any) -> Any:
    """An entry without what may differ."""
    if isinstance(content, dict):
        return {k: stripped(v) for k, v in content.items() if k not in TIMES}
    return [stripped(x) for x in content] if isinstance(content, list) else content


def kill(process: subprocess.Popen[str], everything: bool) -> None:
    (os.killpg if everything else os.kill)(process.pid, signal.SIGKILL)
    process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--program", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ledger-kills-") as folder:
        ledgers = Ledgers(Path(folder), arguments.seed, arguments.program)
        for name in ("whole", "killed"):
            ledgers.new(name)
        start = time.perf_counter()
        ledgers.finish(ledgers.run("whole"))
        life_s = time.perf_counter() - start
        kills, lives = Counter[str](), 0
        while True:
            process, lives = ledgers.run("killed"), lives + 1
            patience_s = ledgers.random.uniform(0, 1.5 * life_s / arguments.kills)
            if sum(kills.values()) >= arguments.kills:
                ledgers.finish(process)
                break
            if ledgers.random.random() < 0.8:  # the others at any moment, the start included
                ledgers.until_something_new("killed", process)
            try:
                process.wait(patience_s)
                if process.returncode:
                    raise SystemExit(f"ended with {process.returncode}")
                break
            except subprocess.TimeoutExpired:
                everything = ledgers.random.random() < 0.5
                at = len(LedgerFile(ledgers.root / "killed/runs/ideas/night").entries())
                kill(process, everything)
                what = "with all its processes" if everything else "alone"
                kills[what] += 1
                print(f"killed {what} after {patience_s:.1f} s, at entry {at}", flush=True)
        report(ledgers, kills, lives)


def report(ledgers: Ledgers, kills: Counter[str], lives: int) -> None:
    whole, killed = ledgers.entries("whole"), ledgers.entries("killed")
    runs = ledgers.finished("killed")
    twice = sorted(run for run, count in runs.items() if count > 1)
    same_runs = set(runs) == set(ledgers.finished("whole"))
    print(f"{sum(kills.values())} kills {dict(kills)} in {lives} lives; {len(whole)} entries")
    print(f"entries are the same: {whole == killed}")
    print(f"{len(runs)} runs, the same: {same_runs}; made twice: {', '.join(twice) or 'none'}")
    for a, b in zip(whole, killed, strict=False):
        if a != b:
            print(f"differs: {a}\n     and: {b}")
            break
    raise SystemExit(0 if whole == killed and same_runs and not twice else 1)


if __name__ == "__main__":
    main()
