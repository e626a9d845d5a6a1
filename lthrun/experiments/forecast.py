"""What a run would do: which levels it would train or take over, for how long, on how much disk."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from lthrun.config import Config
from lthrun.experiments.lab import Lab
from lthrun.experiments.levels import replays
from lthrun.experiments.setting import Emit, bring
from lthrun.experiments.supermask import to_judge
from lthrun.levelstore import KEPT_EPOCHS, LevelStore
from lthrun.rundir import RunDir
from lthrun.training.engine import evaluate

TRIAL_STEPS = 4


def forecast(config: Config, out: Path, fresh: bool, emit: Emit) -> dict[str, Any]:
    """Nothing is trained or written, but for the images' store; time is extrapolated from a few real steps."""
    setting = bring(config, emit)
    levels = LevelStore(out)
    lab = Lab(setting, levels, emit)
    per_step, per_validation = time_steps(lab)
    weights = {name: t.numel() * t.element_size() for name, t in lab.model().state_dict().items()}
    state, bits = sum(weights.values()), sum(weights[n] for n in lab.names) // 4
    rows: list[dict[str, Any]] = []
    for level in [*replays(setting.levels), *setting.levels]:
        have = not fresh and levels.record(level.key) is not None
        epochs = level.epochs(lab.batches.epoch_steps)
        kept = 1 + (2 if level.keeps_optimizer else 0) + (min(KEPT_EPOCHS, epochs - 1) if level.is_dense else 0)
        kept += 1 if level.learned else 0
        rows.append(
            {
                "level": level.index,
                "key": level.key,
                "sparsity": None if level.learned == "bernoulli" else level.sparsity,
                "epochs": epochs,
                "action": "take over" if have else "train",
                "seconds": 0.0 if have else level.steps * per_step + epochs * per_validation,
                "bytes": 0 if have else kept * state + (0 if level.is_dense else bits),
            }
        )
    run_dir = RunDir(out / setting.run_name)
    finished = not fresh and run_dir.finished() is not None
    rules: Any = getattr(config, "supermask", None)
    masks = 0 if rules is None or finished else to_judge(rules.method, setting.levels)
    passes = 1 + (lab.batches.n_train / lab.batches.n_valid if masks and rules.batch_norm == "recalibrate" else 0)
    judging = masks * passes * per_validation
    own = 0 if finished else 2 * state + bits if setting.levels[-1].parent else state
    return {
        "experiment": config.experiment,
        "run_dir": str(run_dir.path),
        "finished": finished,
        "device": str(setting.device),
        "levels": rows,
        "judging": {"masks": masks, "seconds": judging},
        "seconds": sum(row["seconds"] for row in rows) + judging,
        "bytes": sum(row["bytes"] for row in rows) + own,
    }


def time_steps(lab: Lab) -> tuple[float, float]:
    """Seconds of a training step and of a validation, from a few of each on the real images."""
    engine = lab.engine({}, lab.model().state_dict(), {})
    engine.model.train()
    taken = []
    for step in range(TRIAL_STEPS):
        began = time.perf_counter()
        engine.step(lab.batches.training(step % lab.batches.epoch_steps))
        engine.take_loss()  # waits for the device
        taken.append(time.perf_counter() - began)
    batch = next(lab.batches.validation())
    began = time.perf_counter()
    evaluate(engine.model, [batch], lab.classes, engine.autocast())
    per_image = (time.perf_counter() - began) / len(batch[1])
    return statistics.median(taken[1:]), per_image * lab.batches.n_valid
