"""Ten thousand run folders: how soon does a page show something, and in how much memory?

    python benchmarks/studio.py [RUNS=10000]

The same runs (200 steps each) are laid out for altgrad, TensorBoard and trackio, each server is
started on them, and asked over HTTP as its own page asks: altgrad for the first rows of the table,
TensorBoard for the list of runs (`data/runs`), until it names one and until it names all.
trackio, which keeps runs in a database, is asked for the runs of the project
(`SQLiteStorage.get_runs`) in a process of its own, from its import on: its page needs that list
first. Memory is the resident set of the server and its children, the largest seen.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil
import yaml

from altgrad.training import TrainConfig

STEPS = 200
LONGEST_S = 300.0


def losses(run: int) -> list[float]:
    return [3.0 / (1 + 0.02 * step) + 0.001 * (run % 97) for step in range(1, STEPS + 1)]


# -- the same runs, three times -------------------------------------------------------------------


def lay_out_altgrad(base: Path, count: int) -> None:
    tree = TrainConfig(max_steps=STEPS).to_dict()
    for run in range(count):
        folder = base / f"run-{run:05d}"
        folder.mkdir(parents=True)
        tree["seed"], tree["optim"]["lr"] = run, 0.001 * (1 + run % 50)
        (folder / "config.yaml").write_text(
            yaml.dump(tree, sort_keys=False, Dumper=yaml.CSafeDumper)
        )
        lines = [
            {"step": i, "loss": loss, "step_ms": 10.0, "tokens_per_s": 1e4, "train_s": 0.01 * i}
            for i, loss in enumerate(losses(run), start=1)
        ]
        lines[-1]["val_loss"] = lines[-1]["loss"]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
        events = [{"event": "started", "step": 0}, {"event": "finished", "step": STEPS}]
        (folder / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))


def lay_out_tensorboard(base: Path, count: int) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for run in range(count):
        writer = EventFileWriter(str(base / f"run-{run:05d}"))
        for step, loss in enumerate(losses(run), start=1):
            summary = Summary(value=[Summary.Value(tag="loss", simple_value=loss)])
            writer.add_event(Event(wall_time=step, step=step, summary=summary))
        writer.close()


def lay_out_trackio(base: Path, count: int) -> None:
    os.environ["TRACKIO_DIR"] = str(base)
    from trackio.sqlite_storage import SQLiteStorage

    for run in range(count):
        metrics = [{"loss": loss} for loss in losses(run)]
        SQLiteStorage.bulk_log("bench", f"run-{run:05d}", metrics)


# -- servers --------------------------------------------------------------------------------------


class Server:
    """A process that is asked; `peak` is the largest resident set seen, in MiB."""

    def __init__(self, words: list[str]) -> None:
        self.began = time.perf_counter()
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.peak = 0.0

    def ask(self, url: str) -> object:
        self.look()
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return json.load(answer)
        except (OSError, ValueError):
            return None

    def look(self) -> None:
        try:
            own = psutil.Process(self.process.pid)
            family = [own, *own.children(recursive=True)]
            self.peak = max(self.peak, sum(p.memory_info().rss for p in family) / 2**20)
        except psutil.Error:
            return

    def until(self, true) -> float | None:
        """Seconds since the start until `true()`; None if it takes too long."""
        while time.perf_counter() - self.began < LONGEST_S:
            if true():
                return time.perf_counter() - self.began
            time.sleep(0.05)
        return None

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def time_altgrad(base: Path, count: int) -> None:
    server = Server([sys.executable, "-m", "altgrad", "studio", str(base), "--port", "0"])
    assert server.process.stdout is not None
    address = server.process.stdout.readline().decode().split("/#")[0]
    rows = f"{address}/api/runs?count=50"

    def first() -> bool:
        answer = server.ask(rows)
        return isinstance(answer, dict) and any(row["spark"] for row in answer["rows"])

    def everything() -> bool:
        answer = server.ask(rows)
        return isinstance(answer, dict) and answer["read"] == count

    report("altgrad studio", server.until(first), server.until(everything), server)


def time_tensorboard(base: Path, count: int) -> None:
    port = "16106"
    words = [sys.executable, "-m", "tensorboard.main", "--logdir", str(base), "--port", port]
    server = Server(words)

    def runs() -> int:
        answer = server.ask(f"http://localhost:{port}/data/runs")
        return len(answer) if isinstance(answer, list) else 0

    first = server.until(lambda: runs() > 0)
    report("TensorBoard", first, server.until(lambda: runs() == count), server)


def time_trackio(base: Path, count: int) -> None:
    code = (
        "from trackio.sqlite_storage import SQLiteStorage as S; "
        "print(len(S.get_runs('bench')), flush=True); import time; time.sleep(1)"
    )
    os.environ["TRACKIO_DIR"] = str(base)
    server = Server([sys.executable, "-c", code])
    assert server.process.stdout is not None
    found = int(server.process.stdout.readline())
    took = time.perf_counter() - server.began
    server.look()
    report("trackio, list of runs", took, took if found == count else None, server)


def report(name: str, first: float | None, whole: float | None, server: Server) -> None:
    server.look()
    server.stop()
    told = [f"{v:6.2f} s" if v is not None else f"not in {LONGEST_S:.0f} s" for v in (first, whole)]
    print(
        f"{name:>22}: first content {told[0]}, all runs {told[1]}, {server.peak:.0f} MiB",
        flush=True,
    )


def main(count: int) -> None:
    place = Path(tempfile.mkdtemp(prefix="studio-bench-"))
    try:
        for name, lay_out, measure in (
            ("altgrad", lay_out_altgrad, time_altgrad),
            ("tensorboard", lay_out_tensorboard, time_tensorboard),
            ("trackio", lay_out_trackio, time_trackio),
        ):
            (place / name).mkdir()
            lay_out(place / name, count)
            measure(place / name, count)
            shutil.rmtree(place / name)
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
