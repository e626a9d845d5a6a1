"""Supermask: is the ticket's mask any good on weights that were never trained?"""

from __future__ import annotations

from typing import Any

from lthrun.experiments.lab import Lab
from lthrun.experiments.levels import Level
from lthrun.experiments.ticket import ticket
from lthrun.report.statistics import judge
from lthrun.sparsity import masks as masking
from lthrun.sparsity.masks import Tensors
from lthrun.storage import RunDir
from lthrun.training import state
from lthrun.training.engine import evaluate, recalibrate


def supermask(lab: Lab, levels: list[Level], run_dir: RunDir) -> dict[str, Any]:
    """The ticket, and its mask judged on the initial weights (Zhou et al. 2019)."""
    found = ticket(lab, levels, run_dir)
    trained, masks = lab.end(levels[-1])
    how = lab.config.supermask.batch_norm
    lab.emit("judging", batch_norm=how)
    correct = judge_mask(lab, masks, trained, how)
    return found | {"supermask": {**judge(correct, lab.batches.valid_counts), "batch_norm": how}}


def judge_mask(lab: Lab, masks: Tensors, trained: Tensors, batch_norm: str) -> list[int]:
    """Right answers per class of the masked, untrained network.

    Batch norm's statistics belong to the weights they are used with, so `recalibrate` estimates them with
    the masked untrained weights by one pass of centre crops over the training set.
    """
    model = lab.model()
    weights = state.of_model(model)
    masking.apply(weights, masks)
    if batch_norm == "trained":
        weights |= {name: trained[name] for name, _ in model.named_buffers()}
    engine = lab.engine(masks, weights, {})
    if batch_norm == "recalibrate":
        recalibrate(engine.model, lab.batches.centre("train", lab.batches.batch_size), engine.autocast())
    found = evaluate(engine.model, lab.batches.validation(), lab.classes, engine.autocast())
    return found.correct
