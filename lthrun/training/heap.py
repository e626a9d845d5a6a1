"""Keep freed memory in the process heap, so that the next training step can reuse it.

A training step allocates the same large blocks as the one before. glibc returns freed blocks of that size to the
kernel, and the kernel clears every page when it is next touched: some 20,000 page faults in a step of resnet18
(docs/performance.md).
"""

from __future__ import annotations

import ctypes

# From <malloc.h>; mallopt(3) describes them.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_ON_HEAP = 32 * 2**20  # the largest M_MMAP_THRESHOLD that mallopt(3) promises to accept on 64 bits


def disable_heap_trimming() -> None:
    """From now on blocks of up to 32 MiB come from the heap, and the heap never shrinks.

    This holds for the whole process and cannot be undone. C libraries other than glibc have no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt and mallopt(M_MMAP_THRESHOLD, LARGEST_ON_HEAP):
        mallopt(M_TRIM_THRESHOLD, -1)
