"""How every process of logvq runs: one thread for matrices, memory kept, garbage looked for seldom."""

from __future__ import annotations

import ctypes
import gc
import os
from contextlib import suppress

# Parameters of mallopt, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Objects made and not freed between two looks for garbage: a batch of lines is some 100,000 of them, none in a cycle.
# At Python's own 700, reading packed records from Kafka takes 3 times and the whole way of a line 1.1 times as long.
_GARBAGE_THRESHOLDS = (100_000, 50, 100)


def settle() -> None:
    """Set the process up; where torch was imported before, its threads are what they were."""
    # Two threads of OpenMP on two busy cores stall each other by factors of ten; one thread a process does not.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    _keep_memory()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)


def _keep_memory() -> None:
    """Let glibc keep freed memory: tensors that are mapped and unmapped each time cost up to six times as much.

    Set in the process: the variables of the environment are read before it runs, and one of them alone,
    MALLOC_TRIM_THRESHOLD_, also ends glibc's own adjustment and makes scoring 2.5 times slower.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            mallopt(parameter, 1 << 30)
