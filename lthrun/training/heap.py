"""Freed memory stays with the process, for the next step to take again.

A step of training asks for the same large blocks as the one before. glibc gives them back to the kernel when they are
freed, and the kernel clears every page of them when it is touched anew: some twenty thousand page faults in a step of
resnet18 (docs/performance.md).
"""

from __future__ import annotations

import ctypes

# <malloc.h>; what they do is said in mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_ON_HEAP = 32 * 2**20  # the most that mallopt(3) promises to take on 64 bits


def disable_heap_trimming() -> None:
    """From now on blocks of up to 32 MiB come from the heap, and the heap never shrinks.

    It holds for the process and cannot be put back. Other C libraries than glibc have no such switch.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt and mallopt(M_MMAP_THRESHOLD, LARGEST_ON_HEAP):
        mallopt(M_TRIM_THRESHOLD, -1)
