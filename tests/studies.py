"""Directories of studies and runs as lthrun leaves them, with numbers drawn by numpy: plausible, or with hostile names."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from lthrun.analysis.study_records import (
    Cell,
    Comparison,
    LayerSparsity,
    MaskOverlap,
    OverlapKind,
    Reach,
    SeedMean,
    Verdict,
)
from lthrun.experiments.connectivity import ConnectivitySummary, PathEnd, PathResult
from lthrun.experiments.summaries import LevelCounts, LevelSummary, MissingResult, RunSummary, StudySummary
from lthrun.experiments.supermask import Range, Spread, SupermaskLevel, SupermaskResult, SupermaskSummary
from lthrun.records import Interval, Measured
from lthrun.storage.files import FORMAT

ABOUT = {
    "dense": "the dense network",
    "dense-budget": "the dense network, trained for as many epochs as the search for the ticket took",
    "ticket": "mask and initial weights of iterative magnitude pruning",
    "ticket-rewind": "the ticket, its weights rewound to epoch 1",
    "supermask": "the ticket's mask on untrained weights",
    "random-mask": "a random mask of the same sparsity per layer, on the initial weights",
    "random-init": "the ticket's mask on weights of another initialization",
    "large-init": "the mask of the largest initial weights",
    "one-shot": "pruned once, not in levels",
    "prune": "pruned gradually during one training",
    "lr-rewind": "trained weights kept, the learning rate rewound",
}
# Points lost against dense at 50 %, and per further halving of the remaining weights.
LOSS = {
    "dense-budget": (-1.5, 0), "ticket": (-0.4, 1.1), "ticket-rewind": (-0.8, 0.8), "supermask": (8.3, 0.1),
    "random-mask": (1.5, 2.0), "random-init": (1.2, 1.8), "large-init": (0.5, 1.5), "one-shot": (0.3, 1.6), "prune": (-0.9, 0.7),
    "lr-rewind": (-0.6, 0.8),
}  # fmt: skip
WITHOUT_SPARSITY = ("dense", "dense-budget")
HOSTILE = "<script>alert(1)</script> & \"quotes\" 'single' {{ 7*7 }} [red] " + "long-name-" * 30
SENTENCES = {
    "wins": "the ticket beats the dense network",
    "matches": "the ticket matches the dense network",
    "loses": "the ticket loses to the dense network",
    "undecided": "these seeds do not decide between the ticket and the dense network",
    None: "no verdict on the ticket, with too few seeds",
}
EPOCHS, EPOCH_STEPS, SEARCH = 5, 92, 20
N_VALID = 1478
LAYERS = ["conv1"] + [f"layer{a}.{b}.conv{c}" for a in (1, 2, 3, 4) for b in (0, 1) for c in (1, 2)]
Values = dict[tuple[str, float | None], dict[str, np.ndarray]]


def conditions(run_dir: Path, hostile: bool = False) -> dict[str, Any]:
    """What every summary has."""
    return {
        "format": FORMAT,
        "differs": {"data.dir": HOSTILE} if hostile else {"training.epochs": 5},
        "device": "cpu",
        "precision": "float32",
        "n_train": 5912,
        "n_valid": N_VALID,
        "n_test": 0,
        "classes": [HOSTILE if hostile else "cat", "dog"],
        "majority_rate": 0.6779431664411367,
        "majority_interval": (0.6536, 0.7013),
        "seconds": 1234.5,
        "run_dir": HOSTILE if hostile else str(run_dir),
        "files": {},
    }


def write_records(
    folder: Path, summary: RunSummary | StudySummary, lines: Sequence[dict[str, Any]], hostile: bool
) -> Path:
    """Config, environment, metrics, summary."""
    data_dir = json.dumps(HOSTILE if hostile else "images")
    config = f"experiment: {summary.experiment}\nseed: 0\ndata:\n  dir: {data_dir}\ntraining:\n  epochs: 5\n"
    environment = {"format": FORMAT, "lthrun": "0.1.0", "torch": "2.14.0", "platform": HOSTILE if hostile else "Linux"}
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(summary.model_dump(mode="json"), indent=1, allow_nan=False))
    (folder / "config.yaml").write_text(config)
    (folder / "environment.json").write_text(json.dumps(environment))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def write_study(
    out: Path,
    arms: Sequence[str] = ("dense", "ticket", "random-mask"),
    sparsities: Sequence[float] = (50.0, 90.0),
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    hostile: bool = False,
) -> Path:
    """A study's directory under `out`."""
    rng = np.random.default_rng(0)
    values: Values = {
        (arm, sparsity): outcomes(rng, arm, sparsity, len(seeds))
        for arm in arms
        for sparsity in ([None] if arm in WITHOUT_SPARSITY else sparsities)
    }
    compared = comparisons(rng, values, sparsities)
    primary = compared[0]
    lines = [
        line for (arm, s), measured in values.items() for line in trainings(rng, arm, s, seeds, measured["accuracy"])
    ]
    folder = out / "compare-s0-0123abcd"
    missing = MissingResult(arm=arms[-1], seed=seeds[-1], sparsity=sparsities[-1], reason=HOSTILE)
    winning = None if primary.word == "undecided" else primary.word != "loses"
    summary = StudySummary(
        **conditions(folder, hostile),
        experiment="compare",
        valid_majority_rate=0.6779431664411367,
        seeds=list(seeds),
        arms=list(arms),
        about={arm: ABOUT.get(arm, "another arm") for arm in arms},
        sparsities=list(sparsities),
        margin=1.0,
        most_seeds=len(seeds),
        looks=[len(seeds)],
        question=f"Does the ticket at {sparsities[0]:g} % match the dense network's accuracy after the same training?",
        verdict=Verdict(
            word=primary.word,
            winning_ticket=winning,
            warnings=[],
            answer=f"At {sparsities[0]:g} % sparsity {SENTENCES[primary.word]}.",
            reason=f"The difference in accuracy is {primary.mean:+.2f} points.",
            details=["It reaches the dense network's final accuracy in 4 of 5 seeds, after 3.25 epochs in the median."],
        ),
        notes=[
            "All seeds share one split: intervals cover seed-to-seed variation, not validation-set sampling.",
            f"training on {HOSTILE}" if hostile else "5 epochs are few: longer training may change the order",
        ],
        comparisons=compared,
        reach=[
            Reach(arm=arm, sparsity=s, reached=min(r, len(seeds)), total=len(seeds), median_epochs=3.25 if r else None)
            for (arm, s), r in zip(values, itertools.cycle([4, 5, 0]))
            if arm not in ("dense", "supermask")
        ],
        cells=[cell(arm, s, measured, seeds) for (arm, s), measured in values.items()],
        layers=list(layers(sparsities)),
        overlap=[overlap(s, kind, pairs) for s in sparsities for kind, pairs in pairs_of(len(seeds))],
        missing=[missing] if hostile else [],
        epoch_steps=EPOCH_STEPS,
        epochs=EPOCHS,
        levels=LevelCounts(trained=120, reused=4, failed=0),
        lines=len(lines),
    )
    return write_records(folder, summary, lines, hostile)


def outcomes(rng: np.random.Generator, arm: str, sparsity: float | None, n: int) -> dict[str, np.ndarray]:
    """Accuracies per seed; arms share the effect of the seed."""
    at, per_halving = LOSS.get(arm, (0.0, 0.0))
    halvings = 0.0 if sparsity is None else np.log2(50 / (100 - sparsity))
    of_seed = np.random.default_rng(1).normal(0, 0.8, n)
    accuracy = 0.762 - (at + per_halving * halvings - of_seed + rng.normal(0, 0.35, n)) / 100
    return {"accuracy": accuracy, "balanced_accuracy": accuracy - 0.04}


def mean_interval(values: np.ndarray, confidence: float) -> Interval | None:
    """Student's, of the mean; None with fewer than three values."""
    if len(values) < 3:
        return None
    half = stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def cell(arm: str, sparsity: float | None, measured: dict[str, np.ndarray], seeds: Sequence[int]) -> Cell:
    accuracy, balanced = (
        SeedMean(mean=float(values.mean()), interval=mean_interval(values, 0.95), values=values.tolist())
        for values in measured.values()
    )
    return Cell(
        arm=arm,
        sparsity=sparsity,
        n=len(seeds),
        seeds=list(seeds),
        accuracy=accuracy,
        balanced_accuracy=balanced,
        epochs={"supermask": 0.0, "dense-budget": float(SEARCH)}.get(arm, float(EPOCHS)),
        search_epochs=float(EPOCHS if arm in ("dense", "prune") else SEARCH),
        measured_sparsity=sparsity or 0.0,
    )


def comparisons(rng: np.random.Generator, values: Values, sparsities: Sequence[float]) -> list[Comparison]:
    dense, rows = values["dense", None], []
    for (arm, sparsity), mine in values.items():
        for measure in ("accuracy", "balanced_accuracy", "early_stopping") if arm != "dense" else ():
            if measure != "early_stopping":
                differences = 100 * (mine[measure] - dense[measure])
            elif arm == "supermask":
                continue
            else:
                differences = rng.normal(0.3, 0.5, len(dense["accuracy"]))
            is_primary = (arm, sparsity, measure) == ("ticket", sparsities[0], "accuracy")
            confidence = 0.95 if is_primary else 0.99
            interval = mean_interval(differences, confidence)
            rows.append(
                {
                    "arm": arm,
                    "against": "dense",
                    "measure": measure,
                    "sparsity": sparsity,
                    "is_primary": is_primary,
                    "n": len(differences),
                    "seeds": list(range(len(differences))),
                    "differences": differences.tolist(),
                    "mean": float(differences.mean()),
                    "interval": interval,
                    "confidence": confidence,
                    "p": None if interval is None else float(stats.ttest_1samp(differences, 0).pvalue),
                    "p_holm": None,
                    "word": word(interval) if measure != "early_stopping" else None,
                    "forecast": None,
                    "condition": None,
                    "extremes": None,
                    "is_claim": is_primary,
                    "correction": "none" if is_primary else "questions",
                    "p_match": None,
                    "p_match_holm": None,
                    "margin": 0.25 if measure == "early_stopping" else 1.0,
                    "unit": "epochs" if measure == "early_stopping" else "points",
                }
            )
    secondary = sorted(
        (row for row in rows if row["p"] is not None and not row["is_primary"]), key=lambda row: row["p"]
    )
    highest = 0.0
    for k, row in enumerate(secondary):
        highest = max(highest, min(1.0, row["p"] * (len(secondary) - k)))
        row["p_holm"] = highest
    return [Comparison(**row) for row in sorted(rows, key=lambda row: not row["is_primary"])]


def word(interval: Interval | None, margin: float = 1.0) -> str | None:
    if interval is None:
        return None
    low, high = interval
    return "wins" if low > 0 else "loses" if high < -margin else "matches" if low > -margin else "undecided"


def layers(sparsities: Sequence[float]) -> Iterator[LayerSparsity]:
    for sparsity in sparsities:
        for k, name in enumerate(LAYERS):
            middle = sparsity + (100 - sparsity) * (0.5 * k / len(LAYERS) - 0.25)
            yield LayerSparsity(
                sparsity=sparsity, layer=name, pruned=middle, lowest=middle - 0.8, highest=middle + 0.6, total=36864
            )


def pairs_of(seeds: int) -> list[tuple[OverlapKind, int]]:
    return [("large-init", seeds), ("seeds", seeds * (seeds - 1) // 2)]


def overlap(sparsity: float, kind: OverlapKind, pairs: int) -> MaskOverlap:
    chance = (100 - sparsity) / (100 + sparsity)
    return MaskOverlap(
        sparsity=sparsity,
        kind=kind,
        pairs=pairs,
        overlap=chance * 1.12,
        lowest=chance * 1.10,
        highest=chance * 1.15,
        chance=chance,
    )


def trainings(
    rng: np.random.Generator, arm: str, sparsity: float | None, seeds: Sequence[int], finals: np.ndarray
) -> Iterator[dict[str, Any]]:
    """A line per epoch and seed, with four interim evaluations; the last ends at the seed's accuracy."""
    first = 1 if arm == "ticket-rewind" else 0
    last = SEARCH if arm == "dense-budget" else EPOCHS
    for seed, final in zip(seeds, finals.tolist(), strict=True):
        record = {"arm": arm, "seed": seed, "sparsity": sparsity, "measured_sparsity": sparsity or 0.0}
        if arm == "supermask":
            evaluated = {"valid_loss": 0.69, "accuracy": final, "balanced_accuracy": 0.5, "seconds": 1.0}
            yield {**record, "level_epoch": 0, "step": 0, "train_loss": None, **evaluated, "interim_evaluations": []}
            continue
        for epoch in range(first, last):
            interim = []
            for quarter in (1, 2, 3, 4):
                share = (epoch + quarter / 4) / last
                accuracy = final - (final - 0.62) * (np.exp(-3 * share) - np.exp(-3)) + rng.normal(0, 0.004)
                interim.append(
                    {
                        "step": EPOCH_STEPS * epoch + EPOCH_STEPS * quarter // 4,
                        "loss": 0.52 + 0.2 * np.exp(-3 * share) + rng.normal(0, 0.004),
                        "accuracy": final if (epoch, quarter) == (last - 1, 4) else accuracy,
                    }
                )
            yield {
                **record,
                "level_epoch": epoch - first,
                "step": EPOCH_STEPS * (epoch + 1),
                "train_loss": interim[-1]["loss"] - 0.05,
                "valid_loss": interim[-1]["loss"],
                "accuracy": interim[-1]["accuracy"],
                "balanced_accuracy": interim[-1]["accuracy"] - 0.04,
                "seconds": 2.5,
                "interim_evaluations": interim,
            }


# Runs


def write_run(out: Path, experiment: str = "ticket", steps: int = 3, hostile: bool = False, **supermask: Any) -> Path:
    """A run's directory under `out`; `supermask` overrides what its summary says of the mask."""
    rng = np.random.default_rng(0)
    levels = [run_level(rng, k, steps) for k in range(1 if experiment == "baseline" else steps + 1)]
    lines = [line for level in levels for line in level_lines(rng, level)]
    folder = out / f"{experiment}-s0-0123abcd"
    last = levels[-1]
    facts: dict[str, Any] = {
        **conditions(folder, hostile),
        **last.model_dump(include=set(Measured.model_fields)),
        "experiment": experiment,
        "seed": 0,
        "rewind_point": "0ep",
        "protocol": "frankle",
        "sparsity": last.sparsity,
        "epochs": len(lines),
        "levels": levels,
        "test": None,
    }
    summary = RunSummary(**facts) if experiment not in PARTS else PARTS[experiment](facts, supermask)
    return write_records(folder, summary, lines, hostile)


def measured(accuracy: float) -> dict[str, Any]:
    balanced = accuracy - 0.05
    half = 1.96 * np.sqrt(accuracy * (1 - accuracy) / N_VALID)
    return {
        "accuracy": accuracy,
        "accuracy_interval": (accuracy - half, accuracy + half),
        "balanced_accuracy": balanced,
        "balanced_accuracy_interval": (balanced - half, balanced + half),
    }


def run_level(rng: np.random.Generator, index: int, steps: int) -> LevelSummary:
    sparsity = 50 * index / steps
    zeros = {f"{name}.weight": (round(36864 * sparsity / 100), 36864) for name in LAYERS}
    final = 0.76 - 0.004 * index + rng.normal(0, 0.003)
    return LevelSummary(
        **measured(final),
        level=index,
        key=f"{index:032x}",
        reused=index == 0,
        sparsity=sparsity,
        epochs=EPOCHS,
        first_epoch_accuracy=0.68,
        first_train_loss=0.66,
        best_accuracy=final + 0.01,
        seconds=98.7,
        layers=zeros,
    )


def level_lines(rng: np.random.Generator, level: LevelSummary) -> Iterator[dict[str, Any]]:
    for epoch in range(EPOCHS):
        share = (epoch + 1) / EPOCHS
        accuracy = level.accuracy - 0.1 * (1 - share)
        yield {
            "epoch": EPOCHS * level.level + epoch,
            "level": level.level,
            "level_epoch": epoch,
            "sparsity": level.sparsity,
            "train_loss": 0.66 - 0.2 * share + rng.normal(0, 0.004),
            "valid_loss": 0.64 - 0.12 * share + rng.normal(0, 0.004),
            "accuracy": accuracy,
            "balanced_accuracy": accuracy - 0.05,
            "seconds": 19.7,
            "images_per_second": 300.0,
            "time": 1.7e9 + 20 * (EPOCHS * level.level + epoch),
        }


def supermask_summary(facts: dict[str, Any], overrides: dict[str, Any]) -> SupermaskSummary:
    spread = Spread(
        n=20,
        accuracy=Range(mean=0.58, lowest=0.41, highest=0.66),
        balanced_accuracy=Range(mean=0.5, lowest=0.47, highest=0.54),
    )
    levels = [
        SupermaskLevel(level=level.level, sparsity=level.sparsity, **measured(0.6 + 0.03 * level.level))
        for level in facts["levels"][1:]
    ]
    result = {
        "method": "lth",
        "batch_norm": "recalibrate",
        **measured(0.69),
        "levels": levels,
        "dense": Measured(**measured(0.52)),
        "random": spread,
        "better_than_chance": True,
        **overrides,
    }
    return SupermaskSummary(**facts, supermask=SupermaskResult(**result))


def connectivity_summary(facts: dict[str, Any], overrides: dict[str, Any]) -> ConnectivitySummary:
    alphas = [k / 10 for k in range(11)]
    paths = []
    for point, dense, ticket in (("0ep", 0.14, 0.11), ("1ep", 0.021, 0.015), ("2ep", 0.003, 0.002)):
        for network, barrier in (("dense", dense), ("ticket", ticket)):
            ends = [PathEnd(key="0" * 32, order=k, accuracy=0.75, accuracy_interval=(0.73, 0.77)) for k in (0, 1)]
            paths.append(
                PathResult(
                    rewind_point=point,
                    network=network,
                    sparsity=50.0 if network == "ticket" else 0.0,
                    alphas=alphas,
                    errors=[0.25 + 4 * barrier * a * (1 - a) for a in alphas],
                    losses=[0.5 + barrier * a * (1 - a) for a in alphas],
                    barrier=barrier,
                    interval=(max(0.0, barrier - 0.012), barrier + 0.012),
                    stable=barrier < 0.02,
                    ends=ends,
                )
            )
    return ConnectivitySummary(**facts, connectivity=paths)


PARTS = {"supermask": supermask_summary, "connectivity": connectivity_summary}
