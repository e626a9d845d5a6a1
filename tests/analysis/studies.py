"""Results of studies, made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lthrun.analysis.arm_results import ArmResult, Design
from lthrun.records import EpochRecord, InterimEvaluation

PAIRINGS = {
    "dense": ("dense", "dense"),
    "ticket": ("ticket", "dense"),
    "random-mask": ("ticket", "random-mask"),
    "random-init": ("ticket", "random-init"),
    "supermask": ("supermask", "majority rate"),
}


def make_epoch(accuracy: float, valid_loss: float, step: int, **facts: Any) -> EpochRecord:
    return EpochRecord(
        **{
            "level_epoch": step // 10 - 1, "sparsity": 0.0, "train_loss": 0.5, "valid_loss": valid_loss,
            "accuracy": accuracy, "balanced_accuracy": accuracy - 0.1, "seconds": 1.0, "images_per_second": 100.0,
            "time": 0.0, "step": step, "correct": [1, 1],
        } | facts
    )  # fmt: skip


def make_result(
    arm: str, seed: int, accuracy: float, losses: Sequence[float], accuracies: Sequence[float], sparsity: float = 50.0
) -> ArmResult:
    """One epoch of ten steps, with interim evaluations after step 1 and after every fifth."""
    interim = [InterimEvaluation(1, 0.9, 0.1)]
    interim += [
        InterimEvaluation(5 * k, loss, a) for k, (loss, a) in enumerate(zip(losses, accuracies, strict=True), 1)
    ]
    epoch = make_epoch(accuracy, losses[-1], 10, interim_evaluations=interim)
    if arm == "dense":
        return ArmResult(arm, seed, None, [epoch], 10, 10, 0.0)
    return ArmResult(arm, seed, sparsity, [epoch], 10, 20, sparsity - 0.1)


def make_study(ticket: float, control: float, seeds: int = 3, sparsity: float = 50.0) -> list[ArmResult]:
    """The dense network ends at 0.70; the ticket's accuracies rise by 0.001 from seed to seed."""
    results = []
    for seed in range(seeds):
        results += [
            make_result("dense", seed, 0.70, [0.6, 0.5], [0.6, 0.7]),
            make_result("ticket", seed, ticket + 0.001 * seed, [0.4, 0.5], [0.72, 0.71], sparsity),
            make_result("random-mask", seed, control, [0.6, 0.55], [0.5, 0.6], sparsity),
            make_result("random-init", seed, control, [0.6, 0.55], [0.5, 0.6], sparsity),
            make_result("supermask", seed, 0.65, [0.6, 0.6], [0.6, 0.65], sparsity),
        ]
    return results


def make_design(seeds: int = 3, **facts: Any) -> Design:
    return Design(
        **{
            "seeds": range(seeds), "sparsities": [50.0], "pairings": PAIRINGS, "margin": 1.0, "epoch_steps": 10,
            "evaluation_epochs": 0.5, "majority_rates": dict.fromkeys(range(seeds), 0.66), "n_valid": 1000,
        } | facts
    )  # fmt: skip
