"""Ctrl-C before a command has begun its work: one line and exit status 130, whatever is imported at that moment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# SIGALRM stands for the key, at a time after the start of the command.
CODE = """
import signal, sys
from lthrun.cli import main
sys.argv = ["lthrun", "ticket", "--config", "smoke/ticket"]
signal.signal(signal.SIGALRM, signal.default_int_handler)
signal.setitimer(signal.ITIMER_REAL, float(sys.stdin.read()))
main()
"""


@pytest.mark.parametrize("seconds", ["0.001", "0.05", "0.2", "0.4", "0.6"])
def test_ctrl_c_at_the_start_is_one_line(seconds: str, tmp_path: Path, cache: Path):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", CODE], input=seconds, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr == "lthrun: stopped\n" or (not done.stderr and "interrupted; saved: nothing" in done.stdout)
