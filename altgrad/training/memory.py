"""Keep memory that was freed, so that the next step need not ask the system for it again.

glibc returns every large block at once. A step on a CPU frees and takes tens of megabytes of
activations; each page of them must then be cleared and mapped anew: 24 of 128 ms of the default
model's step on two cores. With these settings a process keeps what it once had at its peak.
"""

import ctypes

# Parameters of mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed memory in this process; whether it has such a setting."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # not glibc
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_INT) and mallopt(M_TRIM_THRESHOLD, LARGEST_INT))
