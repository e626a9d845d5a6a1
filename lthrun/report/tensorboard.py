"""TensorBoard's event files, written from records: a folder per training, the same scalars in each."""

from __future__ import annotations

import importlib.util
import itertools
import re
from pathlib import Path
from typing import Any

from lthrun.errors import UserError
from lthrun.experiments.summaries import StudySummary
from lthrun.report.records import Records
from lthrun.storage.files import make_dir, remove

TAGS = {
    "train_loss": "loss/train", "valid_loss": "loss/validation", "accuracy": "accuracy/accuracy",
    "balanced_accuracy": "accuracy/balanced",
}  # fmt: skip


def check_tensorboard() -> None:
    """Raise UserError where the extra is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UserError("--tensorboard: tensorboard is not installed; pip install 'lthrun[tensorboard]' installs it")


def write_events(records: Records, root: Path) -> None:
    """Event files of every training in `root/RUN/TRAINING`; those of an earlier report are replaced.

    A study's step is the clock of its training; a run's is the epoch over the whole run.
    """
    from torch.utils.tensorboard import SummaryWriter

    is_study = isinstance(records.summary, StudySummary)
    # A study's `sparsity` is the target.
    step, tags = ("step", {"measured_sparsity": "sparsity"}) if is_study else ("epoch", {"sparsity": "sparsity"})
    for training, lines in itertools.groupby(records.metrics, study_folder if is_study else run_folder):
        folder = root / safe_name(records.run_dir.resolve().name) / training
        make_dir(folder)
        for old in folder.glob("events.out.tfevents.*"):
            remove(old)
        with SummaryWriter(str(folder)) as writer:
            for line in lines:
                for key, tag in (TAGS | tags).items():
                    if line.get(key) is not None:
                        writer.add_scalar(tag, line[key], line[step], walltime=line.get("time"))


def run_folder(line: dict[str, Any]) -> str:
    return f"level-{line['level']}"


def study_folder(line: dict[str, Any]) -> str:
    sparsity = "" if line["sparsity"] is None else f"-{line['sparsity']:g}"
    return safe_name(f"{line['arm']}{sparsity}-s{line['seed']}")


def safe_name(name: str) -> str:
    """The name of one folder, whatever the records contain."""
    return re.sub(r"[^\w-]", lambda match: "." if match[0] == "." else "_", name).lstrip(".")[:100] or "_"
