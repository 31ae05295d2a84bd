"""What a comparison of many runs costs the machine that asks: planning, record, report.

    python benchmarks/fleet.py [--runs 1000,10000] [--arms 50,500] [--lines 20] [--out DIR]

Makes so many finished run folders (copies of one tiny real run, each with an outcome of its own),
as many arms as said, equally many seeds each. Then, each in a process of its own, with the seconds
of CPU and the peak memory it took:

    plan       the same words asked again: arms composed, checked, all runs found finished
    conclude   every run read, checked and judged
    report     Markdown, and HTML where `altgrad[report]` is there
    show       `altgrad show`: a line for every run
    long       `altgrad show RUN` of a run of a million metric lines
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np

TINY = (
    *("model=gpt2", "model.n_layer=1", "model.n_head=1", "model.n_embd=8", "model.block_size=8"),
    *("model.vocab_size=13", "data.batch_size=2", "max_steps={lines}", "eval_interval=10"),
    *("device=cpu", "compile=false", "data.path=tokens", "threads=1", "optim=adamw"),
    "precision=fp32",
)


def main() -> None:
    arguments = _arguments()
    if arguments.step:
        _one_step(arguments.step, Path(arguments.out), arguments.words)
        return
    for runs, arms in zip(arguments.runs, arguments.arms, strict=True):
        with tempfile.TemporaryDirectory(dir=arguments.out) as folder:
            _measure(Path(folder), runs, arms, arguments.lines)
    with tempfile.TemporaryDirectory(dir=arguments.out) as folder:
        _measure_long(Path(folder), arguments.long)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    numbers = {"type": lambda text: [int(n) for n in text.split(",")]}
    parser.add_argument("--runs", default=[1000, 10000], **numbers)
    parser.add_argument("--arms", default=[50, 500], **numbers)
    parser.add_argument("--lines", type=int, default=20, help="metric lines of a run")
    parser.add_argument("--long", type=int, default=10**6, help="metric lines of the long run")
    parser.add_argument("--out", default=None, help="where the folders are made for the while")
    parser.add_argument("--step", default="", help=argparse.SUPPRESS)
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(folder: Path, runs: int, arms: int, lines: int) -> None:
    seeds = runs // arms
    words = _words(arms, seeds, lines)
    started = time.perf_counter()
    _make(folder, words, lines)
    made_s = time.perf_counter() - started
    print(f"{arms * seeds} runs of {arms} arms, {lines} lines each (made in {made_s:.0f} s)")
    for step in ("plan", "conclude", "report", "show"):
        _in_a_process(step, folder, words)


def _words(arms: int, seeds: int, lines: int) -> list[str]:
    rates = ",".join(f"{0.001 + 0.00001 * i:.5f}" for i in range(arms))
    own = [word.format(lines=lines) for word in TINY]
    return [*own, f"optim.lr={rates}", f"seeds={seeds}", "delta=0.05"]


def _make(folder: Path, words: list[str], lines: int) -> None:
    """The comparison as it would be found: its record by its own code, its runs as copies."""
    from altgrad.compare.launching import sweep

    _make_tokens(folder / "tokens")
    made: list[Path] = []

    def copy(tasks, how, slots, done: Callable) -> None:
        for task in tasks:
            run = Path(task.run)
            if not made:
                from altgrad.compare.launching.worker import run_task

                run_task(task)
                made.append(run)
            else:
                _copy(made[0], run, task.settings)
            done(task)

    sweep.LAUNCHERS["local"] = copy
    _ask(folder, words).run()


def _copy(source: Path, run: Path, settings: dict) -> None:
    """A finished run with another seed, another rate and an outcome of its own."""
    import yaml

    run.mkdir(parents=True)
    kept = [p for p in source.iterdir() if p.is_file() and p.name != ".lock"]
    for path in kept:
        shutil.copy2(path, run / path.name)
    (run / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    shift = 0.01 * np.random.default_rng(settings["seed"]).normal() + settings["optim"]["lr"]
    shift += 0.002 * np.random.default_rng(_number_of(run.name)).normal()
    text = [json.loads(line) for line in (source / "metrics.jsonl").read_text().splitlines()]
    for line in text:
        if "val_loss" in line:
            line["val_loss"] += shift
    content = "".join(json.dumps(line) + "\n" for line in text).encode()
    (run / "metrics.jsonl").write_bytes(content)
    _say_whole(run, len(text), text[-1]["step"], content)


def _number_of(name: str) -> int:
    """The same in every process, which `hash` is not."""
    return int.from_bytes(sha256(name.encode()).digest()[:8], "big")


def _say_whole(run: Path, lines: int, step: int, content: bytes) -> None:
    """The event that ends the run knows these metrics, and weights that are this run's alone."""
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    for event in events:
        if event["event"] == "finished":
            digest = sha256(content).hexdigest()
            event["metrics"] = {"lines": lines, "step": step, "sha256": digest}
            event["weights"] = sha256(run.name.encode()).hexdigest()
            event["step"] = step
    (run / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))


def _make_tokens(folder: Path) -> None:
    folder.mkdir(parents=True)
    ids = (np.arange(4000) % 13).astype(np.uint16)
    ids[:3500].tofile(folder / "train.bin")
    ids[3500:].tofile(folder / "val.bin")


def _ask(folder: Path, words: list[str]):
    import os

    from altgrad.compare.comparison import Comparison
    from altgrad.compare.launching.launch import take_launch_words
    from altgrad.compare.question import read_question
    from altgrad.compose import compose_config

    os.chdir(folder)
    launch, rest = take_launch_words(["runs=runs", *words])
    return Comparison(
        read_question(rest), partial(compose_config, all_read=False), launch=launch, command=""
    )


def _in_a_process(step: str, folder: Path, words: list[str]) -> None:
    command = [sys.executable, __file__, "--step", step, "--out", str(folder), "--", *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    print(done.stdout.strip().splitlines()[-1], flush=True)


def _one_step(step: str, folder: Path, words: list[str]) -> None:
    import contextlib
    import io

    started = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        {"plan": _plan, "conclude": _conclude, "report": _report, "show": _show, "long": _long}[
            step
        ](folder, words)
    spent = time.process_time() - started
    # Not ru_maxrss: a process inherits that of the one that started it.
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(f"  {step:<9} {spent:8.1f} s of CPU  {peak:8.0f} MiB")


def _plan(folder: Path, words: list[str]) -> None:
    _ask(folder, words).run()


def _found(folder: Path):
    from altgrad.compare.conclusion import conclude

    (comparison,) = (folder / "runs" / "compare").iterdir()
    return conclude(comparison)


def _conclude(folder: Path, words: list[str]) -> None:
    _found(folder)


def _report(folder: Path, words: list[str]) -> None:
    from altgrad.compare.report import write_reports

    for path in write_reports(_found(folder)):
        print(path, path.stat().st_size)


def _show(folder: Path, words: list[str]) -> None:
    from altgrad.cli import main as altgrad

    altgrad(["show", "--runs", str(folder / "runs")])


def _long(folder: Path, words: list[str]) -> None:
    from altgrad.cli import main as altgrad

    altgrad(["show", str(folder / "runs" / "long")])


def _measure_long(folder: Path, lines: int) -> None:
    """One run whose metrics are repeated up to so many lines."""
    _make(folder, _words(2, 1, 20), 20)
    source = next(p.parent for p in (folder / "runs").glob("*/config.yaml"))
    run = folder / "runs" / "long"
    shutil.copytree(source, run)
    kept = [json.loads(line) for line in (source / "metrics.jsonl").read_text().splitlines()]
    made = ({**kept[i % len(kept)], "step": i + 1} for i in range(lines))
    content = "".join(json.dumps(line) + "\n" for line in made).encode()
    (run / "metrics.jsonl").write_bytes(content)
    _say_whole(run, lines, lines, content)
    print(f"a run of {lines} metric lines ({len(content) / 2**20:.0f} MiB)")
    _in_a_process("long", folder, [])


if __name__ == "__main__":
    main()
