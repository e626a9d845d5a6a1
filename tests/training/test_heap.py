"""Freed memory stays in the process heap."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource, sys
import torch
from torch import nn
from lthrun.config.sections import Training
from lthrun.training.engine import Engine

if sys.argv[1] == "with an engine":
    Engine(nn.Linear(1, 1), Training(), torch.device("cpu"), "float32", {})

model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU())
images = torch.rand(16, 3, 64, 64)  # blocks of about 7 MiB
for step in range(20):  # the first steps allocate them
    if step == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    model(images).sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc has this setting")
def test_a_step_reuses_the_memory_of_the_step_before():
    def count_page_faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", STEPS, how], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    assert 10 * count_page_faults("with an engine") < count_page_faults("without")
