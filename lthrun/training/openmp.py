"""OpenMP threads that spin only briefly, so that other processes on the machine keep their cores.

Between two parallel regions libgomp's threads spin, by default for milliseconds, because waking a sleeping thread takes
microseconds. On cores that several processes share, a spinning thread takes the time that another would compute in:
beside two PyTorch processes on two cores, an epoch took 14 times as long (docs/performance.md). Measured there too: the
count below costs at most a hundredth where nothing else runs, and wins most of that time back.

libgomp reads the environment once, when it is loaded. So this has to be called before torch is imported; it has no
effect on a process that has imported torch, but on those that it starts. This module imports no torch.
"""

from __future__ import annotations

import os

SPIN_COUNT = "10000"  # iterations of the waiting loop; libgomp's own are 300,000
USER_SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")


def limit_spinning() -> None:
    """Let OpenMP threads spin briefly, unless the user has said how they wait."""
    if not any(name in os.environ for name in USER_SETTINGS):
        os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
