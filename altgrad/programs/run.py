"""One run of a program, written as a run folder.

    config.yaml        the command, what fills it, seed, metric, version; patch.diff
    environment.json   machine, its Python's packages, commit, uncommitted diff
    output.log         all that it printed, as it came; metrics.jsonl, events.jsonl

A program that crashed, took too long, or never said its number is a lost run, with the last lines
of its output as the cause.
"""

import json
import os
import platform
import shlex
import subprocess
from collections import deque
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from altgrad.programs import metric as metrics
from altgrad.programs.metric import Metric, OutputReader, Point
from altgrad.programs.process import Ended, Stopped, run_command
from altgrad.programs.program import Program
from altgrad.programs.source import copied
from altgrad.runs import LineLog, Record, RunFolder, json_line, read_json, write_atomically
from altgrad.runs.environment import cpu_name
from altgrad.settings import ConfigError

STARTUP = Path(__file__).parent / "startup"
LAST_LINES = 5
GAVE_UP = "gave_up"
"""Event after which nobody tries again: another attempt would take as long."""

PROBE = """
import importlib.metadata as m, json, platform
found = {d.metadata["Name"]: d.version for d in m.distributions() if d.metadata["Name"]}
print(json.dumps({"python": platform.python_version(), "packages": found}))
"""
COMPUTING = ("torch", "numpy", "jax", "tensorflow", "transformers")
"""Libraries whose version is part of a run's identity."""


def run_program(settings: dict[str, Any], run: Path, *, threads: int) -> str:
    """Make the run; returns `finished`, `failed` or `interrupted`.

    settings: as `ProgramRun.to_dict` gives them.
    """
    folder = RunFolder(run)
    folder.create()
    try:
        return _Attempt(settings, folder, threads).run()
    finally:
        folder.unlock()


class _Attempt:
    def __init__(self, settings: dict[str, Any], folder: RunFolder, threads: int) -> None:
        self.settings, self.folder, self.threads = settings, folder, threads
        self.metric = Metric(settings["metric"], settings["name"], settings["step"])
        self.reader = None if self.metric.file else OutputReader(self.metric)
        self.points: list[Point] = []
        self.tail: deque[str] = deque(maxlen=LAST_LINES)
        self.log, self.record = LineLog(folder.metrics), Record()

    def run(self) -> str:
        self._describe()
        root = self.folder.root
        self.folder.event("started", command=shlex.join(self.argv))
        try:
            with copied(Path(self.settings["tree"]), root / "tree") as tree:
                place = tree / self.settings["below"]
                if self.metric.file:  # one that lay there is of another run
                    self._file(place).unlink(missing_ok=True)
                ended = run_command(
                    self.argv,
                    cwd=place,
                    environment=self._environment(),
                    output=root / "output.log",
                    on_line=self._line,
                    timeout_s=self.settings["timeout_s"],
                )
                why = self._why_lost(ended) or self._read_file(place)
        except Stopped:
            self.folder.event("interrupted")
            return "interrupted"
        return self._end(ended, why or self._why_no_number())

    # -- before -----------------------------------------------------------------------------------

    @property
    def argv(self) -> list[str]:
        s = self.settings
        program = Program(
            s["program"],
            s["cwd"],
            self.metric,
            steps=s["steps"],
            args=tuple(s["args"]),
            fill=s["fill"],
        )
        made = program.argv(seed=s["seed"], run=str(self.folder.root.absolute()))
        return [_there(made[0], s["executable"]), *made[1:]]

    def _describe(self) -> None:
        kept = {k: v for k, v in self.settings.items() if k not in ("patch", "executable")}
        text = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)
        write_atomically(self.folder.config, text)
        if self.settings["patch"]:
            write_atomically(self.folder.root / "patch.diff", self.settings["patch"])
        tree = read_json(Path(self.settings["tree"]).with_suffix(".json"))
        self.folder.write_json(
            self.folder.environment,
            {
                "command": shlex.join(self.argv),
                **describe_interpreter(self.settings["executable"]),
                "platform": platform.platform(),
                "cpu": cpu_name(),
                "threads": self.threads,
                "cores": os.cpu_count(),
                "git": tree["commit"] and {"commit": tree["commit"], "dirty_diff": tree["diff"]},
                "variables": {n: os.environ[n] for n in NAMED if n in os.environ},
            },
        )

    def _environment(self) -> dict[str, str]:
        seed, by = str(self.settings["seed"]), self.settings["seed_by"]
        made = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": str(self.threads)}
        made.setdefault("PYTHONHASHSEED", "0")  # sets of texts in the same order in every run
        if by == "torch":
            path = [str(STARTUP), os.environ.get("PYTHONPATH", "")]
            made |= {"ALTGRAD_SEED": seed, "PYTHONPATH": os.pathsep.join(p for p in path if p)}
        elif by:
            made[by.removeprefix("env:")] = seed
        return made

    # -- what it says -----------------------------------------------------------------------------

    def _line(self, line: str) -> None:
        if line.strip():
            self.tail.append(line.strip())
        if self.reader is not None:
            for point in self.reader.points_in(line):
                self._log(point)

    def _log(self, point: Point) -> None:
        self.points.append(point)
        line = json_line({"step": point[0], **point[1]}).encode()
        self.log.append_line(line)
        self.record.add(line, point[0])

    def _read_file(self, place: Path) -> str:
        """Why the file that the metric is in says nothing; empty if it does."""
        if not self.metric.file:
            return ""
        try:
            for point in metrics.read_file(self._file(place), self.metric):
                self._log(point)
        except ConfigError as error:
            return f"{error}; {self._said()}"
        return ""

    def _file(self, place: Path) -> Path:
        return place / self.metric.file.replace("{run}", str(self.folder.root.absolute()))

    # -- how it ended -----------------------------------------------------------------------------

    def _why_lost(self, ended: Ended) -> str:
        if ended.timed_out:
            return f"stopped after timeout={self.settings['timeout_s']:g} s; {self._said()}"
        if ended.exit_status:
            kind = "signal" if ended.exit_status < 0 else "exit status"
            return f"{kind} {abs(ended.exit_status)}; {self._said()}"
        return ""

    def _why_no_number(self) -> str:
        if not self.points:
            return f"metric={self.metric.text!r} matched nothing; {self._said()}"
        return metrics.in_order(self.points)

    def _said(self) -> str:
        last = " | ".join(line[:200] for line in self.tail)
        return f"its last lines: {last}" if last else "it printed nothing"

    def _end(self, ended: Ended, why: str) -> str:
        self.log.sync()
        self.log.close()
        cost = {
            "train_s": round(ended.seconds, 3),
            "wall_s": round(ended.seconds, 3),
            "peak_memory_bytes": ended.peak_bytes,
            "exit_status": ended.exit_status,
        }
        step = self.points[-1][0] if self.points else 0
        if why:
            self.folder.event("failed", error=why, step=step, **cost)
            if ended.timed_out:
                self.folder.event(GAVE_UP)
            return "failed"
        self.folder.event("finished", step=step, metrics=self.record.to_dict(), **cost)
        self.folder.sync()
        return "finished"


NAMED = ("CUDA_VISIBLE_DEVICES", "PYTHONPATH", "OMP_NUM_THREADS", "PYTHONHASHSEED")


def _there(name: str, executable: str) -> str:
    """A program of the folder is run from the copy; one that is not copied (`.venv/bin/python`),
    and one of the machine, from where it is."""
    inside = "/" in name and not name.startswith("/")
    skipped = any(part in executable for part in ("/.venv/", "/venv/", "/node_modules/"))
    return name if inside and not skipped else executable


@cache
def describe_interpreter(executable: str) -> dict[str, Any]:
    """Python and packages of a command that is a Python; nothing of others."""
    if not Path(executable).name.startswith(("python", "pypy")):
        return {}
    try:
        done = subprocess.run(
            [executable, "-c", PROBE], capture_output=True, text=True, timeout=60, check=True
        )
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return {}
    versions = {name.lower(): v for name, v in found["packages"].items()}
    return {**found, **{name: versions[name] for name in COMPUTING if name in versions}}


def versions_of(executable: str) -> dict[str, str]:
    """What of its Python is part of a run's identity."""
    found = describe_interpreter(executable)
    return {name: found[name] for name in ("python", *COMPUTING) if name in found}


__all__: Sequence[str] = ["describe_interpreter", "run_program", "versions_of"]
