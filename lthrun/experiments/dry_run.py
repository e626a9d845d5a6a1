"""What a run would do: which levels it would train or take over, for how long, on how much disk."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lthrun.config import Compare, Config, ConnectivityConfig, SupermaskConfig
from lthrun.experiments.arms import pieces
from lthrun.experiments.compare import tasks
from lthrun.experiments.context import Emit, RunContext, prepare
from lthrun.experiments.disk_space import level_bytes, run_bytes
from lthrun.experiments.supermask import to_judge as masks_to_judge
from lthrun.experiments.sweep import Run
from lthrun.experiments.tasks import Task, home
from lthrun.levels.builder import LevelBuilder
from lthrun.levels.plan import Level, replays
from lthrun.records import Record
from lthrun.storage.level_store import LevelStore
from lthrun.storage.run_dir import RunDir
from lthrun.training.backend_flags import backend_flags

TRIAL_STEPS = 4


class DryRunRow(Record):
    """What a group of levels (one level of a run, an arm, a run of a sweep) adds to the groups before it."""

    name: str
    levels: int
    to_train: int
    reused: int
    seconds: float
    """Of training and of evaluations after it, one after the other."""
    bytes: int
    is_finished: bool = False


class DryRun(Record):
    """What an experiment would do; nothing is trained."""

    experiment: str
    run_dir: str
    is_finished: bool
    device: str
    group: str
    """What a row is: level, arm or run."""
    rows: list[DryRunRow]
    evaluated_networks: int
    """Networks that are evaluated after the training."""
    levels: int
    to_train: int
    reused: int
    seconds: float
    bytes: int


def forecast(config: Config, out: Path, fresh: bool, emit: Emit) -> dict[str, Any]:
    """Nothing is trained or written, but for the images' store; time is extrapolated from a few real steps."""
    context = prepare(config, emit)
    if isinstance(config, Compare):
        return foresee_study(context, out, fresh, emit)
    levels = LevelStore(out)
    with backend_flags(context.device, config.deterministic):
        builder = LevelBuilder(context, levels, emit)
        pace = time_steps(builder)
    rows: list[dict[str, Any]] = []
    for level in [*replays(context.levels), *context.levels]:
        have = not fresh and levels.record(level.key) is not None
        rows.append(
            {
                "level": level.index,
                "key": level.key,
                "order": level.order,
                "sparsity": None if level.learned == "bernoulli" else level.sparsity,
                "epochs": level.epochs(builder.batches.epoch_steps),
                "action": "take over" if have else "train",
                "seconds": 0.0 if have else seconds(level, builder, pace),
                "bytes": 0 if have else level_bytes(level, builder),
            }
        )
    run_dir = RunDir(out / context.run_name)
    finished = not fresh and run_dir.finished() is not None
    judged = {"networks": 0, "seconds": 0.0} if finished else judging(context, builder, pace)
    own = 0 if finished else run_bytes(context.levels, builder)
    return {
        "experiment": config.experiment,
        "run_dir": str(run_dir.path),
        "finished": finished,
        "device": str(context.device),
        "levels": rows,
        "judging": judged,
        "seconds": sum(row["seconds"] for row in rows) + judged["seconds"],
        "bytes": sum(row["bytes"] for row in rows) + own,
    }


def foresee_study(context: RunContext, out: Path, fresh: bool, emit: Emit) -> dict[str, Any]:
    """The same of a study, with a row per arm."""
    study: Any = context.resolved
    levels = LevelStore(out)
    with backend_flags(context.device, study.deterministic):
        builder = LevelBuilder(replace(context, config=study.ticket(study.seed), levels=[]), levels, emit)
        pace = time_steps(builder)
    made = pieces(study, context.conditions)
    arms = {
        arm: tasks({of: found for of, found in made.items() if of[0] == arm}, context.conditions)
        for arm in study.compare.arms
    }
    rows = shares(arms, levels, fresh, lambda _: (builder, pace))
    run_dir = RunDir(out / context.run_name)
    return {
        "experiment": "compare",
        "run_dir": str(run_dir.path),
        "finished": not fresh and run_dir.finished() is not None,
        "device": str(context.device),
        "arms": rows,
        **total(rows),
    }


def forecast_sweep(runs: Sequence[Run], out: Path, emit: Emit) -> dict[str, Any]:
    """The same of the runs of a sweep, with a row per run."""
    levels = LevelStore(out)
    paces: dict[Any, Pace] = {}
    own: dict[str, dict[str, Any]] = {}

    def price(name: str) -> tuple[LevelBuilder, Pace]:
        context = by_name[name].context
        config = context.config
        kind = (home(config), config.model.name, config.training.optimizer)
        with backend_flags(context.device, config.deterministic):
            builder = LevelBuilder(context, levels, emit)
            if kind not in paces:
                paces[kind] = time_steps(builder)
        if not by_name[name].finished(out):
            judged = judging(context, builder, paces[kind])
            own[name] = {"seconds": judged["seconds"], "bytes": run_bytes(context.levels, builder)}
        return builder, paces[kind]

    by_name = {run.name: run for run in runs}
    groups = {run.name: [] if run.finished(out) else run.tasks for run in runs}
    rows = [
        row
        | {"finished": row["name"] not in own}
        | {key: row[key] + more for key, more in own.get(row["name"], {}).items()}
        for row in shares(groups, levels, False, price)
    ]
    return {
        "experiment": "sweep",
        "run_dir": str(out),
        "finished": all(row["finished"] for row in rows),
        "device": str(runs[0].context.device),
        "runs": rows,
        **total(rows),
    }


def shares(
    groups: Mapping[str, Sequence[Task]],
    levels: LevelStore,
    fresh: bool,
    price: Callable[[str], tuple[LevelBuilder, Pace]],
) -> list[dict[str, Any]]:
    """A row per group of tasks: what it adds to the groups before it. `price` tells a group's lab and its pace."""
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    for name, group in groups.items():
        builder, pace = price(name)
        own = [task.level for task in group if task.key not in seen]
        seen |= {level.key for level in own}
        missing = [level for level in own if fresh or levels.record(level.key) is None]
        rows.append(
            {
                "name": name,
                "levels": len(own),
                "train": len(missing),
                "taken_over": len(own) - len(missing),
                "seconds": sum(seconds(level, builder, pace) for level in missing),
                "bytes": sum(level_bytes(level, builder) for level in missing),
            }
        )
    return rows


def total(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {key: sum(row[key] for row in rows) for key in ("levels", "train", "taken_over", "seconds", "bytes")}


@dataclass(frozen=True)
class Pace:
    """Seconds of a training step, and of a validation on all images."""

    step: float
    validation: float


def seconds(level: Level, builder: LevelBuilder, pace: Pace) -> float:
    """How long training a level takes, one at a time; validations within its epochs included."""
    rules = builder.config.training
    share = min(1.0, (rules.evaluate_images or builder.batches.n_valid) / builder.batches.n_valid)
    looks = level.steps // rules.evaluate_every * share if rules.evaluate_every else 0.0
    return level.steps * pace.step + (level.epochs(builder.batches.epoch_steps) + looks) * pace.validation


def judging(context: RunContext, builder: LevelBuilder, pace: Pace) -> dict[str, Any]:
    """How many networks a run judges after the training, and how long that takes."""
    networks, recalibrated = to_judge(context.config, context.levels)
    passes = 1 + (builder.batches.n_train / builder.batches.n_valid if recalibrated else 0)
    return {"networks": networks, "seconds": networks * passes * pace.validation}


def to_judge(config: Config, levels: list[Level]) -> tuple[int, bool]:
    """How many networks a run judges after the training, and whether batch norm is estimated for each."""
    if isinstance(config, SupermaskConfig):
        return masks_to_judge(config.supermask.method, levels), config.supermask.batch_norm == "recalibrate"
    if isinstance(config, ConnectivityConfig):
        return sum(level.twin is not None for level in levels) * config.connectivity.points, True
    return 0, False


def time_steps(builder: LevelBuilder) -> Pace:
    """The pace on this machine, from a few real steps on the real images."""
    engine = builder.engine({}, builder.model().state_dict(), {})
    engine.model.train()
    taken = []
    for step in range(engine.warm_ups + TRIAL_STEPS):
        began = time.perf_counter()
        engine.step(builder.batches.training_batch(step % builder.batches.epoch_steps))
        engine.take_loss()  # waits for the device
        taken.append(time.perf_counter() - began)
    batch = next(builder.batches.validation_batches())
    began = time.perf_counter()
    engine.evaluate([batch], builder.classes)
    per_image = (time.perf_counter() - began) / len(batch[1])
    return Pace(statistics.median(taken[engine.warm_ups + 1 :]), per_image * builder.batches.n_valid)
