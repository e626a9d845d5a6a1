"""How much disk a run needs, known before anything is trained."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from lthrun.errors import UserError
from lthrun.levels.builder import LevelBuilder
from lthrun.levels.plan import Level
from lthrun.storage.level_store import KEPT_EPOCHS
from lthrun.storage.run_dir import RunDir

# Checkpoints of a level in training: two that are kept and the one that is being written.
CHECKPOINTS, STATES_IN_CHECKPOINT = 3, 3


def model_bytes(builder: LevelBuilder) -> tuple[int, int]:
    """Bytes of all parameters and buffers, and of the masks."""
    return sum(builder.sizes.values()), sum(builder.sizes[name] for name in builder.names) // 4


def level_bytes(level: Level, builder: LevelBuilder) -> int:
    """What a finished level keeps."""
    state, bits = model_bytes(builder)
    if not level.steps:  # judged, never trained
        return bits
    epochs = level.epochs(builder.batches.epoch_steps)
    kept = 1 + (2 if level.keeps_optimizer else 0) + (min(KEPT_EPOCHS, epochs - 1) if level.is_dense else 0)
    kept += 1 if level.learned else 0
    return kept * state + (bits if level.masked else 0)


def run_bytes(levels: list[Level], builder: LevelBuilder) -> int:
    """What a run directory keeps."""
    state, bits = model_bytes(builder)
    return 2 * state + bits if levels[-1].parent else state


def check_room(wanted: Sequence[Level], builder: LevelBuilder, run_dir: RunDir, own: int = 0) -> None:
    """Refuse a run that would fill the disk: by its levels, and the bytes of its own directory.

    Raises:
        UserError: what the run will write does not fit.
    """
    check_free(run_dir.path.parent, own + bytes_to_come(wanted, builder))


def bytes_to_come(wanted: Sequence[Level], builder: LevelBuilder) -> int:
    """What training those levels takes that are not there yet, checkpoints included."""
    missing = [level for level in wanted if builder.fresh or builder.levels.record(level.key) is None]
    checkpoints = CHECKPOINTS * STATES_IN_CHECKPOINT * model_bytes(builder)[0]
    return sum(level_bytes(level, builder) for level in missing) + (checkpoints if missing else 0)


def check_free(out: Path, needed: int) -> None:
    """Refuse what does not fit under the output root."""
    free = shutil.disk_usage(out).free
    if free < needed:
        raise UserError(
            f"--out {out}: {free / 1e6:,.0f} MB are free and the run may need {needed / 1e6:,.0f} MB: "
            "free some, e.g. with `lthrun runs clean`, or choose another --out"
        )
