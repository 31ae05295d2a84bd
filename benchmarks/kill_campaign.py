"""Kill small runs with SIGKILL at random moments of their whole life, resume, compare, count.

    python benchmarks/kill_campaign.py --kills 240

A run is killed one to five times, then left to end; its numbers and its last weights must be those
of a run that was never killed, bit for bit. Processes are forked from a server that has torch
loaded, so that one takes a fraction of a second. Prints a table in Markdown.
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from altgrad.runs.folder import run_status
from altgrad.runs.lines import read_jsonl
from altgrad.training.run_differences import compare_runs, read_numbers

TINY: dict[str, Any] = {
    "model": {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 8, "vocab_size": 13},
    "data": {"batch_size": 2},
    "max_steps": 20,
    "eval_interval": 7,
    "checkpoint_interval": 1,
    "device": "cpu",
}
VARIANTS: dict[str, dict[str, Any]] = {
    "AdamW": {},
    "AdamW, saves in the foreground": {"checkpoint_background": False},
    "Muon, dropout": {"optim": {"name": "muon"}, "model": {**TINY["model"], "dropout": 0.2}},
    "fp16 with scaler": {"precision": {"compute": "16-mixed"}},
    "averaged weights, accumulation": {"optim": {"ema_decay": 0.9}, "accumulation": 3},
    "saves every 6 steps": {"checkpoint_interval": 6},
}
PRELOAD = [
    "altgrad.training.build",
    "altgrad.training.run_differences",
    "torch.optim",
    "torch._dynamo",
]


def live(run: str, settings: dict[str, Any]) -> None:
    """One process's life: start the run, or go on with it."""
    import torch

    from altgrad.training.build import build_run, resume_run
    from altgrad.training.config import TrainConfig

    torch.set_num_threads(1)
    started = (Path(run) / "config.yaml").exists()
    if run_status(Path(run)) == "finished":
        return
    trainer = resume_run(Path(run)) if started else build_run(TrainConfig.from_dict(settings))
    trainer.train()


def phase(run: Path) -> str:
    """What the run was doing when it was killed, told from what lies around."""
    if not (run / "config.yaml").exists():
        return "before the folder was a run"
    folder = run / "checkpoints"
    if any(folder.glob(".step_*.part.*")):
        return "inside a save"
    if any(folder.glob(".step_*")):
        return "removing an older checkpoint"
    if not (run / "metrics.jsonl").exists() or not (run / "metrics.jsonl").stat().st_size:
        return "before the first step"
    if any(e["event"] == "finished" for e in read_jsonl(run / "events.jsonl")):
        return "after the last step"
    return "in a step, an evaluation or between"


class Campaign:
    """Kills, and counts what came of it."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.random = root, random.Random(seed)
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(PRELOAD)
        self.kills: Counter[str] = Counter()
        self.runs = self.wrong = self.repeated = 0
        self.life_s: dict[str, float] = {}
        tokens = (np.arange(2000) % 13).astype(np.uint16)
        (root / "tokens").mkdir()
        tokens[:1800].tofile(root / "tokens" / "train.bin")
        tokens[1800:].tofile(root / "tokens" / "val.bin")

    def settings(self, variant: str, run: Path) -> dict[str, Any]:
        own = VARIANTS[variant]
        data = {**TINY["data"], "path": str(self.root / "tokens")}
        return {**TINY, **own, "data": data, "run_dir": str(run)}

    def process(self, variant: str, run: Path) -> Any:
        made = self.context.Process(target=live, args=(str(run), self.settings(variant, run)))
        made.start()
        return made

    def reference(self, variant: str) -> Path:
        """The run that is never killed; the second of two tells how long a life is."""
        run = self.root / f"never killed {variant}"
        for name in (self.root / f"warm {variant}", run):
            start = time.perf_counter()
            self.finish(self.process(variant, name), name)
            self.life_s[variant] = time.perf_counter() - start
        return run

    def finish(self, process: Any, run: Path) -> None:
        process.join(600)
        if process.exitcode != 0:
            raise SystemExit(f"{run} ended with {process.exitcode}")

    def torture(self, variant: str, number: int) -> int:
        """Kill one run a few times, let it end, compare; returns the number of kills."""
        run, kills = self.root / f"{number}", 0
        for _ in range(self.random.randint(1, 5)):
            process = self.process(variant, run)
            process.join(self.random.uniform(0.0, 1.05) * self.life_s[variant])
            if process.exitcode is not None:
                break
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            self.kills[phase(run)] += 1
            kills += 1
        self.end(variant, run)
        return kills

    def end(self, variant: str, run: Path) -> None:
        before = max(read_numbers(run), default=0)
        if not (run / "config.yaml").exists() or "finished" not in self.events(run):
            lives = self.events(run).count("resumed")
            self.finish(self.process(variant, run), run)
            events = read_jsonl(run / "events.jsonl")
            resumed = [e["step"] for e in events if e["event"] == "resumed"][lives:]
            self.repeated = max(self.repeated, before - (resumed[-1] if resumed else 0))
        likeness = compare_runs(self.root / f"never killed {variant}", run)
        steps = list(read_numbers(run))
        whole = steps == list(range(1, TINY["max_steps"] + 1))
        self.runs += 1
        if not (likeness.identical and likeness.weights_equal and whole):
            self.wrong += 1
            print(f"LOST: {variant} in {run}: {likeness.verdict(0)}, steps {steps}")

    def events(self, run: Path) -> list[str]:
        log = run / "events.jsonl"
        return [e["event"] for e in read_jsonl(log)] if log.exists() else []

    def table(self) -> Iterator[str]:
        yield "| killed while | times |"
        yield "|---|---|"
        for what, count in self.kills.most_common():
            yield f"| {what} | {count} |"
        total = sum(self.kills.values())
        yield f"| **all kills** | **{total}** in {self.runs} runs of {len(self.life_s)} kinds |"
        yield f"| runs that ended with the same numbers and weights | {self.runs - self.wrong} |"
        yield f"| runs that lost something | {self.wrong} |"
        yield f"| most steps that had to be taken again | {self.repeated} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=240)
    parser.add_argument("--kinds", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="also write the counts to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        campaign = Campaign(Path(folder), arguments.seed)
        for variant in arguments.kinds:
            campaign.reference(variant)
        number = 0
        try:
            while sum(campaign.kills.values()) < arguments.kills:
                campaign.torture(arguments.kinds[number % len(arguments.kinds)], number)
                number += 1
        finally:
            # Also when it is broken off: what was counted so far is not lost.
            print("\n".join(campaign.table()))
        if arguments.json:
            counts = {
                "kills": campaign.kills,
                "runs": campaign.runs,
                "lost": campaign.wrong,
                "repeated": campaign.repeated,
            }
            Path(arguments.json).write_text(json.dumps(counts, indent=1))
    raise SystemExit(1 if campaign.wrong else 0)


if __name__ == "__main__":
    main()
