"""The machine a run uses: its device, arithmetic and processes (Lightning Fabric), its C library's
memory, its compiler."""

import atexit
import ctypes
import importlib.util
import logging
import os
import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from lightning_fabric.strategies import ModelParallelStrategy
from torch import nn

from altgrad.data.sources import keep_stdin
from altgrad.settings import ConfigError
from altgrad.training.config import TrainConfig

# Parameters of mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_INT = 2**31 - 1


def settle(config: TrainConfig) -> torch.device:
    """Replace every `auto` that the machine decides, and the standard input by a file that stays;
    returns the device.

    Raises:
        ConfigError: the machine does not have what was asked for.
    """
    device = pick_device(config.device)
    config.device = str(device)
    if config.devices > 1 and "-" in (config.data.path, config.data.val_path):
        raise ConfigError(
            f"the standard input can be read by one process alone, and devices={config.devices} "
            "are that many: save the text to a file and name that."
        )
    keep_stdin(config.data)
    config.precision.compute = pick_compute(config.precision.compute, device)
    wish = config.compile if config.finetune.base == "float" else False
    config.compile = pick_compile(wish, device)
    return device


def pick_device(wish: str) -> torch.device:
    """The device a run computes on.

    Raises:
        ConfigError: the machine does not have it.
    """
    if wish == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(wish)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ConfigError(f"device={wish}: this machine has {count} CUDA devices; use device=auto.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device=mps: this machine has no Apple GPU; use device=auto.")
    return device


def pick_compute(wish: str, device: torch.device) -> str:
    """`auto` becomes `bf16-mixed` where the device has bf16 instructions, else `32-true`."""
    if wish != "auto":
        return wish
    return "bf16-mixed" if has_fast_bf16(device) else "32-true"


def pick_compile(wish: bool | None, device: torch.device) -> bool:
    """`null` becomes whether the machine can compile.

    Raises:
        ConfigError: compilation was asked for and cannot be had.
    """
    if wish and not can_compile(device):
        raise ConfigError(
            "compile=true needs a C++ compiler and Python's headers (or Triton on a GPU), which "
            "this machine lacks; install them, or use compile=false."
        )
    return can_compile(device) if wish is None else wish


def make_fabric(config: TrainConfig, device: torch.device) -> Fabric:
    """Fabric for these settings; not launched yet."""
    _keep_quiet()
    compute = pick_compute(config.precision.compute, device)
    here, machines = processes(config)
    machine: dict[str, Any] = {"accelerator": device.type, "devices": here, "num_nodes": machines}
    if device.type == "cuda" and here * machines == 1:
        machine["devices"] = [device.index or 0]
    if compute == "16-mixed":
        scaler = torch.amp.GradScaler(device.type)
        arithmetic: dict[str, Any] = {
            "plugins": [MixedPrecision("16-mixed", device.type, scaler=scaler)]
        }
    else:
        arithmetic = {"precision": compute}
    return Fabric(**machine, **arithmetic, strategy=_strategy(config))


def processes(config: TrainConfig) -> tuple[int, int]:
    """Processes on this machine, and machines. `torchrun` has started as many as it says, wherever
    they are; without it `devices` are started here."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return config.devices, 1
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    return here, int(os.environ["WORLD_SIZE"]) // here


def accumulation_of(config: TrainConfig, world_size: int) -> int:
    """Micro-batches of each process a step. `devices` times `accumulation` are read in a step,
    also where an elastic `torchrun` goes on with another number of processes.

    Raises:
        ConfigError: so many processes cannot share them.
    """
    pieces = config.devices * config.accumulation
    if pieces % world_size:
        raise ConfigError(
            f"{world_size} processes cannot share the {pieces} micro-batches of a step "
            f"(devices={config.devices} accumulation={config.accumulation}): set devices to the "
            "processes that torchrun starts on all machines together, or start as many as divide "
            f"{pieces}."
        )
    return pieces // world_size


def launch(fabric: Fabric) -> Fabric:
    """Start the run's processes; the links between them are closed in order when Python ends.

    Fabric does the latter for NCCL only. A gloo group that is left to the interpreter's teardown
    now and then aborts a finished run: its threads still want the interpreter that is gone.
    """
    fabric.launch()
    if fabric.world_size > 1:
        atexit.register(_close_links)
    return fabric


def _close_links() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _keep_quiet() -> None:
    """What the libraries say at every start, and the run's own first lines say already.

    Fabric its arithmetic; torch's compiler, that there is a CUDA toolkit and no GPU.
    """
    from lightning_utilities.core import rank_zero

    rank_zero.log.setLevel(logging.WARNING)
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)


def _strategy(config: TrainConfig) -> Any:
    if config.strategy != "fsdp":
        return config.strategy
    # Under torchrun the processes of all nodes count; "auto" would count nodes, not processes.
    processes = int(os.environ.get("WORLD_SIZE", config.devices))
    return ModelParallelStrategy(
        parallelize_fn=_shard, data_parallel_size=processes, tensor_parallel_size=1
    )


def _shard(model: nn.Module, mesh: Any) -> nn.Module:
    """FSDP2: every block, then the rest, split over the processes of the mesh."""
    from torch.distributed.fsdp import fully_shard

    data_parallel = mesh["data_parallel"]
    for block in getattr(getattr(model, "transformer", model), "h", []):
        fully_shard(block, mesh=data_parallel)
    fully_shard(model, mesh=data_parallel)
    return model


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 matrices in hardware.

    CUDA: compute capability 8.0 or newer. CPU: AVX-512-BF16 or AMX-BF16 (x86), BF16 (Arm).
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return bool({"avx512_bf16", "amx_bf16", "bf16"} & _cpu_flags())
    return False


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    lines = (line for line in text.splitlines() if line.startswith(("flags", "Features")))
    return set(next(lines, "").split())


def can_compile(device: torch.device) -> bool:
    """Whether `torch.compile` can work: Triton on CUDA, else a C++ compiler and headers."""
    if device.type == "cuda":
        return importlib.util.find_spec("triton") is not None
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    return bool(compiler) and (Path(sysconfig.get_path("include")) / "Python.h").is_file()


@contextmanager
def readable_compile_errors() -> Iterator[None]:
    """Turns what torch.compile raises inside into a one-line ConfigError; the rest passes through.

    A run that is killed while it compiles can leave half a library in torch's cache. Every later
    run of the same network then fails as it loads that file, with pages of torch's own frames.
    """
    try:
        yield
    except Exception as error:
        # By name: the class lives in a module that takes long to import and is not public.
        if "BackendCompilerFailed" not in {kind.__name__ for kind in type(error).__mro__}:
            raise
        from torch._inductor.runtime.cache_dir_utils import cache_dir

        reason = " ".join(str(error).split("\n\n")[0].split())
        raise ConfigError(
            f"torch could not compile the network ({reason}); if it fails again, delete torch's "
            f"cache {cache_dir()}, where a killed run may have left half a file, or use "
            "compile=false."
        ) from error


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed memory in this process; whether it has such a setting.

    glibc returns every large block at once. A step on a CPU frees and takes tens of megabytes of
    activations, each page of which must then be cleared and mapped anew: 24 of 128 ms of the
    default model's step on two cores. A process that keeps what it once had at its peak is spared
    that.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # not glibc
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_INT) and mallopt(M_TRIM_THRESHOLD, LARGEST_INT))
