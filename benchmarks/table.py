"""Every aim of speed in one table, with what this machine reached and the command behind it.

    python benchmarks/table.py                       # all rows; three quarters of an idle hour
    python benchmarks/table.py --rows throughput rounding
    python benchmarks/table.py --core RUN [--bundle FOLDER]   # CORE's tasks on a finished run, too

Each row runs its script, whose last lines say the figures, and puts them beside the aim; all that
it printed goes to the error stream (`2> table.log` keeps it). A script that fails leaves its row
empty and its message below the table. Nothing else may run meanwhile.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent


class Figure(NamedTuple):
    """One line of the table."""

    what: str
    aim: str
    reached: str


class Row(NamedTuple):
    """A script's words, and how its output is read."""

    words: list[str]
    read: Callable[[str], list[Figure]]


def time_to_loss(output: str) -> list[Figure]:
    median = found(r"median of training to validation loss 1\.47: ([\d.]+|inf) s", output)
    each = re.findall(r"^\d+ +([\d.]+|inf) ", output, re.M)
    what = "training to validation loss 1.47, median (each seed)"
    return [Figure(what, "40 s, all five", f"{median} s ({', '.join(each)})")]


def first_step(output: str) -> list[Figure]:
    cold, warm = (found(rf"first step, {state}: ([\d.]+) s", output) for state in ("cold", "warm"))
    return [Figure("`altgrad train` to its first step, warm (cold)", "6 s", f"{warm} s ({cold} s)")]


def compiling(output: str) -> list[Figure]:
    pattern = r"{} +{} +wall +([\d.]+) s"
    figures = []
    for state in ("cold", "warm"):
        ours, whole = (found(pattern.format(w, state), output) for w in ("regional", "whole"))
        what = f"first step, {state}: by region (whole)"
        figures.append(Figure(what, "less than whole", f"{ours} s ({whole} s)"))
    ratio = found(r"median of \d+: .* ([\d.]+) x", output)
    return [*figures, Figure("a step by region / whole", "1", f"{ratio} x")]


AIMS = {
    ("readme", "float32"): "2.0",
    ("readme", "bfloat16"): "2.0",
    ("larger", "float32"): "1.6",
    ("larger", "bfloat16"): "1.8",
}


def throughput(output: str) -> list[Figure]:
    figures = []
    for way, aim_of in (("altgrad", AIMS.get), ("altgrad, eager", lambda _: "1.1")):
        for model, dtype in AIMS:
            line = rf"{model} +{dtype} +{way} +([\d,]+) tokens/s .* ([\d.]+) x"
            match = re.search(line, output)
            reached = f"{match[1]} tokens/s, {match[2]} x" if match else ""
            what = f"{way} / eager plain loop, {model}, {dtype}"
            figures.append(Figure(what, str(aim_of((model, dtype))), reached))
    return figures


def instruments(output: str) -> list[Figure]:
    figures = []
    for name, aim in (("diagnostics", "1.03"), ("shadow every step", "1.9")):
        cells = found(rf"\| e5m2 \+ {name} \(to e5m2\) \| (.*) \|", output).split(" | ")
        reached = f"eager {cells[1]}, compiled {cells[3]}" if len(cells) == 4 else ""
        figures.append(Figure(f"{name} every step, of the rounded step", aim, reached))
    return figures


def rounding(output: str) -> list[Figure]:
    rows = {
        "e4m3 per tensor": "1.3",
        "e4m3 per row": "1.3",
        "e4m3 MX blocks of 32": "1.3",
        "e2m1fn NVFP4 blocks of 16": "1.3",
        "e2m1fn NVFP4 blocks of 16, counted": "2.0",
    }
    figures = []
    for name, aim in rows.items():
        cells = found(rf"\| altgrad {re.escape(name)} \| (.*) \|", output).split(" | ")
        reached = ", ".join(cells[2::3]) + " copies (1 thread, all)" if len(cells) > 2 else ""
        figures.append(Figure(f"rounding: {name}", aim, reached))
    return figures


STEPS = ["bf16", "e5m2", "e5m2 + diagnostics", "e5m2 + shadow every step"]
ROWS = {
    "time_to_loss": Row(["time_to_loss.py", "--seeds", "5"], time_to_loss),
    "start": Row(["start.py", "--first-step"], first_step),
    "compiling": Row(["compiling.py"], compiling),
    "throughput": Row(["throughput.py"], throughput),
    "instruments": Row(["low_precision_step.py", "--rows", *STEPS], instruments),
    "rounding": Row(["rounding.py", "--quick"], rounding),
}
FRESH = "make_train"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=[*ROWS, FRESH], default=[FRESH, *ROWS])
    parser.add_argument("--core", metavar="RUN", help="a run folder whose tokenizer is gpt2's")
    parser.add_argument("--bundle", metavar="FOLDER", help="CORE's tasks, else $ALTGRAD_CORE")
    arguments = parser.parse_args()
    lines, failures = [], []
    for name in arguments.rows:
        figures, command, failure = measure(name)
        lines += [f"| {f.what} | {f.aim} | {f.reached} | `{command}` |" for f in figures]
        failures += [failure] if failure else []
    if arguments.core:
        lines.append(core(arguments.core, arguments.bundle))
    print("\n".join(["| what | aim | reached | command |", "|---|---|---|---|", *lines, *failures]))


def measure(name: str) -> tuple[list[Figure], str, str]:
    """Figures, command, and what a script that failed said last."""
    print(f"{name} …", file=sys.stderr, flush=True)
    if name == FRESH:
        reached = make_train()
        return [Figure("`make train`, fresh clone, empty HOME", "95 s", reached)], "make train", ""
    script, *words = ROWS[name].words
    call = [sys.executable, str(HERE / script), *words]
    done = subprocess.run(call, capture_output=True, text=True)
    print(done.stdout, file=sys.stderr, flush=True)
    command = "python benchmarks/" + " ".join(f'"{w}"' if " " in w else w for w in (script, *words))
    said = "" if done.returncode == 0 else f"\n{command}: {(done.stderr or '?').splitlines()[-1]}"
    return ROWS[name].read(done.stdout), command, said


def make_train() -> str:
    """Seconds of `make train` in a clone of this repository, every cache and HOME empty."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "altgrad"
        subprocess.run(["git", "clone", "-q", str(HERE.parent), str(clone)], check=True)
        empty = {"HOME": folder, "TMPDIR": folder, "XDG_CACHE_HOME": f"{folder}/cache"}
        start = time.perf_counter()
        done = subprocess.run(
            ["make", "train"], cwd=clone, env={**os.environ, **empty}, capture_output=True
        )
        seconds = time.perf_counter() - start
    return f"{seconds:.0f} s" if done.returncode == 0 else ""


def core(run: str, bundle: str | None) -> str:
    words = [sys.executable, "-m", "altgrad", "eval", run, "--tasks", "core", "--keep=no"]
    words += ["--bundle", bundle] if bundle else []
    start = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True)
    minutes = (time.perf_counter() - start) / 60
    reached = f"{minutes:.1f} min" if done.returncode == 0 else ""
    return f"| CORE's tasks | 18 min | {reached} | `altgrad eval {run} --tasks core` |"


def found(pattern: str, output: str) -> str:
    """The last match; a script may say a figure for each of several recipes."""
    matches = re.findall(pattern, output)
    return matches[-1] if matches else ""


if __name__ == "__main__":
    main()
