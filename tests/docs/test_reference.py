"""docs/reference.md is what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_reference_is_current(tmp_path: Path):
    made = tmp_path / "reference.md"
    # In a process of its own: other tests change tables.
    done = subprocess.run([sys.executable, DOCS / "make_reference.py", made], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert made.read_text("utf-8") == (DOCS / "reference.md").read_text("utf-8"), "run `make docs`"
