"""Ten thousand run folders: how soon does a page show something, and in how much memory?

    python benchmarks/studio.py [RUNS=10000] [altgrad|tensorboard|trackio …]

The same runs (200 steps of loss, step_ms, tokens_per_s and train_s, one val_loss) are laid out for
altgrad, TensorBoard and trackio. Each one's own server is started on them and asked over HTTP as
its own page asks first:

altgrad      `/api/runs`: until the first 50 rows come with settings, losses and curves, and until
             every run has been read
TensorBoard  `data/runs`: until it names one run and until it names all; the numbers are then read
trackio      `api/get_runs_for_project`, out of the database that it logs to: until it names all

Memory is the resident set of the server and its children, the largest seen; processor seconds are
theirs, too: a machine that does other things makes only the wall slower.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from functools import cache
from pathlib import Path

import psutil
import yaml

from altgrad.training import TrainConfig

STEPS = 200
LONGEST_S = 300.0


KINDS = 97
"""So many runs differ in what they log; the others repeat them, and are laid out as copies."""


def lines(run: int) -> list[dict[str, float]]:
    """What a run logs, a step each."""
    losses = [3.0 / (1 + 0.02 * step) + 0.001 * (run % KINDS) for step in range(1, STEPS + 1)]
    logged = [
        {"loss": loss, "step_ms": 10.0, "tokens_per_s": 1e4, "train_s": 0.01 * step}
        for step, loss in enumerate(losses, start=1)
    ]
    logged[-1]["val_loss"] = losses[-1]
    return logged


@cache
def metrics_file(kind: int) -> str:
    logged = [{"step": i, **line} for i, line in enumerate(lines(kind), start=1)]
    return "".join(json.dumps(x) + "\n" for x in logged)


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
        (folder / "metrics.jsonl").write_text(metrics_file(run % KINDS))
        events = [{"event": "started", "step": 0}, {"event": "finished", "step": STEPS}]
        (folder / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))


def lay_out_tensorboard(base: Path, count: int) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for run in range(count):
        if run >= KINDS:
            shutil.copytree(base / f"run-{run % KINDS:05d}", base / f"run-{run:05d}")
            continue
        writer = EventFileWriter(str(base / f"run-{run:05d}"))
        for step, line in enumerate(lines(run), start=1):
            values = [Summary.Value(tag=name, simple_value=v) for name, v in line.items()]
            writer.add_event(Event(wall_time=step, step=step, summary=Summary(value=values)))
        writer.close()


def lay_out_trackio(base: Path, count: int) -> None:
    os.environ["TRACKIO_DIR"] = str(base)
    from trackio.sqlite_storage import SQLiteStorage

    names = [f"run-{run:05d}" for run in range(count)]
    for run, name in enumerate(names[:KINDS]):
        SQLiteStorage.bulk_log("bench", name, lines(run), list(range(1, STEPS + 1)))
    columns = "timestamp, step, metrics"
    copied = (
        f"INSERT INTO metrics (run_id, run_name, {columns}) "
        f"SELECT ?, ?, {columns} FROM metrics WHERE run_id = ?"
    )
    with sqlite3.connect(SQLiteStorage.get_project_db_path("bench")) as database:
        for run, name in enumerate(names[KINDS:], start=KINDS):
            database.execute(copied, (name, name, names[run % KINDS]))


# -- servers --------------------------------------------------------------------------------------


class Server:
    """A process that is asked; `peak` is the largest resident set seen, in MiB, `used` its
    processor seconds at the last look; both with its children."""

    def __init__(self, words: list[str]) -> None:
        self.began = time.perf_counter()
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.peak = self.used = 0.0

    def ask(self, url: str, body: object = None) -> object:
        self.look()
        sent = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(url, sent, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return json.load(answer)
        except (OSError, ValueError):
            return None

    def look(self) -> None:
        try:
            own = psutil.Process(self.process.pid)
            family = [own, *own.children(recursive=True)]
            self.peak = max(self.peak, sum(p.memory_info().rss for p in family) / 2**20)
            self.used = sum(p.cpu_times().user + p.cpu_times().system for p in family)
        except psutil.Error:
            return

    def until(self, true) -> tuple[float, float] | None:
        """Seconds since the start until `true()`, and of the processor; None if too long."""
        while time.perf_counter() - self.began < LONGEST_S:
            if true():
                took = time.perf_counter() - self.began
                self.look()
                return took, self.used
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
    port = 16107
    code = (
        "import trackio; trackio.show('bench', open_browser=False, host='127.0.0.1', "
        f"server_port={port}, block_thread=True)"
    )
    os.environ["TRACKIO_DIR"] = str(base)
    server = Server([sys.executable, "-c", code])
    url = f"http://127.0.0.1:{port}/api/get_runs_for_project"

    def runs() -> int:
        answer = server.ask(url, {"project": "bench"})
        return len(answer.get("data") or ()) if isinstance(answer, dict) else 0

    first = server.until(lambda: runs() > 0)
    report("trackio", first, server.until(lambda: runs() == count), server)


def report(
    name: str,
    first: tuple[float, float] | None,
    whole: tuple[float, float] | None,
    server: Server,
) -> None:
    server.look()
    server.stop()
    told = [
        f"{took[0]:6.2f} s ({took[1]:5.2f} s of processor)" if took else f"not in {LONGEST_S:.0f} s"
        for took in (first, whole)
    ]
    print(
        f"{name:>15}: first content {told[0]}, all runs {told[1]}, {server.peak:.0f} MiB",
        flush=True,
    )


def main(count: int, programs: list[str]) -> None:
    print(f"{count} runs of {STEPS} steps", flush=True)
    place = Path(tempfile.mkdtemp(prefix="studio-bench-"))
    try:
        for name, lay_out, measure in (
            ("altgrad", lay_out_altgrad, time_altgrad),
            ("tensorboard", lay_out_tensorboard, time_tensorboard),
            ("trackio", lay_out_trackio, time_trackio),
        ):
            if programs and name not in programs:
                continue
            (place / name).mkdir()
            lay_out(place / name, count)
            measure(place / name, count)
            shutil.rmtree(place / name)
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000, sys.argv[2:])
