"""What low precision costs per training step, beside the same step in bf16.

    python benchmarks/low_precision_step.py                    # small model, eager and compiled
    python benchmarks/low_precision_step.py --model default    # the default model
    python benchmarks/low_precision_step.py --rows fp32 bf16 e4m3 --eager-only
    python benchmarks/low_precision_step.py --cpu-time --threads 1  # not alone on the machine

Every row is the trainer's own step (forward, backward, clipping, AdamW, guards), in rounds that
visit the rows in turn, so that a disturbance of the machine falls on all of them; the number is the
median. Ratios are to the bf16 step of the same mode, or to the row that they extend.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from altgrad.training.machine import keep_freed_memory

MODELS = {
    "small": [
        "model=gpt2",
        "model.n_layer=4",
        "model.n_head=4",
        "model.n_embd=128",
        "model.block_size=64",
        "data.batch_size=12",
    ],
    "default": ["model=shakespeare"],
}
OFF = ["diagnostics.every_steps=-1", "diagnostics.rank_every_steps=-1"]
COUNTED = ["diagnostics.every_steps=1", "diagnostics.rank_every_steps=-1"]
# row: (settings, row that its ratio refers to)
ROWS: dict[str, tuple[list[str], str]] = {
    "fp32": (["precision=fp32", *OFF], "bf16"),
    "bf16": (["precision=bf16", *OFF], "bf16"),
    "e4m3": (["precision=e4m3", *OFF], "bf16"),
    "e5m2": (["precision=e5m2", *OFF], "bf16"),
    "e3m4": (["precision=e3m4", *OFF], "bf16"),
    "e7m0": (["precision=e7m0", *OFF], "bf16"),
    "int8": (["precision=int8", *OFF], "bf16"),
    "e4m3_e5m2": (["precision=e4m3_e5m2", *OFF], "bf16"),
    "mxfp8": (["precision=mxfp8", *OFF], "bf16"),
    "mxfp4": (["precision=mxfp4", *OFF], "bf16"),
    "nvfp4": (["precision=nvfp4", *OFF], "bf16"),
    "e5m2 + diagnostics": (["precision=e5m2", *COUNTED], "e5m2"),
    "e5m2 + shadow every step": (
        ["precision=e5m2", *OFF, "shadow.enabled=true", "shadow.every_steps=1"],
        "e5m2",
    ),
    "e5m2 + shadow every 10": (
        ["precision=e5m2", *OFF, "shadow.enabled=true", "shadow.every_steps=10"],
        "e5m2",
    ),
}


def make_trainer(words: list[str], folder: Path, *, compiled: bool):
    """The product's own trainer, on tokens that are already there."""
    from altgrad.compose import compose_config
    from altgrad.model import GPT
    from altgrad.training import Trainer

    fixed = [
        *("model.vocab_size=65", "optim=adamw", "device=cpu", "eval_interval=-1"),
        *(f"compile={str(compiled).lower()}", "precision.compute=bf16-mixed"),
        f"run_dir={folder / str(time.time_ns())}",
    ]
    if "precision=fp32" in words:
        fixed.remove("precision.compute=bf16-mixed")
    config = compose_config([*words, *fixed])
    return Trainer(config, GPT(config.model, torch.Generator().manual_seed(0)), folder, "cpu")


def measure(
    rows: list[str],
    model: str,
    *,
    compiled: bool,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Row -> median ms per step by `clock`."""
    folder = Path(tempfile.mkdtemp())
    tokens = np.random.default_rng(0).integers(0, 65, 200_000).astype(np.uint16)
    for split in ("train", "val"):
        tokens.tofile(folder / f"{split}.bin")
    trainers = {
        r: make_trainer([*MODELS[model], *ROWS[r][0]], folder, compiled=compiled) for r in rows
    }
    batch = next(iter(trainers.values()))._next_batch()
    for trainer in trainers.values():
        for _ in range(3):
            trainer.train_step(*batch)
    times: dict[str, list[float]] = {row: [] for row in rows}
    started = time.perf_counter()
    while len(times[rows[0]]) < 20 or time.perf_counter() - started < seconds:
        for row, trainer in trainers.items():
            repeat = 10 if row.endswith("every 10") else 1
            begin = clock()
            for _ in range(repeat):
                trainer.train_step(*batch)
            times[row].append(1e3 * (clock() - begin) / repeat)
    return {row: statistics.median(values) for row, values in times.items()}


def table(results: dict[str, dict[str, float]]) -> str:
    modes = list(results)
    lines = ["| | " + " | ".join(f"{mode}: ms | ratio" for mode in modes) + " |"]
    lines.append("|---|" + "---:|---:|" * len(modes))
    for row in results[modes[0]]:
        reference = ROWS[row][1]
        cells = [f"{results[m][row]:.1f} | {_ratio(results[m], row, reference)}" for m in modes]
        suffix = "" if reference == "bf16" else f" (to {reference})"
        lines.append(f"| {row}{suffix} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _ratio(found: dict[str, float], row: str, reference: str) -> str:
    return f"{found[row] / found[reference]:.2f}" if reference in found else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="small")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--seconds", type=float, default=20.0, help="per mode, after warming up")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--cpu-time", action="store_true", help="of the process, not by the wall")
    parser.add_argument("--eager-only", action="store_true")
    parser.add_argument("--compiled-only", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()  # as `altgrad train` does
    # All rows compile the same functions; beyond eight versions torch would leave the rest eager.
    torch._dynamo.config.recompile_limit = 256
    warnings.filterwarnings("ignore")
    modes = {"eager": False, "compiled": True}
    if arguments.eager_only:
        modes.pop("compiled")
    if arguments.compiled_only:
        modes.pop("eager")
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    how = {"seconds": arguments.seconds, "clock": clock}
    found = {
        m: measure(arguments.rows, arguments.model, compiled=c, **how) for m, c in modes.items()
    }
    what = "CPU time" if arguments.cpu_time else "wall time"
    print(
        f"torch {torch.__version__}, {arguments.threads} threads, {arguments.model} model, {what}"
    )
    print(table(found))


if __name__ == "__main__":
    main()
