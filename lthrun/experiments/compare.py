"""Compare: train every arm for every seed, each level once, and say which does better, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

from lthrun.analysis.arm_results import ArmResult, Design
from lthrun.analysis.findings import analyze_study
from lthrun.analysis.intervals import wilson_interval
from lthrun.analysis.mask_overlap import measure_overlap, summarize_layers
from lthrun.analysis.study_records import StudyFindings
from lthrun.config import Compare
from lthrun.config.loading import differences
from lthrun.executors import EXECUTORS
from lthrun.experiments.arms import ARMS, Piece
from lthrun.experiments.context import Emit, RunContext
from lthrun.experiments.tasks import RunOptions, Task, graph
from lthrun.levels.plan import Conditions, Level
from lthrun.records import EpochRecord
from lthrun.sparsity.masks import Tensors
from lthrun.storage.files import FORMAT
from lthrun.storage.level_store import LevelStore
from lthrun.storage.run_dir import RunDir

OTHER_LENGTHS = {
    "ticket-rewind": "ticket-rewind counts those before its rewind point",
    "dense-budget": "dense-budget trains as long as the search for the ticket took",
    "supermask": "supermask is never trained",
}
Made = dict[tuple[str, int], list[Piece]]
LINE = (
    "level_epoch", "step", "train_loss", "valid_loss", "accuracy", "balanced_accuracy", "seconds",
)  # fmt: skip


def tasks(made: Made, conditions: Conditions) -> list[Task]:
    """The graph of a study's levels."""
    return graph(
        Task(piece.config, piece.level, about(arm, seed, piece), conditions)
        for (arm, seed), found in made.items()
        for piece in found
    )


def about(arm: str, seed: int, piece: Piece) -> str:
    return f"{arm}, seed {seed}" + (f", {piece.sparsity:g} %" if piece.sparsity else "")


def compare(
    context: RunContext,
    run_dir: RunDir,
    made: Made,
    todo: list[Task],
    options: RunOptions,
    emit: Emit,
    engine: str,
    jobs: int | None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Do the study's tasks: its summary, and a line per epoch of each result's last training."""
    study: Any = context.resolved
    levels, reused, seconds = LevelStore(options.out), 0, 0.0

    def tell(kind: str, task: Task, found: Mapping[str, Any] = {}, **facts: Any) -> None:
        nonlocal reused, seconds
        reused += bool(found.get("reused"))
        seconds += found.get("seconds", 0.0)
        emit(kind, key=task.key, about=task.about, level=task.level.index, **found, **facts)

    failures = EXECUTORS[engine](todo, options, jobs, tell, emit)
    emit("busy", doing="comparing")
    records = {key: levels.record(key) for key in {p.level.key for found in made.values() for p in found}}
    results = [
        ArmResult(
            arm,
            seed,
            p.sparsity,
            [read_epoch(epoch) for epoch in record["epochs"]],
            p.level.steps,
            searched(p.level),
            record["sparsity"],
        )
        for (arm, seed), found in made.items()
        for p in found
        if p.level.key not in failures and (record := records[p.level.key]) is not None
    ]
    have = {(r.arm, r.seed, r.sparsity) for r in results}
    counts = [sum(context.store.labels[i] == c for i in context.valid) for c in range(len(context.store.classes))]
    lines = [
        {"arm": r.arm, "seed": r.seed, "sparsity": r.sparsity, "measured_sparsity": epoch.sparsity}
        | {key: getattr(epoch, key) for key in LINE}
        | {"looks": [asdict(evaluation) for evaluation in epoch.interim_evaluations]}
        for r in results
        for epoch in r.epochs
    ]
    summary = {
        "format": FORMAT,
        "experiment": "compare",
        "differs": differences(context.config),
        "device": study.device,
        "precision": study.precision,
        "n_train": len(context.train),
        "n_valid": len(context.valid),
        "classes": list(context.store.classes),
        "majority_rate": max(counts) / sum(counts),
        "majority_interval": list(wilson_interval(max(counts), sum(counts))),
        "epoch_steps": context.conditions.epoch_steps,
        "epochs": study.training.epochs,
        "about": {arm: ARMS[arm].about for arm in study.compare.arms},
        **to_summary(analyze_study(results, design(study, context.conditions.epoch_steps, counts))),
        "notes": notes(study, context),
        **stability(made, have, records, levels, study),
        "missing": [
            {"arm": arm, "seed": seed, "sparsity": p.sparsity, "why": failures.get(p.level.key, "its level is gone")}
            for (arm, seed), found in made.items()
            for p in found
            if (arm, seed, p.sparsity) not in have
        ],
        "levels": {"trained": len(todo) - len(failures) - reused, "taken_over": reused, "failed": len(failures)},
        "seconds": seconds,
        "lines": len(lines),
        "run_dir": str(run_dir.path),
        "files": {},
    }
    return summary, lines


def read_epoch(facts: Mapping[str, Any]) -> EpochRecord:
    return EpochRecord.from_dict(
        {key: facts[key] for key in facts if key != "looks"} | {"interim_evaluations": facts.get("looks", [])}
    )


def to_summary(findings: StudyFindings) -> dict[str, Any]:
    """The findings under the names that the report reads."""
    facts = findings.model_dump(mode="json")
    facts["verdict"]["sentences"] = findings.verdict.sentences
    for row in facts["comparisons"]:
        row["primary"], forecast = row.pop("is_primary"), row.pop("forecast")
        row["more_seeds"] = forecast and not forecast["is_fresh"] and forecast["seeds"] and forecast["seeds"] - row["n"]
    for row in facts["reach"]:
        row["of"] = row.pop("total")
    return facts


def design(study: Compare, epoch_steps: int, counts: Sequence[int]) -> Design:
    """What the config fixes before anything is trained."""
    rivals = {arm: ("ticket", arm) if ARMS[arm].asks else (arm, ARMS[arm].against) for arm in study.compare.arms}
    look = (study.training.evaluate_every or epoch_steps) / epoch_steps
    rules = study.compare
    n = sum(counts)
    return Design(study.seeds, rules.sparsities, rivals, rules.margin, epoch_steps, look, max(counts) / n, n)


def searched(level: Level) -> int:
    """Steps trained to come to a level's end, from initialisation on."""
    return level.steps + (searched(level.parent) if level.parent else 0)


def notes(study: Compare, context: RunContext) -> list[str]:
    """What the numbers do not say."""
    training, n = study.training, len(context.valid)
    lengths = [f"; {said}" for arm, said in OTHER_LENGTHS.items() if arm in study.compare.arms]
    found = [
        "All seeds share one split of the images: the intervals speak of initialisation and data order, not of other "
        "images.",
        f"Accuracy is that after the last epoch, on n = {n:,} validation images; always answering the most common "
        "class is the majority rate.",
        f"Every arm ends in a training of {training.epochs} epochs" + "".join(lengths) + ".",
    ]
    if training.evaluate_every and training.evaluate_images and training.evaluate_images < n:
        found.append(
            f"Training time is judged on {training.evaluate_images:,} of the validation images, always the same, every "
            f"{training.evaluate_every} steps."
        )
    if study.data.dataset == "synthetic":
        found.append("The images are drawn: this is a trial of the tool, not a result about photographs.")
    return found


def stability(
    made: Made, have: set[Any], records: Mapping[str, Any], levels: LevelStore, study: Compare
) -> dict[str, Any]:
    """Where the tickets' sparsity lies, per layer, and how much of their masks different seeds have in common."""
    by_layer, in_common = [], []
    for sparsity in study.compare.sparsities:
        keys = [
            p.level.key
            for seed in study.seeds
            for p in made.get(("ticket", seed), [])
            if p.sparsity == sparsity and ("ticket", seed, sparsity) in have
        ]
        if keys:
            by_layer += summarize_layers(sparsity, [records[key]["layers"] for key in keys])
        if len(keys) > 1:
            in_common.append(
                measure_overlap(
                    sparsity, "seeds", list(combinations([kept(levels, key) for key in keys], 2))
                ).model_dump(mode="json")
            )
    return {
        "layers": [{**row.model_dump(mode="json", exclude={"total"}), "of": row.total} for row in by_layer],
        "overlap": in_common,
    }


def kept(levels: LevelStore, key: str) -> Tensors:
    """The masks of the weights at the end of a level; those of batch norm that go with whole filters are left out."""
    from lthrun.training import state

    return {name: mask for name, mask in state.select_prefix("mask", levels.read(key, "end")).items() if mask.ndim > 1}
