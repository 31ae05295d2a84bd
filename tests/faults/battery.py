"""Every read and write call of a command made to fail in turn, as SQLite does it.

    python tests/faults/battery.py                    all commands, every call, the table
    python tests/faults/battery.py train eval         some commands
    python tests/faults/battery.py --sample 4 --json  some calls of each, for the tests

A shim below libc (`shim.c`) counts the calls on files of the case's own folder and fails the n-th.
torch is imported once; each case is a fork in a fresh copy of the folder. After the fault the same
words are typed again (`resume` where a run was begun) on a disk that works, and the numbers must be
those of a command that met no fault, bit for bit. Needs Linux and a C compiler.
"""

import argparse
import contextlib
import copy
import ctypes
import errno
import functools
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
READS, WRITES, REMOVALS = 1, 2, 4
PATIENCE_S = 60

FAULTS = {
    "disk full": (WRITES, errno.ENOSPC, 1),
    "a write fails": (WRITES | REMOVALS, errno.EIO, 0),
    "a read fails": (READS, errno.EIO, 0),
}
"""What fails -> which calls, with which error, and whether all later ones fail, too."""

TINY = [
    *("model.n_layer=1", "model.n_head=2", "model.n_kv_head=null", "model.n_embd=16"),
    *("model.block_size=16", "data.path=my.txt", "data.batch_size=2", "compile=false"),
    *("precision=fp32", "device=cpu", "max_steps=6", "eval_interval=3", "optim=adamw"),
]
RUN_TRAIN = ["train", *TINY, "run_dir=run", "sample_tokens=3"]


@dataclass(frozen=True)
class Command:
    """words: typed in a folder that `setup` has made. again: typed after the fault. result: what
    must then be as if there had been none."""

    words: list[str]
    setup: Callable[[], None]
    result: Callable[[], object]
    again: Callable[[], list[str]] | None = None


@dataclass
class Tally:
    """Of one command and one kind of fault."""

    calls: int = 0
    cases: int = 0
    went_on: int = 0
    one_line: int = 0
    wrong: list[str] = field(default_factory=list)


# -- what is run ----------------------------------------------------------------------------------


def write_text() -> None:
    words = [
        "the",
        "of",
        "and",
        "to",
        "in",
        "a",
        "is",
        "that",
        "it",
        "was",
        "for",
        "on",
        "are",
        "as",
        "with",
        "his",
        "they",
    ]
    draw = random.Random(1)
    lines = (" ".join(draw.choice(words) for _ in range(12)) + "." for _ in range(60))
    Path("my.txt").write_text("\n".join(lines) + "\n")
    Path("mine").mkdir()
    Path("mine/precious.txt").write_text("nobody else has this\n")


def finished_run() -> None:
    write_text()
    run_quietly(RUN_TRAIN)


def stopped_run() -> None:
    """Stopped at step 3 as a cluster stops it: saved, status `interrupted`."""
    from altgrad.training.recording.console import Console

    def progress(self, step, end, metrics):
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    write_text()
    Console.progress, kept = progress, Console.progress
    run_quietly(RUN_TRAIN)
    Console.progress = kept


def exported_run() -> None:
    finished_run()
    run_quietly(["export", "run", "--out", "exported", "--no-tokenizer"])


def numbers(run: str = "run") -> object:
    """Everything logged but times, and the last weights."""
    from altgrad.runs.folder import run_status
    from altgrad.training.checkpoints.manager import find_checkpoint, load_weights
    from altgrad.training.run_differences import read_numbers

    weights = load_weights(find_checkpoint(Path(run)))
    digests = {n: hashlib.sha256(w.numpy().tobytes()).hexdigest() for n, w in weights.items()}
    return read_numbers(Path(run)), digests, run_status(Path(run))


def prepared() -> object:
    found = sorted(Path(os.environ["ALTGRAD_CACHE"]).rglob("*.bin"))
    return [(p.name, hashlib.sha256(p.read_bytes()).hexdigest()) for p in found]


def verdict() -> object:
    (path,) = Path("runs/compare").glob("*/verdict.json")
    content = json.loads(path.read_text())
    outcomes = {a: [o["outcome"] for o in row] for a, row in content["outcomes"].items()}
    return content["verdicts"], outcomes


def report() -> object:
    newest = max(Path("run/evaluations").glob("*.json"), key=lambda p: p.stat().st_mtime_ns)
    return json.loads(newest.read_text())["corpora"]


def imported() -> object:
    from altgrad.training.checkpoints.manager import find_checkpoint, load_weights

    weights = load_weights(find_checkpoint(Path("imported")))
    return {n: hashlib.sha256(w.numpy().tobytes()).hexdigest() for n, w in weights.items()}


def train_again() -> list[str]:
    """As a person would: a folder that is a run already is gone on with."""
    from altgrad.runs.folder import run_status

    if not Path("run/config.yaml").is_file():
        return RUN_TRAIN
    return ["show", "run"] if run_status(Path("run")) == "finished" else ["resume", "run"]


RUN_IMPORT = ["import", "exported", "--out", "imported", "--tokenizer", "byte"]


def import_again() -> list[str]:
    return ["show", "imported"] if Path("imported").exists() else RUN_IMPORT


ARMS = [w for w in TINY if not w.startswith("optim=")]
COMMANDS = {
    "train": Command(RUN_TRAIN, write_text, numbers, train_again),
    "resume": Command(["resume", "run"], stopped_run, numbers, train_again),
    "prepare": Command(
        ["data", "prepare", "shakespeare_char", "data.path=my.txt"], write_text, prepared
    ),
    "compare": Command(
        ["compare", "optim=adamw,sgd", "seeds=2", *ARMS, "max_steps=3"], write_text, verdict
    ),
    "eval": Command(["eval", "run"], finished_run, report),
    "import": Command(RUN_IMPORT, exported_run, imported, import_again),
}


# -- one case -------------------------------------------------------------------------------------


def run_quietly(words: list[str]) -> None:
    """Setting up is not what is tested, but must work."""
    code, said = in_child(words, lambda: None)
    assert code in (0, 130), said


def in_child(words: list[str], arm: Callable[[], None]) -> tuple[int, str]:
    """Run one command in a fork; returns exit code (negative: a signal) and all it said."""
    with tempfile.TemporaryFile(dir=os.environ["FAULTS_OUT"]) as output:
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            signal.alarm(PATIENCE_S)
            code = 99
            try:
                code = _command(words, arm)
            finally:
                os._exit(code)
        status = os.waitpid(child, 0)[1]
        output.seek(0)
        return os.waitstatus_to_exitcode(status), output.read().decode(errors="replace")


def _command(words: list[str], arm: Callable[[], None]) -> int:
    from altgrad.cli import main

    try:
        arm()
        return main(words)
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        return 98
    finally:
        sys.stdout.flush()


def by_forks(tasks, how, slots, done) -> None:
    """The launcher `local`, with a fork where that has a forkserver: torch is here already."""
    from altgrad.compare.launching import local

    for task in tasks:
        log = local.make_log(Path(task.run))
        child = os.fork()
        if child == 0:
            code = 1
            try:
                local._main(task, None, str(log))
                code = 0
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(code)
        os.waitpid(child, 0)
        done(task)


class Battery:
    """Cases of one command, each in a fresh copy of its folder at one path."""

    def __init__(self, name: str, shim: ctypes.CDLL, root: Path) -> None:
        self.name, self.command, self.shim = name, COMMANDS[name], shim
        self.case, self.template = root / "case", root / "template"
        self._enter(None)
        self.command.setup()
        shutil.copytree(self.case, self.template, symlinks=True)
        self.kept = self._files()
        # Once in this process: what it imports and composes, every fork has then.
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            assert _command(self.command.words, lambda: None) == 0
        self.expected = self.command.result()

    def _enter(self, template: Path | None) -> None:
        os.chdir("/")
        shutil.rmtree(self.case, ignore_errors=True)
        if template is None:
            self.case.mkdir()
        else:
            shutil.copytree(template, self.case, symlinks=True)
        os.chdir(self.case)

    def _files(self) -> dict[str, str]:
        """What was the person's own before the command."""
        own = [Path("my.txt"), *Path("mine").rglob("*.txt")]
        own += [p for p in Path("exported").rglob("*") if p.is_file()]
        return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in own if p.is_file()}

    def calls(self, which: int) -> int:
        """How many calls the command makes when none fails."""
        self._enter(self.template)
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), 1)
                os.dup2(nowhere.fileno(), 2)
            _command(self.command.words, lambda: self.shim.faults_arm(which, -1, 0, 0))
            os.write(write_end, str(self.shim.faults_count()).encode())
            os._exit(0)
        os.waitpid(child, 0)
        count = int(os.read(read_end, 32))
        os.close(read_end)
        os.close(write_end)
        return count

    def fail(self, fault: str, at: int) -> tuple[str, str]:
        """`went on`, `one line`, or what went wrong; and what was said."""
        which, number, for_good = FAULTS[fault]
        self._enter(self.template)
        code, said = in_child(
            self.command.words, lambda: self.shim.faults_arm(which, at, number, for_good)
        )
        if "Traceback" in said:
            return "traceback", said
        if code not in (0, 1, 2, 130):
            return f"exit code {code}", said
        if code and not re.search(r"^altgrad: \S.*$", said, re.MULTILINE):
            return f"exit code {code} without a line", said
        return self._again(code), said

    def _again(self, first_code: int) -> str:
        if self._files() != self.kept:
            return "a file was lost"
        words = self.command.again() if self.command.again else self.command.words
        code, said = in_child(words, lambda: None)
        if code or "Traceback" in said:
            return f"the second attempt ({' '.join(words[:2])}) ends with {code}: {said[-300:]}"
        if not _equal(self.command.result(), self.expected):
            return "other numbers"
        return "one line" if first_code else "went on"


def _equal(a: object, b: object) -> bool:
    return json.dumps(a, sort_keys=True, default=str) == json.dumps(b, sort_keys=True, default=str)


# -- all of them ----------------------------------------------------------------------------------


def run_battery(
    names: list[str], sample: int, shim: ctypes.CDLL, root: Path
) -> Iterator[tuple[str, str, Tally]]:
    """`command, fault, tally`; `sample` calls of each, spread over all of them (0 = every one)."""
    for name in names:
        folder = root / name
        folder.mkdir()
        os.environ["ALTGRAD_CACHE"] = str(folder / "case" / "cache")
        battery = Battery(name, shim, folder)
        for fault, (which, _, _) in FAULTS.items():
            tally = Tally(calls=battery.calls(which))
            for at in _chosen(tally.calls, sample):
                _count(tally, battery, fault, at)
            yield name, fault, tally
        os.chdir("/")
        shutil.rmtree(folder)


def _chosen(calls: int, sample: int) -> list[int]:
    if not sample or sample >= calls:
        return list(range(1, calls + 1))
    return sorted({1 + round(i * (calls - 1) / max(sample - 1, 1)) for i in range(sample)})


def _count(tally: Tally, battery: Battery, fault: str, at: int) -> None:
    found, said = battery.fail(fault, at)
    tally.cases += 1
    tally.went_on += found == "went on"
    tally.one_line += found == "one line"
    if found not in ("went on", "one line"):
        tally.wrong.append(f"{battery.name}, {fault}, call {at}: {found}")
        if os.environ.get("FAULTS_SHOW"):
            print(f"=== {tally.wrong[-1]}\n{said[-3000:]}", file=sys.stderr, flush=True)


def table(rows: list[tuple[str, str, Tally]]) -> str:
    lines = [
        "| command | what fails | calls | tried | went on | one line | anything else |",
        "|---|---|---|---|---|---|---|",
    ]
    sums: Counter[str] = Counter()
    for name, fault, t in rows:
        counts = {
            "calls": t.calls,
            "cases": t.cases,
            "on": t.went_on,
            "line": t.one_line,
            "wrong": len(t.wrong),
        }
        sums.update(counts)
        lines.append(f"| {name} | {fault} | {' | '.join(map(str, counts.values()))} |")
    columns = ("calls", "cases", "on", "line", "wrong")
    lines.append(f"| **all** | | {' | '.join(str(sums[c]) for c in columns)} |")
    return "\n".join(lines)


def compile_shim(folder: Path) -> Path:
    """Raises FileNotFoundError without a compiler."""
    library = folder / "shim.so"
    words = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(HERE / "shim.c"), "-ldl"]
    subprocess.run(words, check=True)
    return library


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help=", ".join(COMMANDS))
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="calls of each (all)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    names = arguments.commands or list(COMMANDS)
    if "FAULTS_ROOT" not in os.environ:
        return _with_shim()
    root = Path(os.environ["FAULTS_ROOT"])
    prepare_process()
    shim = ctypes.CDLL(os.environ["LD_PRELOAD"])
    rows = list(run_battery(names, arguments.sample, shim, root))
    wrong = [w for _, _, tally in rows for w in tally.wrong]
    if arguments.json:
        print(json.dumps([[n, f, vars(t)] for n, f, t in rows]))
    else:
        print("\n".join([table(rows), *wrong]))
    return int(bool(wrong))


def _with_shim() -> int:
    """This program again, below the shim, with a folder of its own."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        (folder / "root").mkdir()
        environment = os.environ | {
            "LD_PRELOAD": str(compile_shim(folder)),
            "FAULTS_ROOT": str(folder / "root"),
            "FAULTS_OUT": work,
            "HOME": work,
            "MPLCONFIGDIR": work,
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        words = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:]]
        return subprocess.run(words, env=environment).returncode


def prepare_process() -> None:
    """Load what every command needs, so that a fork costs nothing and reads no code of ours."""
    import matplotlib.figure  # noqa: F401
    import torch

    import altgrad.commands.end_of_run
    import altgrad.commands.train
    import altgrad.compare.comparison as comparison
    import altgrad.compare.launching.worker
    import altgrad.compare.report.build
    import altgrad.evaluate.view
    import altgrad.interchange.export
    import altgrad.interchange.importing
    import altgrad.training.build

    torch.set_num_threads(1)
    comparison.LAUNCHERS["local"] = by_forks
    _spare_what_touches_no_file(altgrad)


def _spare_what_touches_no_file(altgrad: Any) -> None:
    """Seconds of a case that ask nothing of its disk: composing, package versions, drawing."""
    compose = functools.cache(
        lambda words, folder: altgrad.compose.compose_values_anew(words, folder)
    )
    altgrad.compose.compose_values_anew = altgrad.compose.compose_values
    altgrad.compose.compose_values = lambda words, folder=None: copy.deepcopy(
        compose(tuple(words), folder)
    )
    facts = altgrad.runs.environment.describe_environment()
    altgrad.training.recording.recorder.describe_environment = lambda: facts
    altgrad.commands.end_of_run.FINAL_SAMPLE_TOKENS = 3
    altgrad.commands.end_of_run.plot_runs = _draw
    altgrad.compare.report.build.has_charts = lambda: False  # the page takes the Markdown's way


def _draw(runs: list[Path], path: Path) -> Path:
    """The picture's way to the disk, without the picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"png" * 9999)
    return path


if __name__ == "__main__":
    raise SystemExit(main())
