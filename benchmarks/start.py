"""What a command costs before it does anything: processor seconds, beside `import torch` alone.

    python benchmarks/start.py [--times 5]
    python benchmarks/start.py --first-step [KEY=VALUE …]

Each command is a process of its own, its user and system time together, the least of `--times`
(other work on the machine can only add). `train` is a whole run of one step of the smallest model:
start, step, evaluation on 4,096 tokens, its picture. The first one builds the native rounding and
is not counted.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SMALL = (
    "model=gpt2 model.n_layer=1 model.n_head=1 model.n_embd=32 model.block_size=32 optim=adamw "
    "data.batch_size=4 max_steps=1 eval_interval=1 eval_tokens=4096 sample_tokens=0 compile=false"
)
COMMANDS = {
    "python -c 'import torch'": ["-c", "import torch"],
    "import torch, torch._dynamo": ["-c", "import torch._dynamo"],
    "altgrad --help": ["-m", "altgrad", "--help"],
    "altgrad config": ["-m", "altgrad", "config"],
    "altgrad train, one step": ["-m", "altgrad", "train", *SMALL.split()],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--first-step", action="store_true", help="of the default, by the wall")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    if arguments.first_step:
        print_first_steps(arguments.overrides)
        return
    times = arguments.times
    with tempfile.TemporaryDirectory() as folder:
        seconds(COMMANDS["altgrad train, one step"], folder)
        found = {
            name: min(seconds(words, folder) for _ in range(times))
            for name, words in COMMANDS.items()
        }
    torch_alone = next(iter(found.values()))
    for name, cost in found.items():
        print(f"{name:<28} {cost:5.2f} s  {cost / torch_alone:5.2f} x")


def print_first_steps(words: list[str]) -> None:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    torch_alone = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        for state in ("cold", "warm"):
            waited = until_first_step(Path(folder), state, words)
            print(f"first step, {state}: {waited:.1f} s, {waited / torch_alone:.1f} x import torch")


def until_first_step(folder: Path, name: str, words: list[str]) -> float:
    """Seconds until the first line of the run's metrics is on the disk."""
    fixed = [f"run_dir={folder / name}", "max_steps=1", "eval_interval=-1", "sample_tokens=0"]
    call = [sys.executable, "-m", "altgrad", "train", *words, *fixed]
    own = {"TORCHINDUCTOR_CACHE_DIR": str(folder / "cache"), "TMPDIR": str(folder)}
    environment = {**os.environ, **own}  # torch keeps prepared headers in the temporary folder
    lines = folder / name / "metrics.jsonl"
    start = time.perf_counter()
    running = subprocess.Popen(call, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    while running.poll() is None and not (lines.exists() and lines.stat().st_size):
        time.sleep(0.02)
    waited = time.perf_counter() - start
    if running.wait():
        sys.exit(f"{' '.join(call)} ended with {running.returncode}")
    return waited


def seconds(words: list[str], folder: str) -> float:
    """Processor time of one Python with these arguments."""
    before = os.times()
    subprocess.run([sys.executable, *words], cwd=folder, check=True, capture_output=True)
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


if __name__ == "__main__":
    main()
