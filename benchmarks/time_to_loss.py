"""How long the default model takes to the reference loss, compilation and evaluation apart.

    python benchmarks/time_to_loss.py [--seeds 3] [--target 1.47] [--keep FOLDER] [KEY=VALUE …]
    python benchmarks/time_to_loss.py --against "max_steps=650 model.block=shift" [KEY=VALUE …]

Each seed is one ordinary `altgrad train` in a folder of its own (`--keep FOLDER`: in FOLDER/SEED,
which stays). "Training" is the sum of the steps' durations (`train_s` in metrics.jsonl); the first
step of a context, which compiles, and the evaluations stand apart.
The competitor is the target of the issue at hand, 90 s on 2 cores, or the recipe that `--against`
names by its words: then each seed trains both, one after the other, and the ratio of their seconds
is printed. Seconds of a machine that others use are no measure; so a step of both is also measured
in turn, in one process, by the processor time it takes. `--seeds 0` measures the steps alone.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

Row = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--target", type=float, default=1.47, help="validation loss")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where the runs stay")
    parser.add_argument("--against", metavar="WORDS", help="another recipe, such as max_steps=650")
    parser.add_argument("--steps", type=int, default=20, help="of each recipe, timed in turn")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    if arguments.keep and arguments.against is not None:
        parser.error("--keep has room for one recipe: leave --against out")
    recipes = [arguments.overrides]
    if arguments.against is not None:
        recipes.append(arguments.against.split())
    rows: list[list[Row]] = [[] for _ in recipes]
    for seed in range(1, arguments.seeds + 1):
        for words, own in zip(recipes, rows, strict=True):
            own.append(run_seed(seed, words, arguments.target, arguments.keep))
    for words, own in zip(recipes, rows, strict=True):
        if own:
            print(" ".join(words) or "the default")
            print_table(own, arguments.target)
    if arguments.against is not None:
        print_ratios(rows, recipes, arguments.steps)


def run_seed(seed: int, recipe: list[str], target: float, keep: Path | None) -> Row:
    """Train once; seconds to the target (inf if it is not reached) and what stands apart."""
    with tempfile.TemporaryDirectory() as folder:
        run = (keep or Path(folder)) / str(seed)
        words = [f"seed={seed}", f"run_dir={run}", "sample_tokens=0", *recipe]
        subprocess.run(
            [sys.executable, "-m", "altgrad", "train", *words],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return summarise(lines, target)


def summarise(lines: list[Row], target: float) -> Row:
    evaluated = [m for m in lines if "val_loss" in m]
    reached = [m["train_s"] for m in evaluated if m["val_loss"] <= target]
    return {
        "to_target_s": min(reached, default=float("inf")),
        "train_s": lines[-1]["train_s"],
        "steps": lines[-1]["step"],
        "val_loss": evaluated[-1]["val_loss"],
        "compile_s": sum(m.get("compile_s", 0.0) for m in lines),
        "eval_s": sum(m["eval_s"] for m in evaluated),
    }


def print_table(rows: list[Row], target: float) -> None:
    names = list(rows[0])
    print("seed  " + "  ".join(f"{name:>12}" for name in names))
    for seed, row in enumerate(rows, start=1):
        print(f"{seed:<4}  " + "  ".join(f"{row[name]:>12.4g}" for name in names))
    middle = statistics.median(row["to_target_s"] for row in rows)
    print(
        f"median of training to validation loss {target}: {middle:.1f} s ({middle / 90:.2f} x 90 s)"
    )


def print_ratios(rows: list[list[Row]], recipes: list[list[str]], steps: int) -> None:
    """Of the first recipe to the other: seconds to the target, and processor time of a run."""
    for name in ("to_target_s", "train_s"):
        pairs = [(a[name], b[name]) for a, b in zip(*rows, strict=True)]
        if pairs and all(b < float("inf") for _, b in pairs):
            ratio = statistics.median(a / b for a, b in pairs)
            print(f"{name} / that of the other recipe, median over seeds: {ratio:.3f} x")
    (ours, our_steps), (theirs, their_steps) = processor_s(recipes, steps)
    print(f"processor time of a step: {1e3 * ours:.1f} ms / {1e3 * theirs:.1f} ms", end=" = ")
    print(f"{ours / theirs:.3f} x", end="; ")
    print(f"of a run of {our_steps} / {their_steps} steps: ", end="")
    print(f"{ours * our_steps / (theirs * their_steps):.3f} x")


def processor_s(recipes: list[list[str]], steps: int) -> list[tuple[float, int]]:
    """Median processor seconds of a step of each recipe, taken in turn, and steps of its run."""
    from altgrad.compare.launching import Wanted, apart, as_task
    from altgrad.compare.launching.worker import measure_steps_s
    from altgrad.compose import compose_config

    configs = [compose_config(["sample_tokens=0", *recipe]) for recipe in recipes]
    nowhere = Path(tempfile.gettempdir()) / "no-such-run"  # no run begins
    tasks = [
        as_task(Wanted("recipe", config, nowhere), torch.get_num_threads()) for config in configs
    ]
    seconds = apart(measure_steps_s, tasks, steps, time.process_time)
    return [(s, config.max_steps) for s, config in zip(seconds, configs, strict=True)]


if __name__ == "__main__":
    main()
