"""Carry out a run: train what has to be trained, judge, and write everything down."""

from __future__ import annotations

import time
from typing import Any

import torch

from lthrun.analysis.intervals import judge, wilson
from lthrun.config import Ticket
from lthrun.config.loading import differences, dump
from lthrun.errors import UserError
from lthrun.experiments.baseline import baseline
from lthrun.experiments.connectivity import connectivity
from lthrun.experiments.context import Emit, Setting
from lthrun.experiments.disk_space import check_room, run_bytes
from lthrun.experiments.supermask import supermask
from lthrun.experiments.tasks import Job
from lthrun.experiments.ticket import ticket
from lthrun.levels.builder import Lab
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


def carry_out(setting: Setting, run_dir: RunDir, job: Job, emit: Emit) -> tuple[dict[str, Any], list[dict[str, Any]]]:
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

    lab = Lab(setting, LevelStore(job.out), record, job.fresh, job.checkpoint_every)
    wanted = [*replays(setting.levels), *setting.levels]
    check_room(wanted, lab, run_dir, run_bytes(setting.levels, lab))
    keys = [level.key for level in wanted]
    anew = ["metrics.jsonl", *(["events.jsonl", "judgements.jsonl"] if job.fresh else [])]
    run_dir.start(dump(setting.resolved), {**environment(setting.device), "levels": keys}, anew)
    record(
        "started",
        experiment=setting.config.experiment,
        levels=len(setting.levels),
        epochs=setting.epochs,
        device=str(setting.device),
        precision=setting.ground.precision,
        n_train=len(setting.train),
        n_valid=len(setting.valid),
    )
    try:
        found = EXPERIMENTS[setting.config.experiment](lab, setting.levels, run_dir)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"device: {setting.device} is out of memory; lower training.batch_size or data.image_size"
        ) from error
    summary = summarise(setting, lab.batches.valid_counts, found, run_dir)
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


def summarise(setting: Setting, counts: list[int], found: dict[str, Any], run_dir: RunDir) -> dict[str, Any]:
    """summary.json. Accuracies are 0 to 1, sparsities percent; "accuracy" is the last epoch's."""
    records = found.pop("records")
    levels = []
    for level, record in zip(setting.levels, records, strict=True):
        last = record["epochs"][-1]
        best = max(record["epochs"], key=lambda epoch: epoch["accuracy"])
        levels.append(
            {
                "level": level.index,
                "key": level.key,
                "reused": record["reused"],
                "sparsity": record["sparsity"],
                "epochs": len(record["epochs"]),
                **judge(last["correct"], counts),
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
        "experiment": setting.config.experiment,
        "differs": differences(setting.config),
        "rewind_point": setting.config.rewind_points[-1] if isinstance(setting.config, Ticket) else "0ep",
        "protocol": setting.config.pruning.protocol if isinstance(setting.config, Ticket) else "frankle",
        "seed": setting.config.seed,
        "device": str(setting.device),
        "precision": setting.ground.precision,
        "n_train": len(setting.train),
        "n_valid": len(setting.valid),
        "classes": list(setting.store.classes),
        "majority_rate": majority / sum(counts),
        "majority_interval": wilson(majority, sum(counts)),
        **{key: levels[-1][key] for key in ("accuracy", "accuracy_interval")},
        **{key: levels[-1][key] for key in ("balanced_accuracy", "balanced_accuracy_interval", "sparsity")},
        "epochs": sum(level["epochs"] for level in levels),
        "levels": levels,
        "seconds": sum(level["seconds"] for level in levels),
        "run_dir": str(run_dir.path),
        "files": sizes(run_dir.path),
        **found,
    }
