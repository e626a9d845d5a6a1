"""OpenMP threads spin briefly: set before torch is loaded, in every process, and never against the user's setting."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lthrun.training.openmp import SPIN_COUNT, USER_SETTINGS

ROOT = Path(__file__).parents[2]

AT_IMPORT = """
import os, sys

class ReportTorch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("GOMP_SPINCOUNT"), flush=True)
            os._exit(0)

sys.meta_path.insert(0, ReportTorch())
"""
ENTRY_POINTS = {
    "command": "import sys; sys.argv = ['lthrun', 'baseline', '--set', 'data.dataset=synthetic']\nfrom lthrun.cli import main; main()",
    "run": "import lthrun; lthrun.run(lthrun.load_config('smoke/baseline'), out='runs')",
    "tests": "import tests.conftest",
}


def spin_count_at_import(code: str, folder: Path, **settings: str) -> str:
    """GOMP_SPINCOUNT at the moment at which `code` imports torch."""
    environment = {name: value for name, value in os.environ.items() if name not in USER_SETTINGS}
    environment |= {"PYTHONPATH": str(ROOT), **settings}
    done = subprocess.run(
        [sys.executable, "-c", AT_IMPORT + code], env=environment, cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("code", ENTRY_POINTS.values(), ids=ENTRY_POINTS)
def test_it_is_set_before_torch_is_imported(code: str, tmp_path: Path):
    assert spin_count_at_import(code, tmp_path) == SPIN_COUNT


@pytest.mark.parametrize(
    ("setting", "expected"),
    [({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None"), ({"KMP_BLOCKTIME": "200"}, "None")],
)
def test_the_setting_of_the_user_stays(setting: dict[str, str], expected: str, tmp_path: Path):
    assert spin_count_at_import(ENTRY_POINTS["command"], tmp_path, **setting) == expected
