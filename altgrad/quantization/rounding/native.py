"""The optional native tier: `native.cpp` and `sums.cpp`, built once with the machine's compiler and
cached.

Nothing needs it. Where there is no C++ compiler (or `ALTGRAD_NATIVE=0`), the torch version does
the same work, bit for bit, several times slower, and one warning says so.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
import warnings
from functools import cache, lru_cache
from pathlib import Path

import torch
from torch import Tensor

from altgrad.quantization.formats import Format
from altgrad.quantization.rounding.grid import GridConstants, grid, held

_SOURCES = [Path(__file__).with_name(name) for name in ("native.cpp", "sums.cpp")]
# The same bits as torch's operations: no product fused with a sum (it would be rounded once instead
# of twice), nothing reassociated. What may go are errno and traps, which nobody reads and which
# stand in the way of vector code.
_FLAGS = [
    *("-O3", "-march=native", "-fopenmp", "-ffp-contract=off", "-fno-math-errno"),
    *("-fno-trapping-math", "-mprefer-vector-width=512", "-shared", "-fPIC"),
]
# For compilers without OpenMP or -march=native (Apple's clang).
_PORTABLE_FLAGS = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-shared", "-fPIC"]
_TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
RULES = {"unit": 0, "given_one": 1, "given_each": 2, "exact": 3, "power_of_two": 4, "mx": 5}


class _GridStruct(ctypes.Structure):
    _INTS = ("shift", "half_minus_one", "keep", "flip")
    _FLOATS = (
        *("min_normal", "low", "lift", "lo", "hi", "over_lo", "over_hi", "zero"),
        *("lo_threshold", "hi_threshold", "smallest_normal"),
    )
    _fields_ = [(n, ctypes.c_int32) for n in _INTS] + [(n, ctypes.c_float) for n in _FLOATS]


@lru_cache(maxsize=1024)
def _struct(f: Format, overflow: str):
    constants: GridConstants = grid(f, overflow, torch.float32)
    # The struct comes along so that the cache keeps alive what the address points to.
    names = (*_GridStruct._INTS, *_GridStruct._FLOATS)
    built = _GridStruct(*(getattr(constants, name) for name in names))
    return built, ctypes.addressof(built)


def cache_folder() -> Path:
    """Where built libraries lie: $XDG_CACHE_HOME/altgrad/native or ~/.cache/altgrad/native."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "altgrad" / "native"


@cache
def library() -> ctypes.CDLL | None:
    """The built library, or None (and one warning) on a machine that cannot build it."""
    if os.environ.get("ALTGRAD_NATIVE") == "0":
        return None
    compiler = _compiler()
    if compiler is None:
        return _go_without("no C++ compiler was found")
    for flags in (_FLAGS, _PORTABLE_FLAGS):
        try:
            return _declare(ctypes.CDLL(str(_build(compiler, flags))))
        except (OSError, subprocess.SubprocessError) as failure:
            reason = (getattr(failure, "stderr", "") or str(failure)).strip().splitlines()
    return _go_without(f"{compiler} failed: {reason[0] if reason else 'no message'}")


def must_be_built() -> bool:
    """Whether the first call of `library` will compile, which takes a minute on a slow machine."""
    loaded, compiler = library.cache_info().currsize > 0, _compiler()
    if loaded or os.environ.get("ALTGRAD_NATIVE") == "0" or compiler is None:
        return False
    try:
        return not _target(compiler, _FLAGS).exists()
    except (OSError, subprocess.SubprocessError):
        return False


def _compiler() -> str | None:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    return compiler if compiler and shutil.which(compiler) else None


def _go_without(reason: str) -> ctypes.CDLL | None:
    warnings.warn(
        f"altgrad.quantization: {reason}; rounding on this machine uses plain torch operations: "
        "the same bits, several times slower. Install g++, or set ALTGRAD_NATIVE=0 to accept it.",
        RuntimeWarning,
        stacklevel=3,
    )
    return None


def _target(compiler: str, flags: list[str]) -> Path:
    """Where the library lies, under a name made of everything that matters."""
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True)
    texts = [source.read_text() for source in _SOURCES]
    identity = "\n".join([*texts, *flags, version.stdout, _processor()])
    return cache_folder() / f"{hashlib.sha256(identity.encode()).hexdigest()[:20]}.so"


def _build(compiler: str, flags: list[str]) -> Path:
    """Compile into the cache. Several processes may do so at once: each builds apart, and the move
    into place is atomic, so that nobody loads half a library."""
    target = _target(compiler, flags)
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        fresh = Path(folder) / "native.so"
        command = [compiler, *flags, *map(str, _SOURCES), "-o", str(fresh)]
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        os.replace(fresh, target)
    return target


def _processor() -> str:
    """-march=native code must not travel to another processor through a shared home folder."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    pointer, integer, wide = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
    library.altgrad_round.argtypes = [
        *(pointer, pointer, pointer, pointer, pointer, integer, integer, wide, wide),
        *(integer, integer, integer, integer, ctypes.c_float, integer, integer),
        *(ctypes.c_uint32, ctypes.c_uint32),
    ]
    library.altgrad_round.restype = ctypes.c_int32
    library.altgrad_gradient_sums.argtypes = [
        *(wide, pointer, pointer, pointer, ctypes.c_float, pointer, pointer, integer)
    ]
    library.altgrad_pair_sums.argtypes = [
        *(wide, pointer, pointer, pointer, pointer, integer),
    ]
    library.altgrad_lost_updates.argtypes = [wide, pointer, pointer, integer]
    for name in ("gradient_sums", "pair_sums", "lost_updates"):
        getattr(library, f"altgrad_{name}").restype = None
    library.altgrad_group_amax.argtypes = [pointer, pointer, integer, wide, wide, integer]
    library.altgrad_group_amax.restype = ctypes.c_int32
    return library


def grid_address(f: Format, overflow: str) -> int:
    """Where the constants of a format lie, as the native functions take them."""
    return _struct(f, overflow)[1]


def _library() -> ctypes.CDLL:
    built = library()
    assert built is not None
    return built


def _is_built() -> bool:
    return library() is not None


is_built = torch.compiler.assume_constant_result(_is_built)
"""Whether there is a library, to torch.compile a constant."""


def available(x: Tensor, out_dtype: torch.dtype) -> bool:
    """Whether a tensor, of any shape, can be rounded natively into `out_dtype`."""
    pairs = out_dtype == x.dtype or (x.dtype, out_dtype) == (torch.float32, torch.bfloat16)
    return x.device.type == "cpu" and x.dtype in _TYPES and pairs and is_built()


def group_amax(x: Tensor, group_size: int) -> Tensor:
    """The largest finite |x| of every `group_size` neighbours of contiguous `x`, flat, float32."""
    amax = torch.empty(x.numel() // group_size)
    failed = _library().altgrad_group_amax(
        x.data_ptr(),
        amax.data_ptr(),
        _TYPES[x.dtype],
        amax.numel(),
        group_size,
        torch.get_num_threads(),
    )
    assert not failed, x.dtype
    return amax


def round_groups(
    x: Tensor,
    f: Format,
    *,
    out: Tensor,
    group_size: int,
    rule: str,
    scales: Tensor | None,
    overflow: str,
    keys: tuple[int, int] | None,
    unscaled: bool,
    counts: Tensor | None,
) -> None:
    """Round contiguous `x` into contiguous `out` in groups of `group_size` neighbours.

    `rule` (of RULES) says whether `scales` (float32, one per group or one in all) are given or are
    computed from each group's amax and written. `unscaled` leaves the grid's numbers without
    multiplying back. `counts` (float64, [8] or [groups, 8]) is added to. `keys` asks for
    stochastic rounding.
    """
    key0, key1 = keys or (0, 0)
    failed = _library().altgrad_round(
        x.data_ptr(),
        out.data_ptr(),
        0 if scales is None else scales.data_ptr(),
        0 if counts is None else counts.data_ptr(),
        _struct(f, overflow)[1],
        _TYPES[x.dtype],
        _TYPES[out.dtype],
        x.numel() // group_size,
        group_size,
        RULES[rule],
        unscaled,
        counts is not None and counts.dim() == 2,
        torch.get_num_threads(),
        f.max,
        f.max_exponent,
        keys is not None,
        key0 & 0xFFFFFFFF,
        key1 & 0xFFFFFFFF,
    )
    assert not failed, (x.dtype, out.dtype)
    # q·s may lie beyond out's dtype: settled here as in the torch version.
    if scales is not None and not unscaled:
        held(out, scales, f, overflow)
