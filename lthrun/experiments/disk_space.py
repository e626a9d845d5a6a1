"""How much disk a run needs, known before anything is trained."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from lthrun.errors import UserError
from lthrun.executors.tasks import LevelTask
from lthrun.experiments.run import ModelSize, Run
from lthrun.levels.plan import Level
from lthrun.storage.files import make_dir
from lthrun.storage.level_store import KEPT_EPOCHS, LevelStore

# Checkpoints of a level in training: two that are kept and the one that is being written. Each has the model, two
# moments, and the model at the lowest validation loss.
CHECKPOINTS, STATES_PER_CHECKPOINT = 3, 4


def level_bytes(level: Level, size: ModelSize, epoch_steps: int) -> int:
    """What a finished level keeps."""
    if not level.steps:  # evaluated, never trained
        return size.masks
    states = 1 + (2 if level.keeps_optimizer else 0) + (1 if level.learned else 0)
    if level.is_dense:
        states += min(KEPT_EPOCHS, level.epochs(epoch_steps) - 1)
    return states * size.state + (size.masks if level.is_masked else 0)


def run_bytes(run: Run) -> int:
    """What a run directory keeps; a study keeps no tensors."""
    if run.experiment.is_study:
        return 0
    size = run.model_size
    return 2 * size.state + size.masks if run.levels[-1].parent else size.state


def check_disk_space(runs: Sequence[Run], out: Path, fresh: bool) -> None:
    """Refuse what would fill the disk.

    Raises:
        UserError: the levels to train and the run directories do not fit under `out`.
    """
    make_dir(out)
    levels, seen = LevelStore(out), set[str]()
    needed, checkpoints = sum(run_bytes(run) for run in runs), 0
    for run in runs:
        missing = [task for task in run.tasks if task.key not in seen and is_missing(task, levels, fresh)]
        seen |= {task.key for task in missing}
        needed += sum(level_bytes(task.level, run.model_size, run.context.conditions.epoch_steps) for task in missing)
        if missing:
            checkpoints = max(checkpoints, CHECKPOINTS * STATES_PER_CHECKPOINT * run.model_size.state)
    free = shutil.disk_usage(out).free
    if free < needed + checkpoints:
        raise UserError(
            f"--out {out}: {free / 1e6:,.0f} MB are free and the run may need {(needed + checkpoints) / 1e6:,.0f} MB: "
            "free some, e.g. with `lthrun runs clean`, or choose another --out"
        )


def is_missing(task: LevelTask, levels: LevelStore, fresh: bool) -> bool:
    """Whether a level has to be trained."""
    return fresh or levels.record(task.key) is None
