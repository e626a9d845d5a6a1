"""TensorBoard's event files, written from records: a folder per training, the same scalars in each."""

from __future__ import annotations

import importlib.util
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lthrun.errors import UserError
from lthrun.report.records import Records
from lthrun.storage.files import make_dir, remove

TAGS = {
    "train_loss": "loss/train", "valid_loss": "loss/validation", "accuracy": "accuracy/accuracy",
    "balanced_accuracy": "accuracy/balanced", "sparsity": "sparsity", "measured_sparsity": "sparsity",
}  # fmt: skip


def need_tensorboard() -> None:
    """Raise UserError where the extra is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UserError("--tensorboard: tensorboard is not installed; pip install 'lthrun[tensorboard]' installs it")


def write_events(records: Records, root: Path) -> None:
    """Event files of every training in `root/RUN/TRAINING`; those of an earlier report are replaced.

    A study's step is the clock of its training; a run's is the epoch over the whole run.
    """
    from torch.utils.tensorboard import SummaryWriter

    name: Callable[[dict[str, Any]], str] = of_study if records.is_study else of_run
    step = "step" if records.is_study else "epoch"
    for training, lines in itertools.groupby(records.metrics, name):
        folder = root / plain(records.run_dir.resolve().name) / training
        make_dir(folder)
        for old in folder.glob("events.out.tfevents.*"):
            remove(old)
        with SummaryWriter(str(folder)) as writer:
            for line in lines:
                for key, tag in TAGS.items():
                    # What a study knows as the target it counts as well: `measured_sparsity`.
                    if line.get(key) is not None and not (key == "sparsity" and records.is_study):
                        writer.add_scalar(tag, line[key], line[step], walltime=line.get("time"))


def of_run(line: dict[str, Any]) -> str:
    return f"level-{line['level']}"


def of_study(line: dict[str, Any]) -> str:
    sparsity = "" if line["sparsity"] is None else f"-{line['sparsity']:g}"
    return plain(f"{line['arm']}{sparsity}-s{line['seed']}")


def plain(name: str) -> str:
    """A name that is one folder's, whatever the records say."""
    return re.sub(r"[^\w-]", lambda found: "." if found[0] == "." else "_", name).lstrip(".")[:100] or "_"
