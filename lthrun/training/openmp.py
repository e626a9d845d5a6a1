"""OpenMP threads that spin only briefly, so that other processes on the machine keep their cores.

Between two parallel regions libgomp's threads spin, by default for milliseconds, because waking a sleeping thread takes
microseconds. On cores that several processes share, a spinning thread takes the time that another would compute in:
an epoch beside other trainings took ten times as long as alone. The count below covers the gaps between the operations
of a training step, and gives most of that time back (docs/performance.md).

libgomp reads the environment once, when it is loaded. So this has to be called before torch is imported; it has no
effect on a process that has imported torch, but on those that it starts. This module imports no torch.
"""

from __future__ import annotations

import os

SPIN_COUNT = "4000"  # iterations of the waiting loop; libgomp's default is 300,000
USER_SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")


def limit_spinning() -> None:
    """Let OpenMP threads spin briefly, unless the user has said how they wait."""
    if not any(name in os.environ for name in USER_SETTINGS):
        os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
