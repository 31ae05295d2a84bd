"""What a run ran on: enough to explain a difference between two machines."""

import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any


def describe_environment() -> dict[str, Any]:
    """Versions of Python, torch, CUDA and driver, the processor, the commit, the package list."""
    import torch  # here, so that reading a run folder needs none

    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "cpu": cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "git": describe_git(Path(__file__).parent),
        "packages": {d.name: d.version for d in sorted(metadata.distributions(), key=_name)},
    }


def _name(distribution: metadata.Distribution) -> str:
    return distribution.name.lower()


def cpu_name() -> str:
    """The processor's model name as the operating system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def describe_git(folder: Path) -> dict[str, str] | None:
    """Commit and uncommitted difference of the checkout that the code runs from, if it is one."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None or _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    return {"commit": commit.strip(), "dirty_diff": _git(folder, "diff", "HEAD") or ""}


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
