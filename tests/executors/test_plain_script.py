"""A study from a script without `if __name__ == "__main__"`: its worker processes do not run the script again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import lthrun

print("the script runs")
settings = {
    "data.dataset": "synthetic", "data.image_size": 16, "model.name": "resnet20", "training.epochs": 1,
    "training.batch_size": 480, "training.evaluate_every": None, "training.evaluate_images": None,
    "compare.seeds": 1, "compare.arms": ("dense", "ticket"), "compare.sparsities": (50.0,), "compare.prune_rate": 60.0,
}
config = lthrun.load_config(experiment="compare", **settings)
print("levels", lthrun.run(config, out=OUT, jobs=2, emit=lambda event: None).summary.levels.trained)
"""


def test_a_script_without_a_main_guard_trains_in_processes(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("OUT", repr(str(tmp_path / "runs"))))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["the script runs", "levels 2"]
