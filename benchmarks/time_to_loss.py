"""How long the default model takes to the reference loss, compilation and evaluation apart.

    python benchmarks/time_to_loss.py [--seeds 3] [--target 1.47] [KEY=VALUE …]

Each seed is one ordinary `altgrad train` in a folder of its own. "Training" is the sum of the
steps' durations (`train_s` in metrics.jsonl); the first step, which compiles, and the evaluations
stand apart. The competitor is the target of the issue at hand: 90 s on 2 cores.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--target", type=float, default=1.47, help="validation loss")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    rows = [run_seed(seed, arguments) for seed in range(1, arguments.seeds + 1)]
    print_table(rows, arguments.target)


def run_seed(seed: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Train once; seconds to the target (inf if it is not reached) and what stands apart."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = [f"seed={seed}", f"run_dir={run}", "sample_tokens=0", *arguments.overrides]
        subprocess.run(
            [sys.executable, "-m", "altgrad", "train", *words],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return summarise(lines, arguments.target)


def summarise(lines: list[dict[str, float]], target: float) -> dict[str, float]:
    evaluated = [m for m in lines if "val_loss" in m]
    reached = [m["train_s"] for m in evaluated if m["val_loss"] <= target]
    return {
        "to_target_s": min(reached, default=float("inf")),
        "train_s": lines[-1]["train_s"],
        "steps": lines[-1]["step"],
        "val_loss": evaluated[-1]["val_loss"],
        "compile_s": lines[0].get("compile_s", 0.0),
        "eval_s": sum(m["eval_s"] for m in evaluated),
    }


def print_table(rows: list[dict[str, float]], target: float) -> None:
    names = list(rows[0])
    print("seed  " + "  ".join(f"{name:>12}" for name in names))
    for seed, row in enumerate(rows, start=1):
        print(f"{seed:<4}  " + "  ".join(f"{row[name]:>12.4g}" for name in names))
    middle = statistics.median(row["to_target_s"] for row in rows)
    print(
        f"median of training to validation loss {target}: {middle:.1f} s ({middle / 90:.2f} x 90 s)"
    )


if __name__ == "__main__":
    main()
