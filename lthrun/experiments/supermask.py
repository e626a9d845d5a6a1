"""Supermask: is a mask any good on weights that were never trained?

A mask is evaluated beside the untrained dense network and random masks of the same per-layer sparsity, all with the
same batch-norm treatment: a single accuracy cannot tell a mask from luck.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from lthrun.config.base import LearnedMask
from lthrun.events import Evaluated, Evaluating
from lthrun.experiments.experiment import EXPERIMENTS, PRUNING_OPTIONS, PlannedResult, plan_levels
from lthrun.experiments.summaries import RunSummary
from lthrun.experiments.supermask_config import SupermaskConfig
from lthrun.experiments.ticket import REWIND_OPTIONS
from lthrun.experiments.trained_run import TrainedRun
from lthrun.levels.keys import Conditions, make_key, selection_facts
from lthrun.levels.plan import Level, plan_chain
from lthrun.records import Measured, Record
from lthrun.sparsity.supermask_methods import SUPERMASKS

if TYPE_CHECKING:
    from lthrun.sparsity.masks import Tensors

RANDOM_MASKS = 20


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
    weights: str = "initial"
    """The untrained weights that it is evaluated on: `supermask.weights`."""
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


def plan(config: SupermaskConfig, conditions: Conditions) -> Sequence[PlannedResult]:
    learned = config.learned_mask
    if learned is None:
        return plan_levels(plan_chain(config, config.pruning, config.rewind, conditions), config)
    return plan_levels([plan_learned(config, learned, conditions)], config)


def plan_learned(config: SupermaskConfig, learned: LearnedMask, conditions: Conditions) -> Level:
    """The one level in which a mask is learned, for weights that stay as they were drawn."""
    steps = config.training.epochs * conditions.epoch_steps
    mask = {**SUPERMASKS.key_facts(learned.method, config.pruning), "layers": selection_facts(config.pruning)}
    key = make_key(config, conditions, steps, start=learned.weights, mask=mask, first=0, steps=steps)
    return Level(0, learned.sparsity, 0, steps, steps, key, learned=learned.method)


def evaluate(run: TrainedRun[SupermaskConfig]) -> SupermaskSummary:
    """Evaluate the mask on untrained weights.

    With method `lth`, the ticket's mask at every level on the initial weights, or on what `rewind.kept`,
    `rewind.pruned` or `supermask.weights` make of them (Zhou et al. 2019). Else the learned mask on the weights that it
    was learned for.
    """
    import torch

    from lthrun.rng import make_generator
    from lthrun.sparsity.masks import draw_random_masks
    from lthrun.sparsity.supermasks import sample

    config, settings, builder, levels = run.config, run.config.supermask, run.builder, run.run.levels
    last, seed = levels[-1], config.seed
    run.write_model()
    if settings.method == "lth":
        run.write_ticket()
    trained, masks = builder.states.end(last)
    masks = {name: masks[name] for name in builder.names}
    evaluator = MaskEvaluator(run, trained, settings.batch_norm)
    networks, _ = count_evaluations(config, levels)
    run.emit(Evaluating(f"masks on untrained weights, batch norm: {settings.batch_norm}", networks))
    own = evaluator("mask", masks)
    facts: dict[str, Any] = {**settings.model_dump(), **own.model_dump()}
    if settings.method == "lth":
        sparsity = run.measured_sparsity
        facts["levels"] = [
            SupermaskLevel(
                level=level.index,
                sparsity=sparsity[level.key],
                **evaluator(f"level-{level.index}", builder.states.end(level)[1]).model_dump(),
            )
            for level in levels[1:-1]
        ] + [SupermaskLevel(level=last.index, sparsity=sparsity[last.key], **own.model_dump())]
    else:
        initial = builder.states.model().named_parameters()
        facts["weights_unchanged"] = all(torch.equal(value, trained[name]) for name, value in initial)
    dense = evaluator("dense", {name: torch.ones_like(mask) for name, mask in masks.items()})

    def draw(k: int) -> Tensors:
        return draw_random_masks(masks, make_generator(seed, "mask", last.index, k), config.pruning.granularity)

    random = summarize_spread([evaluator(f"random-{k}", draw(k)) for k in range(RANDOM_MASKS)])
    if settings.method == "bernoulli":
        scores = builder.states.scores(last)
        rngs = [make_generator(seed, "mask", last.index, RANDOM_MASKS + k) for k in range(RANDOM_MASKS)]
        facts["sampled"] = summarize_spread([evaluator(f"sample-{k}", sample(scores, r)) for k, r in enumerate(rngs)])
    is_above_chance = own.balanced_accuracy_interval[0] > 1 / builder.classes
    better = is_above_chance and own.balanced_accuracy > random.balanced_accuracy.highest
    result = SupermaskResult(**facts, dense=dense, random=random, better_than_chance=better)
    return SupermaskSummary(**run.summarize(), supermask=result)


def count_evaluations(config: SupermaskConfig, levels: Sequence[Level]) -> tuple[int, bool]:
    """Masks to evaluate: its own at each level, the dense one, and random ones."""
    drawn = RANDOM_MASKS * (2 if config.supermask.method == "bernoulli" else 1)
    return max(1, len(levels) - 1) + 1 + drawn, config.supermask.batch_norm == "recalibrate"


class MaskEvaluator:
    """Evaluates masks on the untrained weights; what the run evaluated before an interruption is not repeated."""

    def __init__(self, run: TrainedRun[SupermaskConfig], trained: Tensors, batch_norm: str):
        self.run, self.builder, self.batch_norm = run, run.builder, batch_norm
        self.buffers = {name: trained[name] for name, _ in self.builder.states.model().named_buffers()}
        self.known = {name: found["correct"] for name, found in run.run_dir.read_evaluations().items()}

    def __call__(self, name: str, masks: Tensors) -> Measured:
        """Accuracies of the masked, untrained network."""
        if name not in self.known:
            self.known[name] = self._count_correct(masks)
            self.run.run_dir.append_evaluation(name, correct=self.known[name])
        self.run.emit(Evaluated(name, len(self.known)))
        return self.run.measure(self.known[name])

    def _count_correct(self, masks: Tensors) -> list[int]:
        states = self.builder.states
        weights = states.reset(states.initial(), masks, self.run.config.evaluated_reset)
        if self.batch_norm == "trained":
            weights |= self.buffers
        return self.builder.evaluate(masks, weights, self.batch_norm).correct


def summarize_spread(results: Sequence[Measured]) -> Spread:
    """Mean and range of the accuracies of several masks."""

    def summarize(values: Sequence[float]) -> Range:
        return Range(mean=sum(values) / len(values), lowest=min(values), highest=max(values))

    accuracy, balanced = zip(*((result.accuracy, result.balanced_accuracy) for result in results), strict=True)
    return Spread(n=len(results), accuracy=summarize(accuracy), balanced_accuracy=summarize(balanced))


EXPERIMENTS.add(
    "supermask",
    "Find a mask, and evaluate it on weights that were never trained.",
    SupermaskConfig,
    plan=plan,
    evaluate=evaluate,
    summary=SupermaskSummary,
    options=("supermask.method", "supermask.batch_norm", *PRUNING_OPTIONS, *REWIND_OPTIONS),
    count_evaluations=count_evaluations,
)
