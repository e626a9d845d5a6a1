"""Ticket: train, prune, rewind, repeat; then write down the mask and the weights it started from."""

from __future__ import annotations

from typing import Any

from lthrun.experiments.baseline import baseline
from lthrun.levels.builder import LevelBuilder
from lthrun.levels.plan import Level
from lthrun.sparsity import tickets
from lthrun.storage.run_dir import RunDir


def ticket(builder: LevelBuilder, levels: list[Level], run_dir: RunDir) -> dict[str, Any]:
    """The chain of levels, and `ticket.safetensors` of the last one."""
    found = baseline(builder, levels, run_dir)
    last = levels[-1]
    masks = builder.end(last)[1]
    made = tickets.Ticket(masks, builder.start(last, masks), {})
    config = builder.config
    metadata = {
        "format": tickets.FORMAT,
        "model": config.model.name,
        "classes": str(builder.classes),
        "sparsity": repr(made.sparsity),
        "rewind_point": config.rewind_points[-1],
        "protocol": config.pruning.protocol,
        "retrain": config.rewind.retrain,
        "pruned": config.rewind.pruned,
        "seed": str(config.seed),
        "config": run_dir.path.name.rpartition("-")[2],
    }
    run_dir.write("ticket", made.to_tensors(), metadata)
    return found
