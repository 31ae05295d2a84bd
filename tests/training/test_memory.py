import mmap
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from altgrad.training.recording.costs import RunClock, peak_resident_bytes

PROGRAM = """
import resource, sys, torch
from altgrad.training.machine import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    for _ in range(20):
        torch.ones(2**24)
work()
before = faults()
work()
print(faults() - before)
"""


def page_faults(how: str) -> int:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, cwd=root, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_memory_that_is_freed_and_taken_again_costs_no_page_faults():
    assert page_faults("default") > 100
    assert page_faults("keep") < 50


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells it")
def test_the_peak_of_a_run_leaves_out_what_its_process_had_needed_before():
    size = 256 << 20
    with mmap.mmap(-1, size) as block:
        block.write(b"x" * size)
    before = peak_resident_bytes()
    clock = RunClock()
    assert clock.peak_memory_bytes < before - size // 2
    with mmap.mmap(-1, size) as block:
        block.write(b"x" * size)
    assert clock.peak_memory_bytes > before - size // 2
