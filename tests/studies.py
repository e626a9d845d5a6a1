"""Study directories as `lthrun compare` leaves them, drawn by numpy: plausible numbers, and hostile names if wanted."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

ABOUT = {
    "dense": "the dense network",
    "dense-budget": "the dense network, trained for as many epochs as finding the ticket took",
    "ticket": "mask and initial weights found by iterative magnitude pruning",
    "ticket-rewind": "the ticket, its weights taken from after epoch 1",
    "supermask": "the ticket's mask on weights never trained",
    "random-mask": "a random mask of the same sparsity per layer, on the initial weights",
    "random-init": "the ticket's mask on weights drawn anew",
    "one-shot": "pruned once, not in levels",
    "prune": "pruned gradually during one training",
    "lr-rewind": "trained weights stay, the learning rate goes back",
}
# Points lost against dense at 50 %, and per further halving of what is left.
LOSS = {
    "dense-budget": (-1.5, 0), "ticket": (-0.4, 1.1), "ticket-rewind": (-0.8, 0.8), "supermask": (8.3, 0.1),
    "random-mask": (1.5, 2.0), "random-init": (1.2, 1.8), "one-shot": (0.3, 1.6), "prune": (-0.9, 0.7),
    "lr-rewind": (-0.6, 0.8),
}  # fmt: skip
WITHOUT_SPARSITY = ("dense", "dense-budget")
HOSTILE = "<script>alert(1)</script> & \"quotes\" 'single' {{ 7*7 }} " + "long-name-" * 30
SAID = {
    "wins": "the ticket beats the dense network",
    "matches": "the ticket matches the dense network",
    "loses": "the ticket loses to the dense network",
    "undecided": "these seeds cannot tell the ticket from the dense network",
    None: "too few seeds say nothing about the ticket",
}
EPOCHS, EPOCH_STEPS, SEARCH = 5, 92, 20
FORMAT = 1


def write_study(
    out: Path,
    arms: Sequence[str] = ("dense", "ticket", "random-mask"),
    sparsities: Sequence[float] = (50.0, 90.0),
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    hostile: bool = False,
) -> Path:
    """A study's directory under `out`: config, environment, metrics, summary."""
    draw = np.random.default_rng(0)
    values = {
        (arm, sparsity): outcomes(draw, arm, sparsity, len(seeds))
        for arm in arms
        for sparsity in ([None] if arm in WITHOUT_SPARSITY else sparsities)
    }
    compared = comparisons(draw, values, sparsities)
    primary = compared[0]
    name = HOSTILE if hostile else "cat"
    folder = out / "compare-s0-0123abcd"
    folder.mkdir(parents=True)
    summary = {
        "format": FORMAT,
        "experiment": "compare",
        "differs": {"data.dir": HOSTILE} if hostile else {"training.epochs": 5},
        "seeds": list(seeds),
        "device": "cpu",
        "precision": "float32",
        "n_train": 5912,
        "n_valid": 1478,
        "classes": [name, "dog"],
        "majority_rate": 0.6779431664411367,
        "majority_interval": [0.6536, 0.7013],
        "epoch_steps": EPOCH_STEPS,
        "epochs": EPOCHS,
        "arms": list(arms),
        "about": {arm: ABOUT[arm] for arm in arms},
        "sparsities": list(sparsities),
        "margin": 1.0,
        "question": f"Does the ticket at {sparsities[0]:g} % match the dense network's accuracy in the same training time?",
        "verdict": {
            "word": primary["word"],
            "winning_ticket": None if primary["word"] == "undecided" else primary["word"] != "loses",
            "sentences": [
                f"At {sparsities[0]:g} % sparsity {SAID[primary['word']]}: the difference in accuracy is {primary['mean']:+.2f} points.",
                "It reaches the dense network's final accuracy in 4 of 5 seeds, after 3.25 epochs in the median.",
            ],
        },
        "notes": [
            "the seeds share one split: the intervals speak of other seeds, not of other images",
            f"training on {HOSTILE}" if hostile else "5 epochs are few: longer training may change the order",
        ],
        "comparisons": compared,
        "reach": [
            {
                "arm": arm,
                "sparsity": s,
                "reached": min(r, len(seeds)),
                "of": len(seeds),
                "median_epochs": 3.25 if r else None,
            }
            for (arm, s), r in zip(values, itertools.cycle([4, 5, 0]))
            if arm not in ("dense", "supermask")
        ],
        "cells": [cell(arm, s, found) for (arm, s), found in values.items()],
        "layers": list(layers(draw, sparsities)),
        "overlap": [
            {
                "sparsity": s,
                "pairs": len(seeds) * (len(seeds) - 1) // 2,
                "overlap": (100 - s) / (100 + s) * 1.12,
                "lowest": (100 - s) / (100 + s) * 1.10,
                "highest": (100 - s) / (100 + s) * 1.15,
                "chance": (100 - s) / (100 + s),
            }
            for s in sparsities
        ],
        "missing": [
            {
                "arm": arms[-1],
                "seed": seeds[-1],
                "sparsity": sparsities[-1],
                "why": HOSTILE if hostile else "training.learning_rate: the loss is no longer a number",
            }
        ]
        if hostile
        else [],
        "levels": {"trained": 120, "taken_over": 4},
        "seconds": 1234.5,
        "run_dir": HOSTILE if hostile else str(folder),
        "files": {},
    }
    data_dir = json.dumps(HOSTILE if hostile else "images")
    config = f"experiment: compare\nseed: 0\ndata:\n  dir: {data_dir}\ntraining:\n  epochs: 5\n"
    environment = {"format": FORMAT, "lthrun": "0.1.0", "torch": "2.14.0", "platform": HOSTILE if hostile else "Linux"}
    (folder / "summary.json").write_text(json.dumps(summary, indent=1, allow_nan=False))
    (folder / "config.yaml").write_text(config)
    (folder / "environment.json").write_text(json.dumps(environment))
    lines = itertools.chain.from_iterable(
        trainings(draw, arm, s, seeds, found["accuracy"]) for (arm, s), found in values.items()
    )
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def outcomes(draw: np.random.Generator, arm: str, sparsity: float | None, n: int) -> dict[str, Any]:
    """Accuracies per seed; the seeds' own part is shared by the arms."""
    at, per_halving = LOSS.get(arm, (0.0, 0.0))
    halvings = 0.0 if sparsity is None else np.log2(50 / (100 - sparsity))
    of_seed = np.random.default_rng(1).normal(0, 0.8, n)
    accuracy = 0.762 - (at + per_halving * halvings - of_seed + draw.normal(0, 0.35, n)) / 100
    return {"accuracy": accuracy, "balanced_accuracy": accuracy - 0.04}


def mean_interval(values: np.ndarray, confidence: float) -> list[float] | None:
    """Student's, of the mean; None of fewer than three values."""
    if len(values) < 3:
        return None
    half = stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return [float(values.mean() - half), float(values.mean() + half)]


def cell(arm: str, sparsity: float | None, found: dict[str, Any]) -> dict[str, Any]:
    return {
        "arm": arm,
        "sparsity": sparsity,
        "n": len(found["accuracy"]),
        **{
            measure: {
                "mean": float(found[measure].mean()),
                "interval": mean_interval(found[measure], 0.95),
                "values": found[measure].tolist(),
            }
            for measure in ("accuracy", "balanced_accuracy")
        },
        "epochs": {"supermask": 0.0, "dense-budget": float(SEARCH)}.get(arm, float(EPOCHS)),
        "search_epochs": float(EPOCHS if arm in ("dense", "prune") else SEARCH),
        "measured_sparsity": sparsity or 0.0,
    }


def comparisons(draw: np.random.Generator, values: dict[Any, Any], sparsities: Sequence[float]) -> list[dict[str, Any]]:
    dense, found = values["dense", None], []
    for (arm, sparsity), mine in values.items():
        for measure in ("accuracy", "balanced_accuracy", "early_stopping") if arm != "dense" else ():
            if measure != "early_stopping":
                differences = 100 * (mine[measure] - dense[measure])
            elif arm == "supermask":
                continue
            else:
                differences = draw.normal(0.3, 0.5, len(dense["accuracy"]))
            primary = (arm, sparsity, measure) == ("ticket", sparsities[0], "accuracy")
            confidence = 0.95 if primary else 0.99
            interval = mean_interval(differences, confidence)
            found.append(
                {
                    "arm": arm,
                    "against": "dense",
                    "measure": measure,
                    "sparsity": sparsity,
                    "primary": primary,
                    "n": len(differences),
                    "seeds": list(range(len(differences))),
                    "differences": differences.tolist(),
                    "mean": float(differences.mean()),
                    "interval": interval,
                    "confidence": confidence,
                    "p": None if interval is None else float(stats.ttest_1samp(differences, 0).pvalue),
                    "p_holm": None,
                    "word": word(interval) if measure != "early_stopping" else None,
                    "more_seeds": 7 if word(interval) == "undecided" else None,
                    "margin": 0.25 if measure == "early_stopping" else 1.0,
                    "unit": "epochs" if measure == "early_stopping" else "points",
                }
            )
    secondary = sorted((row for row in found if row["p"] is not None and not row["primary"]), key=lambda row: row["p"])
    highest = 0.0
    for k, row in enumerate(secondary):
        highest = max(highest, min(1.0, row["p"] * (len(secondary) - k)))
        row["p_holm"] = highest
    return sorted(found, key=lambda row: not row["primary"])


def word(interval: list[float] | None, margin: float = 1.0) -> str | None:
    if interval is None:
        return None
    low, high = interval
    return "wins" if low > 0 else "loses" if high < -margin else "matches" if low > -margin else "undecided"


def layers(draw: np.random.Generator, sparsities: Sequence[float]) -> Iterator[dict[str, Any]]:
    names = ["conv1"] + [f"layer{a}.{b}.conv{c}" for a in (1, 2, 3, 4) for b in (0, 1) for c in (1, 2)]
    for sparsity in sparsities:
        for k, name in enumerate(names):
            middle = sparsity + (100 - sparsity) * (0.5 * k / len(names) - 0.25)
            yield {
                "sparsity": sparsity,
                "layer": name,
                "pruned": middle,
                "lowest": middle - 0.8,
                "highest": middle + 0.6,
                "of": 36864,
            }


def trainings(
    draw: np.random.Generator, arm: str, sparsity: float | None, seeds: Sequence[int], finals: np.ndarray
) -> Iterator[dict[str, Any]]:
    """A line per epoch and seed, four looks in each; the last ends at the seed's accuracy."""
    first = 1 if arm == "ticket-rewind" else 0
    last = SEARCH if arm == "dense-budget" else EPOCHS
    for seed, final in zip(seeds, finals.tolist(), strict=True):
        record = {"arm": arm, "seed": seed, "sparsity": sparsity, "measured_sparsity": sparsity or 0.0}
        if arm == "supermask":
            judged = {"valid_loss": 0.69, "accuracy": final, "balanced_accuracy": 0.5, "seconds": 1.0, "looks": []}
            yield {**record, "level_epoch": 0, "step": 0, "train_loss": None, **judged}
            continue
        for epoch in range(first, last):
            looks = []
            for quarter in (1, 2, 3, 4):
                share = (epoch + quarter / 4) / last
                accuracy = final - (final - 0.62) * (np.exp(-3 * share) - np.exp(-3)) + draw.normal(0, 0.004)
                looks.append(
                    {
                        "step": EPOCH_STEPS * epoch + EPOCH_STEPS * quarter // 4,
                        "loss": 0.52 + 0.2 * np.exp(-3 * share) + draw.normal(0, 0.004),
                        "accuracy": final if (epoch, quarter) == (last - 1, 4) else accuracy,
                    }
                )
            yield {
                **record,
                "level_epoch": epoch - first,
                "step": EPOCH_STEPS * (epoch + 1),
                "train_loss": looks[-1]["loss"] - 0.05,
                "valid_loss": looks[-1]["loss"],
                "accuracy": looks[-1]["accuracy"],
                "balanced_accuracy": looks[-1]["accuracy"] - 0.04,
                "seconds": 2.5,
                "looks": looks,
            }
