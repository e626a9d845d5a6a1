"""Carry out a run: train what has to be trained, judge, and write everything down."""

from __future__ import annotations

import time
from typing import Any

import torch

from lthrun.analysis.intervals import measure_accuracy, wilson_interval
from lthrun.config import Ticket
from lthrun.config.loading import differences, dump
from lthrun.errors import UserError
from lthrun.experiments.baseline import baseline
from lthrun.experiments.connectivity import connectivity
from lthrun.experiments.context import Emit, RunContext
from lthrun.experiments.disk_space import check_room, run_bytes
from lthrun.experiments.supermask import supermask
from lthrun.experiments.tasks import RunOptions
from lthrun.experiments.ticket import ticket
from lthrun.levels.builder import LevelBuilder
from lthrun.levels.environment import environment
from lthrun.levels.plan import replays
from lthrun.storage.files import FORMAT, sizes
from lthrun.storage.level_store import LevelStore
from lthrun.storage.run_dir import RunDir

EXPERIMENTS = {
    "baseline": baseline,
    "ticket": ticket,
    "prune": baseline,
    "supermask": supermask,
    "connectivity": connectivity,
}
EVENTS = {
    "started", "damaged", "saved", "pruned", "rewound", "reordered", "reused", "resumed", "replaying", "judging",
    "interpolating", "uncaptured", "finished",
}  # fmt: skip
MEASURED = (
    "sparsity", "train_loss", "valid_loss", "accuracy", "balanced_accuracy", "seconds", "images_per_second", "time"
)  # fmt: skip


def carry_out(
    context: RunContext, run_dir: RunDir, options: RunOptions, emit: Emit
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The summary, and one record per epoch; both are in the run directory as well."""
    metrics: list[dict[str, Any]] = []

    def record(kind: str, **facts: Any) -> None:
        if kind == "epoch":
            metrics.append(metric(len(metrics), facts))
            run_dir.metric(metrics[-1])
            facts = {**facts, "epoch": metrics[-1]["epoch"]}
        elif kind in EVENTS:
            run_dir.event({"event": kind, **facts, "time": time.time()})
        emit(kind, **facts)

    builder = LevelBuilder(context, LevelStore(options.out), record, options.fresh, options.checkpoint_every)
    wanted = [*replays(context.levels), *context.levels]
    check_room(wanted, builder, run_dir, run_bytes(context.levels, builder))
    keys = [level.key for level in wanted]
    anew = ["metrics.jsonl", *(["events.jsonl", "judgements.jsonl"] if options.fresh else [])]
    run_dir.start(dump(context.resolved), {**environment(context.device), "levels": keys}, anew)
    record(
        "started",
        experiment=context.config.experiment,
        levels=len(context.levels),
        epochs=context.epochs,
        device=str(context.device),
        precision=context.conditions.precision,
        n_train=len(context.train),
        n_valid=len(context.valid),
    )
    try:
        found = EXPERIMENTS[context.config.experiment](builder, context.levels, run_dir)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"device: {context.device} is out of memory; lower training.batch_size or data.image_size"
        ) from error
    summary = summarise(context, builder.batches.valid_counts, found, run_dir)
    run_dir.finish(summary)
    record("finished", run=str(run_dir.path))
    return summary, metrics


def metric(epoch: int, facts: dict[str, Any]) -> dict[str, Any]:
    """A line of metrics.jsonl; `epoch` runs over the whole run."""
    return (
        {"epoch": epoch, "level": facts["level"], "level_epoch": facts["level_epoch"]}
        | {key: facts[key] for key in MEASURED}
        | ({"looks": facts["looks"]} if facts.get("looks") else {})
    )


def summarise(context: RunContext, counts: list[int], found: dict[str, Any], run_dir: RunDir) -> dict[str, Any]:
    """summary.json. Accuracies are 0 to 1, sparsities percent; "accuracy" is the last epoch's."""
    records = found.pop("records")
    levels = []
    for level, record in zip(context.levels, records, strict=True):
        last = record["epochs"][-1]
        best = max(record["epochs"], key=lambda epoch: epoch["accuracy"])
        levels.append(
            {
                "level": level.index,
                "key": level.key,
                "reused": record["reused"],
                "sparsity": record["sparsity"],
                "epochs": len(record["epochs"]),
                **measure_accuracy(last["correct"], counts).model_dump(mode="json"),
                "first_epoch_accuracy": record["epochs"][0]["accuracy"],
                "best_accuracy": best["accuracy"],
                "first_train_loss": record["epochs"][0]["train_loss"],
                "seconds": sum(epoch["seconds"] for epoch in record["epochs"]),
                "layers": record["layers"],
            }
        )
    majority = max(counts)
    return {
        "format": FORMAT,
        "experiment": context.config.experiment,
        "differs": differences(context.config),
        "rewind_point": context.config.rewind_points[-1] if isinstance(context.config, Ticket) else "0ep",
        "protocol": context.config.pruning.protocol if isinstance(context.config, Ticket) else "frankle",
        "seed": context.config.seed,
        "device": str(context.device),
        "precision": context.conditions.precision,
        "n_train": len(context.train),
        "n_valid": len(context.valid),
        "classes": list(context.store.classes),
        "majority_rate": majority / sum(counts),
        "majority_interval": list(wilson_interval(majority, sum(counts))),
        **{key: levels[-1][key] for key in ("accuracy", "accuracy_interval")},
        **{key: levels[-1][key] for key in ("balanced_accuracy", "balanced_accuracy_interval", "sparsity")},
        "epochs": sum(level["epochs"] for level in levels),
        "levels": levels,
        "seconds": sum(level["seconds"] for level in levels),
        "run_dir": str(run_dir.path),
        "files": sizes(run_dir.path),
        **found,
    }
