"""Compare: train every arm for every seed, each level once, and say which does better, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, cast

from lthrun.analysis.arm_results import ArmResult, Design
from lthrun.analysis.findings import analyze_study
from lthrun.analysis.power import foresee_words
from lthrun.analysis.seed_means import FEWEST_SEEDS, estimate
from lthrun.analysis.study_records import LayerSparsity, MaskOverlap, OverlapKind, StudyFindings
from lthrun.errors import UserError
from lthrun.events import Busy, Emit, NoVerdict, StudyStarted
from lthrun.experiments.arm_settings import LARGE_INIT
from lthrun.experiments.arms import PlannedArmResult, plan_arms
from lthrun.experiments.experiment import EXPERIMENTS
from lthrun.experiments.reading import read_summary
from lthrun.experiments.run import Run
from lthrun.experiments.study_config import CompareConfig
from lthrun.experiments.study_splits import count_final, describe_splits, majority_rate, measure_majority
from lthrun.experiments.summaries import LevelCounts, MissingResult, StudySummary
from lthrun.experiments.trained_run import TrainedRun
from lthrun.levels.plan import Level
from lthrun.records import EpochRecord, LevelRecord
from lthrun.storage.run_dir import RunDir

if TYPE_CHECKING:
    from lthrun.sparsity.masks import Tensors

Study = TrainedRun[CompareConfig]
EXPECTED_DEVIATIONS: tuple[float, ...] = (1.3, 3.0)
"""Of a seed's difference in accuracy, in points: ten seeds of Pets had 1.29 (docs/results.md), and some vary more."""


def evaluate(run: Study) -> StudySummary:
    """Compare the arms whose levels are trained; the others are `missing` in the summary."""
    run.emit(Busy("comparing"))
    planned = cast("Sequence[PlannedArmResult]", run.run.planned)
    records = {result.level.key: run.record(result.level) for result in planned if result.level.key not in run.failures}
    trained = [(result, record) for result in planned if (record := records.get(result.level.key)) is not None]
    lines = [
        {"arm": result.arm, "seed": result.seed, "sparsity": result.sparsity, **describe_epoch(epoch, record)}
        for result, record in trained
        for epoch in record.epochs
    ]
    run.run_dir.write_metrics(lines)
    reused = sum(result.is_reused for result in run.results.values())
    return StudySummary(
        **run.shared_facts() | measure_majority(run.run.context),
        about={arm.name: arm.description for arm in run.config.compare.arms},
        **dict(answer_questions(run, trained)),
        notes=list_notes(run),
        **describe_masks(run, trained),
        missing=[
            MissingResult(
                arm=result.arm,
                seed=result.seed,
                sparsity=result.sparsity,
                reason=run.failures.get(result.level.key, "its level was removed"),
            )
            for result in planned
            if records.get(result.level.key) is None
        ],
        epoch_steps=run.run.context.conditions.epoch_steps,
        epochs=run.config.training.epochs,
        levels=LevelCounts(trained=len(run.results) - reused, reused=reused, failed=len(run.failures)),
        seconds=sum(result.seconds for result in run.results.values()),
        lines=len(lines),
    )


def describe_epoch(epoch: EpochRecord, record: LevelRecord) -> dict[str, Any]:
    """An epoch in a study's metrics.jsonl, the last with its level's test; the sparsity beside it is the study's."""
    keys = ("level_epoch", "step", "train_loss", "valid_loss", "accuracy", "balanced_accuracy", "seconds")
    facts = epoch.to_dict()
    own = {key: facts[key] for key in (*keys, "interim_evaluations")}
    test = record.test.metrics if record.test and epoch is record.epochs[-1] else {}
    return {"measured_sparsity": epoch.sparsity, **own, **test}


def answer_questions(run: Study, trained: Sequence[tuple[PlannedArmResult, LevelRecord]]) -> StudyFindings:
    config, context = run.config, run.run.context
    epoch_steps, counts = context.conditions.epoch_steps, count_final(context)
    results = [make_result(p.arm, p.seed, p.sparsity, p.level, record) for p, record in trained]
    earlier = read_summary(run.run_dir)
    if not isinstance(earlier, StudySummary):
        earlier = None
    design = Design(
        config.seeds,
        config.compare.sparsities,
        {arm.name: arm.pair for arm in config.compare.arms},
        config.compare.margin,
        epoch_steps,
        (config.training.evaluate_every or epoch_steps) / epoch_steps,
        {seed: majority_rate([counts[config.split_seed(seed)]]) for seed in config.seeds},
        len(context.split.valid),
        len(context.split.test),
        earlier.most_seeds if earlier else config.compare.most_seeds,
        earlier.looks if earlier else (),
        len(context.splits) > 1,
        config.compare.primary_sparsity,
    )
    return analyze_study(results, design)


def make_result(arm: str, seed: int, sparsity: float | None, level: Level, record: LevelRecord) -> ArmResult:
    steps = level.steps, count_search_steps(level)
    return ArmResult(arm, seed, sparsity, record.epochs, *steps, record.sparsity, record.test)


def plan_next(config: CompareConfig, summary: StudySummary) -> CompareConfig | None:
    """The study with the seeds of a further look, where it grows until it is decided.

    Raises:
        UserError: the study declared another number of seeds when it began.
    """
    if config.compare.most_seeds not in (None, summary.most_seeds):
        raise UserError(
            f"compare.most_seeds: found {config.compare.most_seeds}; the study in {summary.run_dir} declared "
            f"{summary.most_seeds} when it began: leave it out, or start a new study with another seed or --out"
        )
    seeds = min(len(summary.seeds) + summary.looks[0], summary.most_seeds)
    is_decided = summary.verdict.word not in (None, "undecided")
    if not config.compare.until_decided or is_decided or summary.missing or seeds <= len(summary.seeds):
        return None
    return config.model_copy(update={"compare": config.compare.model_copy(update={"seeds": seeds})})


def count_search_steps(level: Level) -> int:
    """Steps trained to reach a level's end, from initialization on."""
    return level.steps + (count_search_steps(level.parent) if level.parent else 0)


def list_notes(run: Study) -> list[str]:
    """What the numbers do not say."""
    config, split = run.config, run.run.context.split
    training, n = config.training, len(split.valid)
    where = f"n = {len(split.test):,} test images, evaluated once" if split.test else f"n = {n:,} validation images"
    lengths = [f"; {arm.note}" for arm in config.compare.arms if arm.note]
    notes = [
        describe_splits(run.run.context),
        f"Accuracy is that after the last epoch, on {where}; the majority rate is the accuracy of always answering the "
        "most common class.",
        f"Every arm ends in a training of {training.epochs} epoch{'s' * (training.epochs > 1)}{''.join(lengths)}.",
    ]
    if split.test:
        notes.append(
            f"Losses, early stopping and epochs to equal accuracy are measured on n = {n:,} validation images; nothing "
            "but the accuracy depends on the test images."
        )
    if training.evaluate_every and training.evaluate_images and training.evaluate_images < n:
        notes.append(
            f"Early stopping and epochs to equal accuracy are measured on {training.evaluate_images:,} of the "
            f"validation images, always the same, every {training.evaluate_every} steps."
        )
    if config.data.dataset == "synthetic":
        notes.append("The images are synthetic: this tests the tool and says nothing about photographs.")
    return notes


def describe_masks(run: Study, trained: Sequence[tuple[PlannedArmResult, LevelRecord]]) -> Mapping[str, Any]:
    """The tickets' sparsity per layer, and how much of their masks is in common with others."""
    from lthrun.analysis.mask_overlap import measure_overlap, summarize_layers

    layers: list[LayerSparsity] = []
    overlap: list[MaskOverlap] = []
    twins = {arm.name for arm in run.config.compare.arms if arm.is_reordered_ticket}
    for sparsity in run.config.compare.sparsities:
        tickets = [(p, record) for p, record in trained if p.arm == "ticket" and p.sparsity == sparsity]
        if not tickets:
            continue
        layers += summarize_layers(sparsity, [record.layers for _, record in tickets])
        masks = {result.seed: read_weight_masks(run, result.level) for result, _ in tickets}
        others = [(p.seed, p.level) for p, _ in trained if p.arm in twins and p.sparsity == sparsity]
        pairs: dict[OverlapKind, list[tuple[Tensors, Tensors]]] = {
            "large-init": [(own, make_large_init_masks(run, seed, sparsity)) for seed, own in masks.items()],
            "orders": [(masks[seed], read_weight_masks(run, level)) for seed, level in others if seed in masks],
            "seeds": list(combinations(masks.values(), 2)),
        }
        overlap += [measure_overlap(sparsity, kind, found) for kind, found in pairs.items() if found]
    return {"layers": layers, "overlap": overlap}


def make_large_init_masks(run: Study, seed: int, sparsity: float) -> Tensors:
    """The masks of the largest initial weights of a seed, those of the arm `large-init`; they need no training."""
    builder = run.worker.builder(run.config.prune(seed, LARGE_INIT, sparsity))
    initial = builder.states.initial()
    masks = builder.mask_maker.make_masks(0, sparsity, initial, lambda: initial, lambda: initial, {})
    return select_weights(masks)


def read_weight_masks(run: Study, level: Level) -> Tensors:
    """The masks of the weights at the end of a level."""
    from lthrun.training import state

    return select_weights(state.select_prefix("mask", run.worker.levels.read(level.key, "end")))


def select_weights(masks: Tensors) -> Tensors:
    """Without the masks of batch norm and biases, which go with whole filters."""
    return {name: mask for name, mask in masks.items() if mask.ndim > 1}


def announce(run: Run, emit: Emit) -> None:
    compare = cast(CompareConfig, run.config).compare
    emit(StudyStarted(len(compare.arms), compare.seeds, len(run.tasks), **run.context.facts))
    if compare.no_verdict:
        emit(NoVerdict(compare.no_verdict))


def foresee_answer(config: CompareConfig, run_dir: RunDir) -> Mapping[str, Any]:
    """The chance of each word, for the deviation of the seeds that there are, else for those expected."""
    compare, earlier = config.compare, read_summary(run_dir)
    looks, most_seeds = compare.looks, compare.most_seeds or compare.seeds
    deviations = EXPECTED_DEVIATIONS
    if isinstance(earlier, StudySummary):
        looks, most_seeds = sorted({*looks, *earlier.looks}), earlier.most_seeds
        if earlier.primary and earlier.primary.n >= FEWEST_SEEDS:
            step = 100 / earlier.n_final
            deviations = (estimate(earlier.primary.differences, step).deviation,)
    looks = sorted({min(n, most_seeds) for n in looks})
    chances = [] if compare.no_verdict else foresee_words(looks, most_seeds, deviations, compare.margin)
    return {"no_verdict": compare.no_verdict, "chances": chances}


EXPERIMENTS.add(
    "compare",
    "Does the ticket win? Train the arms, each for several seeds, and say how sure the answer is.",
    CompareConfig,
    plan=plan_arms,
    announce=announce,
    evaluate=evaluate,
    summary=StudySummary,
    options=tuple(f"compare.{key}" for key in ("seeds", "arms", "sparsities", "until_decided", "most_seeds")),
    plan_next=plan_next,
    foresee=foresee_answer,
    is_study=True,
)
