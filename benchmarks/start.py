"""What a command costs before it does anything: processor seconds, beside `import torch` alone.

    python benchmarks/start.py [--times 5]

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
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as folder:
        seconds(COMMANDS["altgrad train, one step"], folder)
        found = {
            name: min(seconds(words, folder) for _ in range(times))
            for name, words in COMMANDS.items()
        }
    torch_alone = next(iter(found.values()))
    for name, cost in found.items():
        print(f"{name:<28} {cost:5.2f} s  {cost / torch_alone:5.2f} x")


def seconds(words: list[str], folder: str) -> float:
    """Processor time of one Python with these arguments."""
    before = os.times()
    subprocess.run([sys.executable, *words], cwd=folder, check=True, capture_output=True)
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


if __name__ == "__main__":
    main()
