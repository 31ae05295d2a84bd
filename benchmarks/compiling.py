"""What compiling the network costs: by region (altgrad's way) and whole (torch.compile(model)).

    python benchmarks/compiling.py [--threads 1] [--steps 20] [--skip-cold] [KEY=VALUE …]

Of the default model, or of the one the words make. The first step of a run: in a process and a
torch cache of its own (`cold`), then once more with that cache (`warm`); by the wall, and in
processor seconds of Python and of the C++ compilers it starts. `--skip-cold` leaves these out. Then
both ways' steps in turn in one process, by the processor time of its threads: ratios are regional /
whole. Where other work runs on the machine, only processor time means something.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

WAYS, STATES = ("regional", "whole"), ("cold", "warm")
TOKENS = 200_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--skip-cold", action="store_true", help="the steps alone")
    parser.add_argument("--first", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.first:
        print(json.dumps(first_step(arguments.first, arguments.overrides)))
        return
    print(f"torch {torch.__version__}, {arguments.threads} threads")
    if not arguments.skip_cold:
        print_first_steps(arguments.threads, arguments.overrides)
    print_steps(arguments.overrides, arguments.steps)


def print_first_steps(threads: int, words: list[str]) -> None:
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for way, rows in found.items():
        cache = tempfile.mkdtemp()
        for state in STATES:
            rows.append(apart(way, cache, threads, words))
            said = "  ".join(f"{name} {value:6.1f} s" for name, value in rows[-1].items())
            print(f"{way:<9} {state}  {said}", flush=True)
    for state, ours, theirs in zip(STATES, found["regional"], found["whole"], strict=True):
        ratios = ", ".join(f"{n} {ours[n] / theirs[n]:.2f}" for n in ours if theirs[n])
        print(f"{state}, regional / whole: {ratios}", flush=True)


def apart(way: str, cache: str, threads: int, words: list[str]) -> dict[str, float]:
    call = [sys.executable, __file__, "--first", way, "--threads", str(threads), *words]
    # Torch keeps prepared headers beside its cache, in the folder for temporary files.
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": f"{cache}/kernels", "TMPDIR": cache}
    done = subprocess.run(call, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def first_step(way: str, words: list[str]) -> dict[str, float]:
    trainer = make_trainer(way, words)
    batch = trainer._next_batch()
    wall, python, children = time.perf_counter(), time.process_time(), of_children()
    trainer.train_step(*batch)
    return {
        "wall": time.perf_counter() - wall,
        "python": time.process_time() - python,
        "compilers": of_children() - children,
    }


def of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def print_steps(words: list[str], steps: int) -> None:
    torch._dynamo.config.recompile_limit = 64  # both ways compile the same functions
    trainers = {way: make_trainer(way, words) for way in WAYS}
    batch = trainers["whole"]._next_batch()
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for trainer in trainers.values():
        for _ in range(3):
            trainer.train_step(*batch)
    for _ in range(steps):
        for way, trainer in trainers.items():
            start = time.process_time()
            trainer.train_step(*batch)
            times[way].append(1e3 * (time.process_time() - start))
    for name, of in (("least", min), ("median", statistics.median)):
        ours, theirs = (of(times[way]) for way in WAYS)
        print(
            f"a step, processor time, {name} of {steps}: regional {ours:.1f} ms, "
            f"whole {theirs:.1f} ms, regional / whole {ours / theirs:.3f} x"
        )


def make_trainer(way: str, words: list[str]):
    """A trainer of the default settings on random tokens, its network compiled that way."""
    import numpy as np

    from altgrad.compose import compose_config
    from altgrad.model import GPT
    from altgrad.training import Trainer, trainer
    from altgrad.training.machine import keep_freed_memory, settle

    keep_freed_memory()  # as `altgrad train` does
    folder = Path(tempfile.mkdtemp())
    for split in ("train", "val"):
        ids = np.random.default_rng(0).integers(0, 65, TOKENS).astype(np.uint16)
        ids.tofile(folder / f"{split}.bin")
    fixed = ["model.vocab_size=65", "compile=true", f"run_dir={folder / 'run'}"]
    config = compose_config([*words, *fixed])
    settle(config)
    ours, trainer.compile_network = trainer.compile_network, way_of(way)
    try:
        model = GPT(config.model, torch.Generator().manual_seed(0))
        return Trainer(config, model, folder, config.device)
    finally:
        trainer.compile_network = ours


def way_of(way: str):
    from altgrad.model import compile_network

    def whole(model: nn.Module, *, device: torch.device, processes: int = 1, **how):
        return torch.compile(model, **how)

    return compile_network if way == "regional" else whole


if __name__ == "__main__":
    main()
