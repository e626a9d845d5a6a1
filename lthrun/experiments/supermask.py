"""Supermask: is a mask any good on weights that were never trained?

A mask is judged beside the untrained dense network and random masks of the same per-layer sparsity, all with the same
batch-norm treatment: a single accuracy cannot tell a mask from luck.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field

from lthrun.analysis.intervals import measure_accuracy
from lthrun.experiments.baseline import baseline
from lthrun.experiments.summaries import RunSummary
from lthrun.experiments.ticket import ticket
from lthrun.levels.builder import LevelBuilder
from lthrun.levels.plan import Level
from lthrun.records import Measured, Record
from lthrun.rng import make_generator
from lthrun.sparsity import masks as masking
from lthrun.sparsity import supermasks
from lthrun.sparsity.masks import Tensors
from lthrun.storage.run_dir import RunDir
from lthrun.training import state

DRAWS = 20


class Range(Record):
    """Of several masks, 0 to 1."""

    mean: float
    lowest: float
    highest: float


class Spread(Record):
    """The accuracies of `n` masks."""

    n: int
    accuracy: Range
    balanced_accuracy: Range


class SupermaskLevel(Measured):
    """The mask of one level of the ticket."""

    level: int
    sparsity: float


class SupermaskResult(Measured):
    """A mask on weights that were never trained, beside what it has to beat."""

    method: str
    batch_norm: str
    levels: list[SupermaskLevel] = Field([])
    """With method lth: the ticket's mask at every level, the last one included."""
    weights_unchanged: bool | None = None
    """Of a learned mask: whether all parameters are bit-identical to initialization after training."""
    dense: Measured
    """The untrained network without a mask."""
    random: Spread
    """Random masks of the same sparsity per layer."""
    sampled: Spread | None = None
    """Of method bernoulli: masks drawn with the learned probabilities."""
    better_than_chance: bool


class SupermaskSummary(RunSummary):
    supermask: SupermaskResult


def supermask(builder: LevelBuilder, levels: list[Level], run_dir: RunDir) -> dict[str, Any]:
    """Find the mask, and judge it on weights that were never trained.

    With method `lth`, the ticket's mask at every level on the initial weights, or on what `rewind.kept` and
    `rewind.pruned` make of them (Zhou et al. 2019). Else a mask that was learned for the weights as they were drawn.
    """
    rules, last = builder.config.supermask, levels[-1]
    found = (ticket if rules.method == "lth" else baseline)(builder, levels, run_dir)
    trained, masks = builder.end(last)
    masks = {name: masks[name] for name in builder.names}
    judged = Judge(builder, run_dir, trained, rules.batch_norm)
    builder.emit("judging", batch_norm=rules.batch_norm, masks=to_judge(rules.method, levels))
    own = judged("mask", masks)
    report: dict[str, Any] = {"method": rules.method, "batch_norm": rules.batch_norm, **own}
    if rules.method == "lth":
        earlier = [
            {
                "level": level.index,
                "sparsity": record["sparsity"],
                **judged(f"level-{level.index}", builder.end(level)[1]),
            }
            for level, record in zip(levels[1:-1], found["records"][1:-1], strict=True)
        ]
        final = {"level": last.index, "sparsity": found["records"][-1]["sparsity"], **own}
        report["levels"] = [*earlier, final]
    else:
        report["weights_unchanged"] = unchanged(builder, trained)
    report["dense"] = judged("dense", {name: torch.ones_like(mask) for name, mask in masks.items()})
    granularity = builder.config.pruning.granularity
    draws = [make_generator(builder.config.seed, "mask", last.index, k) for k in range(DRAWS)]
    randoms = [masking.draw_random_masks(masks, draw, granularity) for draw in draws]
    report["random"] = spread([judged(f"random-{k}", drawn) for k, drawn in enumerate(randoms)])
    if rules.method == "bernoulli":
        scores = builder.scores(last)
        samples = [make_generator(builder.config.seed, "mask", last.index, DRAWS + k) for k in range(DRAWS)]
        report["sampled"] = spread([judged(f"sample-{k}", supermasks.sample(scores, d)) for k, d in enumerate(samples)])
    report["better_than_chance"] = (
        report["balanced_accuracy_interval"][0] > 1 / builder.classes
        and report["balanced_accuracy"] > report["random"]["balanced_accuracy"]["highest"]
    )
    return found | {"supermask": report}


def to_judge(method: str, levels: Sequence[Level]) -> int:
    """How many masks a run judges: its own at each level, the dense one, and those drawn at random."""
    return max(1, len(levels) - 1) + 1 + DRAWS * (2 if method == "bernoulli" else 1)


class Judge:
    """Judges masks on the untrained weights; what a run has judged before is not judged again."""

    def __init__(self, builder: LevelBuilder, run_dir: RunDir, trained: Tensors, batch_norm: str):
        self.builder, self.run_dir, self.batch_norm = builder, run_dir, batch_norm
        self.buffers = {name: trained[name] for name, _ in builder.model().named_buffers()}
        self.known = {name: found["correct"] for name, found in run_dir.judgements().items()}

    def __call__(self, name: str, masks: Tensors) -> dict[str, Any]:
        """Accuracy and balanced accuracy of the masked, untrained network, with their intervals."""
        if name not in self.known:
            self.known[name] = self._correct(masks)
            self.run_dir.judgement(name, correct=self.known[name])
        self.builder.emit("judged", name=name, done=len(self.known))
        return measure_accuracy(self.known[name], self.builder.batches.valid_counts).model_dump(mode="json")

    def _correct(self, masks: Tensors) -> list[int]:
        builder = self.builder
        weights = builder.reset(state.copy_model_state(builder.model()), masks, builder.config.rewind.kept)
        if self.batch_norm == "trained":
            weights |= self.buffers
        return builder.judge(masks, weights, self.batch_norm).correct


def spread(judgements: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and range of the accuracies of several masks."""
    found: dict[str, Any] = {"n": len(judgements)}
    for key in ("accuracy", "balanced_accuracy"):
        values = [judgement[key] for judgement in judgements]
        found[key] = {"mean": sum(values) / len(values), "lowest": min(values), "highest": max(values)}
    return found


def unchanged(builder: LevelBuilder, trained: Tensors) -> bool:
    """Whether all parameters are, to the bit, what they were before training."""
    return all(torch.equal(value, trained[name]) for name, value in builder.model().named_parameters())
