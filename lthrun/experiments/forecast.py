"""What a run would do: which levels it would train or take over, for how long, on how much disk."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from lthrun.config import Config, ConnectivityExperiment, SupermaskExperiment
from lthrun.experiments.lab import Lab
from lthrun.experiments.levels import Level, replays
from lthrun.experiments.room import level_bytes, run_bytes
from lthrun.experiments.setting import Emit, bring
from lthrun.experiments.supermask import to_judge as masks_to_judge
from lthrun.levelstore import LevelStore
from lthrun.rundir import RunDir
from lthrun.training.switches import switches

TRIAL_STEPS = 4


def forecast(config: Config, out: Path, fresh: bool, emit: Emit) -> dict[str, Any]:
    """Nothing is trained or written, but for the images' store; time is extrapolated from a few real steps."""
    setting = bring(config, emit)
    levels = LevelStore(out)
    with switches(setting.device, config.deterministic):
        lab = Lab(setting, levels, emit)
        per_step, per_validation = time_steps(lab)
    rows: list[dict[str, Any]] = []
    for level in [*replays(setting.levels), *setting.levels]:
        have = not fresh and levels.record(level.key) is not None
        epochs = level.epochs(lab.batches.epoch_steps)
        rows.append(
            {
                "level": level.index,
                "key": level.key,
                "order": level.order,
                "sparsity": None if level.learned == "bernoulli" else level.sparsity,
                "epochs": epochs,
                "action": "take over" if have else "train",
                "seconds": 0.0 if have else level.steps * per_step + epochs * per_validation,
                "bytes": 0 if have else level_bytes(level, lab),
            }
        )
    run_dir = RunDir(out / setting.run_name)
    finished = not fresh and run_dir.finished() is not None
    networks, recalibrated = (0, False) if finished else to_judge(config, setting.levels)
    passes = 1 + (lab.batches.n_train / lab.batches.n_valid if recalibrated else 0)
    judging = networks * passes * per_validation
    own = 0 if finished else run_bytes(setting.levels, lab)
    return {
        "experiment": config.experiment,
        "run_dir": str(run_dir.path),
        "finished": finished,
        "device": str(setting.device),
        "levels": rows,
        "judging": {"networks": networks, "seconds": judging},
        "seconds": sum(row["seconds"] for row in rows) + judging,
        "bytes": sum(row["bytes"] for row in rows) + own,
    }


def to_judge(config: Config, levels: list[Level]) -> tuple[int, bool]:
    """How many networks a run judges after the training, and whether batch norm is estimated for each."""
    if isinstance(config, SupermaskExperiment):
        return masks_to_judge(config.supermask.method, levels), config.supermask.batch_norm == "recalibrate"
    if isinstance(config, ConnectivityExperiment):
        return sum(level.twin is not None for level in levels) * config.connectivity.points, True
    return 0, False


def time_steps(lab: Lab) -> tuple[float, float]:
    """Seconds of a training step and of a validation, from a few of each on the real images."""
    engine = lab.engine({}, lab.model().state_dict(), {})
    engine.model.train()
    taken = []
    for step in range(engine.warm_ups + TRIAL_STEPS):
        began = time.perf_counter()
        engine.step(lab.batches.training(step % lab.batches.epoch_steps))
        engine.take_loss()  # waits for the device
        taken.append(time.perf_counter() - began)
    batch = next(lab.batches.validation())
    began = time.perf_counter()
    engine.evaluate([batch], lab.classes)
    per_image = (time.perf_counter() - began) / len(batch[1])
    return statistics.median(taken[engine.warm_ups + 1 :]), per_image * lab.batches.n_valid
