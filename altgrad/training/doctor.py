"""What this machine gives a run, one fact after another, each with what to do where it lacks
something. The same functions answer that a run asks (`machine.py`), so the two cannot differ."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import torch

from altgrad.data import DataConfig
from altgrad.data.config import cache_root
from altgrad.data.corpora import CORPORA, Corpus
from altgrad.data.download import NpmPackage, Tarball, Url, Wheel, endpoint, manifest_path
from altgrad.quantization.rounding import native
from altgrad.runs.environment import cpu_name
from altgrad.training.checkpoints import available_memory
from altgrad.training.machine import can_compile, has_fast_bf16, pick_device
from altgrad.training.recording import EnergyMeter

GB = 1e9
DISK_BYTES, MEMORY_BYTES = 5 * GB, 2 * GB
"""Below these a run of the default size may not get through."""
CONNECT_S = 4.0


@dataclass(frozen=True)
class Fact:
    """state: good, missing (a run works without it) or bad."""

    what: str
    found: str
    state: str = "good"
    advice: str = ""

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


def examine(*, network: bool = True) -> Iterator[Fact]:
    """Every fact, the slow ones (the network) last."""
    device = pick_device("auto")
    yield from (_python(), _torch(device), _device(device), _bf16(device))
    yield from (_compiler(device), _kernels(), _memory(), _disk(), _energy(device))
    if network:
        yield from _corpora()


def _python() -> Fact:
    version, good = platform.python_version(), (3, 11) <= sys.version_info[:2] <= (3, 13)
    advice = "" if good else "use Python 3.11, 3.12 or 3.13"
    return Fact("Python", f"{version} ({sys.executable})", "good" if good else "bad", advice)


def _torch(device: torch.device) -> Fact:
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
    gpu = shutil.which("nvidia-smi") is not None
    if gpu and device.type == "cpu":
        advice = (
            "there is an NVIDIA driver, but torch cannot use it: install a torch that is built for "
            "its CUDA (nvidia-smi says which), or run in a container started with --gpus all"
        )
        return Fact("torch", f"{torch.__version__}, {built}", "missing", advice)
    return Fact("torch", f"{torch.__version__}, {built}")


def _device(device: torch.device) -> Fact:
    if device.type == "cuda":
        of = torch.cuda.get_device_properties(device)
        count = torch.cuda.device_count()
        driver = _driver()
        found = f"{of.name}, {of.total_memory / GB:.0f} GB, driver {driver}; {count} here"
        return Fact("device", found)
    threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores"
    found = f"{cpu_name()}, {threads}" if device.type == "cpu" else "Apple GPU"
    return Fact("device", f"{device.type}: {found}")


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        return done.stdout.splitlines()[0].strip()
    except (OSError, subprocess.SubprocessError, IndexError):
        return "unknown"


def _bf16(device: torch.device) -> Fact:
    if has_fast_bf16(device):
        return Fact("bf16", "in hardware: precision.compute=auto is bf16-mixed")
    advice = "nothing to do: runs compute in fp32, with slower steps (docs/evidence/speed.md)"
    return Fact("bf16", "no instructions: precision.compute=auto is 32-true", "missing", advice)


def _compiler(device: torch.device) -> Fact:
    if can_compile(device):
        return Fact("compile", "torch.compile works: compile=null compiles")
    advice = (
        "pip install triton"
        if device.type == "cuda"
        else "install a C++ compiler and Python's headers (Debian: apt install g++ python3-dev)"
    )
    return Fact("compile", "no compiler: compile=null does not compile", "missing", advice)


def _kernels() -> Fact:
    try:
        there = native.library() is not None
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
        return Fact("kernels", found, "missing", "see docs/evidence/speed.md")
    if there:
        return Fact("kernels", "rounding runs in C++, compiled for this processor")
    advice = "install a C++ compiler: rounded runs on a CPU are several times faster with it"
    return Fact("kernels", "rounding runs as torch operations", "missing", advice)


def _memory() -> Fact:
    free = available_memory()
    if free is None:
        return Fact("memory", "this system does not say", "missing")
    advice = "close other programs, or use a smaller model.n_embd or data.batch_size"
    low = free < MEMORY_BYTES
    return Fact("memory", f"{free / GB:.1f} GB free", "bad" if low else "good", advice * low)


def _disk() -> Fact:
    places = {"runs/": Path.cwd(), "corpora": cache_root(DataConfig())}
    free = {name: shutil.disk_usage(_existing(path)).free for name, path in places.items()}
    told = ", ".join(
        f"{free[name] / GB:.1f} GB for {name} ({path})" for name, path in places.items()
    )
    closed = [str(p) for p in map(_existing, places.values()) if not os.access(p, os.W_OK)]
    if closed:
        advice = "choose another place: run_dir=, or the environment variable ALTGRAD_CACHE"
        return Fact("disk", f"cannot write to {', '.join(closed)}", "bad", advice)
    low = min(free.values()) < DISK_BYTES
    advice = "`altgrad gc RUN` removes old checkpoints; ALTGRAD_CACHE moves the corpora"
    return Fact("disk", told, "missing" if low else "good", advice * low)


def _existing(path: Path) -> Path:
    return next(p for p in (path, *path.parents) if p.exists())


def _energy(device: torch.device) -> Fact:
    meter = EnergyMeter(gpus=int(device.type == "cuda"))
    if meter.joules() is not None:
        return Fact("energy", "counted: energy_j is among the metrics")
    advice = (
        "RAPL's counters are often readable by root only: chmod a+r /sys/class/powercap/*/energy_uj"
    )
    return Fact("energy", "the machine does not tell", "missing", advice)


# -- the ways to each corpus ----------------------------------------------------------------------


def _corpora() -> Iterator[Fact]:
    """What is here already, else which of its published ways are open, all asked at once."""
    ways = {name: _ways(corpus) for name, corpus in CORPORA.items()}
    places = {place for found in ways.values() for _, place in found if place}
    with ThreadPoolExecutor(max(1, len(places))) as pool:
        answers = dict(zip(places, pool.map(_answers, places), strict=True))
    for name, corpus in CORPORA.items():
        yield _corpus_fact(corpus, ways[name], answers)


def _corpus_fact(
    corpus: Corpus, ways: list[tuple[str, str | None]], answers: dict[str, str]
) -> Fact:
    folder = cache_root(DataConfig()) / "corpora" / corpus.name
    if corpus.file and (folder / corpus.file.filename).is_file():
        return Fact(corpus.name, "here already")
    if corpus.hub and manifest_path(folder).is_file():
        return Fact(corpus.name, "begun or here already; what is missing comes from the hub")
    states = [(kind, answers[place] if place else "not installed here") for kind, place in ways]
    told = "; ".join(f"{kind}: {state or 'open'}" for kind, state in states)
    if any(not state for _, state in states):
        return Fact(corpus.name, told)
    file = corpus.file.filename if corpus.file else "its files"
    advice = f"no way is open: put {file} into {folder} by hand, or use data.path=YOUR.txt"
    return Fact(corpus.name, told, "missing", advice)


def _ways(corpus: Corpus) -> list[tuple[str, str | None]]:
    """(kind and host, URL to ask); None where its program is not installed."""
    if corpus.hub is not None:
        return [(f"hub {urlsplit(endpoint()).hostname}", endpoint())]
    assert corpus.file is not None
    return [_way(route) for route in corpus.file.routes]


def _way(route: Any) -> tuple[str, str | None]:
    if isinstance(route, Wheel):
        index = _configured([sys.executable, "-m", "pip"], "global.index-url", "PIP_INDEX_URL")
        # Not `find_spec`: setuptools gives up its distutils for good when somebody looks for pip,
        # and torch.compile needs it.
        there = any(importlib.metadata.distributions(name="pip"))
        return "package index (pip)", (index or "https://pypi.org/simple/") if there else None
    if isinstance(route, NpmPackage):
        if shutil.which("npm") is None:
            return "npm", None
        return "npm registry", _configured(["npm"], "registry", "npm_config_registry")
    assert isinstance(route, Url | Tarball)
    return str(urlsplit(route.url).hostname), route.url


def _configured(program: list[str], key: str, variable: str) -> str:
    """A setting of pip or npm, as that program itself finds it."""
    if os.environ.get(variable):
        return os.environ[variable]
    try:
        done = subprocess.run([*program, "config", "get", key], capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _answers(url: str) -> str:
    """Why a server does not answer; empty if it does, whatever it says of a bare question."""
    try:
        with urlopen(Request(url, method="HEAD"), timeout=CONNECT_S):
            return ""
    except HTTPError as error:
        return "" if error.code in (400, 401, 405) else f"answers {error.code}"
    except Exception as error:
        reason = getattr(error, "reason", error)
        return f"closed ({' '.join(str(reason).split())[:60]})"
