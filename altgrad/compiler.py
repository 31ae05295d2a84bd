"""torch's C++ compiler on a CPU: what it makes once a machine, made while other things happen.

Before its first kernel inductor prepares torch's own C++ header, which one core works at for some
nine seconds while nothing else goes on. This file, run, makes it, also where only torch is
installed yet; `prepare_compiler()` has that done by a process of its own. Nothing waits for it: a
run that comes to its first kernel earlier waits for the header, as it always did.
"""

import os
import subprocess
import sys
from pathlib import Path

import torch

_preparing: list[subprocess.Popen[bytes]] = []
"""Kept, so that nobody asks a process that still works whether it has ended."""


def trust_instruction_sets() -> None:
    """Let inductor take the processor's word for its vector instructions.

    Left alone it compiles and loads a test program for each set in every process: eight seconds the
    first time and one second each time after. The tests are for compilers that do not know AVX-512,
    and none of these compiles torch's headers any more, which need C++20. Who has set
    TORCHINDUCTOR_VEC_ISA_OK keeps it.
    """
    from torch._inductor import config

    if config.cpp.vec_isa_ok is None:
        config.cpp.vec_isa_ok = True


def prepare_compiler() -> None:
    """Start making the header, unless this machine has one or somebody is at it."""
    if _preparing or _has_header():
        return
    quiet = subprocess.DEVNULL
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-P", str(Path(__file__).resolve())]
    _preparing.append(
        subprocess.Popen(call, stdin=quiet, stdout=quiet, stderr=quiet, env=one_thread)
    )


def _has_header() -> bool:
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    return any(Path(default_cache_dir(), "precompiled_headers").glob("*.gch"))


def make_header() -> None:
    """Compile the smallest kernel there is, which takes the header with it."""
    trust_instruction_sets()
    torch.compile(torch.neg)(torch.ones(64))


if __name__ == "__main__":
    make_header()
