"""What saving costs: the step time with a save every 50 steps, and the speed of save and load.

    python benchmarks/checkpoint.py

One run, windows of 50 steps that take turns: no save, a save by the step, a save by a thread. The
save falls at a window's start, so that the thread writes while the window's steps are taken. The
disk's own speed: the same number of bytes, written and flushed, and read back, plainly.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from altgrad.model import GPT, GPTConfig
from altgrad.training import TrainConfig, Trainer
from altgrad.training.checkpoints.background import Saver
from altgrad.training.checkpoints.manager import CheckpointManager, load_checkpoint

WINDOW = 50


def make_trainer(root: Path, arguments: argparse.Namespace) -> Trainer:
    tokens = np.random.default_rng(0).integers(0, 65, 200_000).astype(np.uint16)
    tokens[:150_000].tofile(root / "train.bin")
    tokens[150_000:].tofile(root / "val.bin")
    model = GPTConfig(
        n_layer=arguments.layers,
        n_head=arguments.width // 64,
        n_embd=arguments.width,
        block_size=128,
        vocab_size=65,
    )
    config = TrainConfig(
        model=model, batch_size=8, device="cpu", run_dir=str(root / "run"), max_steps=10**6
    )
    return Trainer(config, GPT(model, torch.Generator().manual_seed(0)), root, "cpu")


def window_s(trainer: Trainer, save: Callable[[], None]) -> float:
    start = time.perf_counter()
    save()
    for _ in range(WINDOW):
        trainer.train_step(*trainer.batches.next_batch())
    return time.perf_counter() - start


def step_times(trainer: Trainer, root: Path, rounds: int) -> dict[str, list[float]]:
    savers = {
        name: Saver(CheckpointManager(root / name), background=name == "background")
        for name in ("synchronous", "background")
    }
    arms: dict[str, Callable[[], None]] = {"no save": lambda: None}
    arms |= {
        name: lambda saver=saver: saver.save(trainer._state(1.0)) for name, saver in savers.items()
    }
    for saver in savers.values():
        saver.save(trainer._state(1.0))
        saver.wait()
    window_s(trainer, arms["no save"])
    times: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(rounds):
        names = list(arms)
        for name in names[turn % 3 :] + names[: turn % 3]:
            times[name].append(window_s(trainer, arms[name]))
            savers["background"].wait()
    return times


def timed(work: Callable[[], object], repeats: int = 5) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def speeds(trainer: Trainer, root: Path) -> list[tuple[str, float, float]]:
    """(what, bytes, seconds)"""
    manager = CheckpointManager(root / "speed", 1)
    path = manager.save(**trainer._state(1.0))
    size = sum(f.stat().st_size for f in path.iterdir())
    content = os.urandom(size)

    def write() -> None:
        with (root / "plain").open("wb") as file:
            file.write(content)
            os.fsync(file.fileno())

    return [
        ("disk: write and flush", size, timed(write)),
        ("save", size, timed(lambda: manager.save(**trainer._state(1.0)))),
        ("disk: read", size, timed(lambda: (root / "plain").read_bytes())),
        ("load, every byte verified", size, timed(lambda: load_checkpoint(path))),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=6)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="checkpoint-", dir=os.getcwd()) as folder:
        root = Path(folder)
        trainer = make_trainer(root, arguments)
        count = sum(p.numel() for p in trainer.model.parameters())
        print(f"{count:,} parameters, {torch.get_num_threads()} threads, AdamW, fp32\n")
        times = step_times(trainer, root, arguments.rounds)
        base = statistics.median(times["no save"])
        print(f"| a save every {WINDOW} steps | ms per step | ratio |\n|---|---|---|")
        for name, found in times.items():
            middle = statistics.median(found)
            print(f"| {name} | {1e3 * middle / WINDOW:.2f} | {middle / base:.3f} |")
        print("\n| | MB | s | GB/s |\n|---|---|---|---|")
        for what, size, seconds in speeds(trainer, root):
            print(f"| {what} | {size / 1e6:.1f} | {seconds:.3f} | {size / 1e9 / seconds:.2f} |")


if __name__ == "__main__":
    main()
