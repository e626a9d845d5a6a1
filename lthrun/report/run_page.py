"""The page of one run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lthrun.report.connectivity_tables import decided, stable_from
from lthrun.report.page import GOOD, OPEN, Page, Sheet
from lthrun.report.records import Records
from lthrun.report.run_figures import run_plots
from lthrun.report.tables import clock, what, with_interval
from lthrun.report.wording import beside_chance, beside_majority, images, majority, percent


def run_page(records: Records) -> Page:
    """What one run found, beside the majority rate."""
    summary = records.summary
    mask = summary.get("supermask")
    if "connectivity" in summary:
        word, tone, sentences = judged_paths(summary["connectivity"])
    else:
        word, tone, sentences = judged_mask(summary, mask) if mask else judged(summary)
    return Page(
        title=what(summary),
        about=f"One run: {summary['experiment']}, seed {summary['seed']}",
        word=word,
        tone=tone,
        sentences=sentences,
        facts=list(facts(summary)),
        notes=["one seed: the intervals speak of other images, not of other seeds"],
        missing=[],
        plots=run_plots(summary, records.metrics),
        sheets=list(sheets(summary)),
        differs=summary["differs"],
    )


def judged(summary: dict[str, Any]) -> tuple[str, str, list[str]]:
    """Whether the network is any better than always giving the same answer."""
    word = beside_majority(summary["accuracy_interval"], summary["majority_rate"])
    which = f"With {percent(summary['sparsity'])} of its weights pruned, the" if summary["sparsity"] else "The dense"
    said = f"{which} network is right about {100 * summary['accuracy']:.1f} % of the images: {word} the majority rate."
    beside = f"{100 * summary['majority_rate']:.1f} % is what always answering the most common class would give."
    return f"{word} the majority rate", GOOD if word == "above" else OPEN, [said, beside]


def judged_mask(summary: dict[str, Any], mask: dict[str, Any]) -> tuple[str, str, list[str]]:
    """Whether a mask on weights that were never trained is any better than chance."""
    good = mask["better_than_chance"]
    said = f"On weights that were never trained the mask is right about {correct(mask, summary['n_valid'])}."
    return (
        "better than chance" if good else "not shown to be better than chance",
        GOOD if good else OPEN,
        [f"The supermask is {beside_chance(summary, mask)}.", said],
    )


def judged_paths(paths: Sequence[dict[str, Any]]) -> tuple[str, str, list[str]]:
    """From which rewind points two orders of the images end in networks with no barrier between them."""
    said = {
        network: stable_from([path for path in paths if path["network"] == network]) for network in ("dense", "ticket")
    }
    word = decided(paths[-1])
    return (
        word,
        GOOD if word == "stable" else OPEN,
        [f"The ticket is {said['ticket']}.", f"The dense network is {said['dense']}.",
         "Stable: the error barrier between two trainings in different orders is below 2 points, with its interval."],
    )  # fmt: skip


def correct(found: dict[str, Any], n: int) -> str:
    low, high = (100 * end for end in found["accuracy_interval"])
    return f"{100 * found['accuracy']:.1f} % of the images (95 % interval {low:.1f} to {high:.1f}, n = {n:,})"


def facts(summary: dict[str, Any]) -> Iterable[tuple[str, str]]:
    mask, n, chance = summary.get("supermask"), summary["n_valid"], 100 / len(summary["classes"])
    for name, found in (("The mask: ", mask), ("The ticket, trained: " if mask else "", summary)):
        if found and not (mask and found is summary and mask["method"] != "lth"):
            accuracy, balanced = shares(found)
            yield upper(f"{name}accuracy"), f"{accuracy} %, with 95 % interval, n = {n:,}"
            yield upper(f"{name}balanced accuracy"), f"{balanced} %, with 95 % interval; chance is {chance:.0f} %"
    yield "Majority rate", majority(summary)
    total = sum(of for _, of in summary["levels"][-1]["layers"].values())
    yield "Sparsity", f"{summary['sparsity']:.2f} % of {total:,} prunable weights"
    yield "Images", images(summary)
    yield "Training", f"{clock(summary['seconds'])} on {summary['device']} in {summary['precision']}"


def upper(name: str) -> str:
    return name[0].upper() + name[1:]


def sheets(summary: dict[str, Any]) -> Iterable[Sheet]:
    if "supermask" in summary:
        yield mask_sheet(summary, summary["supermask"])
    if "connectivity" in summary:
        yield path_sheet(summary["connectivity"])
    yield Sheet(
        "Levels",
        ["level", "sparsity, %", "accuracy, %", "balanced, %", "best look, %", "epochs", "time", "taken over"],
        [
            [
                str(level["level"]), f"{level['sparsity']:.2f}",
                with_interval(level["accuracy"], level["accuracy_interval"]),
                with_interval(level["balanced_accuracy"], level["balanced_accuracy_interval"]),
                f"{100 * level['best_accuracy']:.1f} of {level['epochs']}", str(level["epochs"]),
                clock(level["seconds"]), "yes" if level["reused"] else "no",
            ]
            for level in summary["levels"]
        ],
        f"After the last epoch, with 95 % intervals over {summary['n_valid']:,} images. The best look is the best of "
        "so many epochs, and so too good.",
    )  # fmt: skip
    if summary["sparsity"] > 0:
        layers = summary["levels"][-1]["layers"]
        zero, total = (sum(column) for column in zip(*layers.values(), strict=True))
        yield Sheet(
            "Pruned weights per layer, counted at the end",
            ["layer", "pruned", "of", "sparsity, %"],
            [[name.removesuffix(".weight"), f"{z:,}", f"{of:,}", f"{100 * z / of:.2f}"]
             for name, (z, of) in [*layers.items(), ("all", (zero, total))]],
        )  # fmt: skip


def path_sheet(paths: Sequence[dict[str, Any]]) -> Sheet:
    """The error barrier of each network from each rewind point."""
    return Sheet(
        "The error barrier between two orders of the images",
        ["network", "rewind point", "sparsity, %", "accuracy of the ends, %", "barrier, points", ""],
        [
            [
                path["network"], path["rewind_point"], f"{path['sparsity']:.2f}",
                ", ".join(f"{100 * end['accuracy']:.1f}" for end in path["ends"]),
                with_interval(path["barrier"], path["interval"]), decided(path),
            ]
            for path in paths
        ],
        "The highest error on the way minus the mean of its ends, with 95 % intervals over the validation images.",
    )  # fmt: skip


def mask_sheet(summary: dict[str, Any], mask: dict[str, Any]) -> Sheet:
    """The mask beside what it has to beat."""
    rows = [["the mask", *shares(mask)]]
    rows += [[f"at {level['sparsity']:.2f} %", *shares(level)] for level in mask.get("levels", [])[:-1]]
    if "sampled" in mask:
        rows.append([f"{mask['sampled']['n']} sampled masks", *spreads(mask["sampled"])])
    rows.append(["untrained, dense", *shares(mask["dense"])])
    rows.append([f"{mask['random']['n']} random masks", *spreads(mask["random"])])
    if mask["method"] == "lth":
        rows.append(["the ticket, trained", *shares(summary)])
    unchanged = mask.get("weights_unchanged")
    weights = {
        None: "", True: " The weights are bit-identical to initialisation.",
        False: " The weights CHANGED in training: this is a fault.",
    }[unchanged]  # fmt: skip
    return Sheet(
        f"The mask ({mask['method']}) on weights that were never trained",
        ["what", "accuracy, %", "balanced, %"],
        rows,
        f"Batch norm: {mask['batch_norm']}. With 95 % intervals over {summary['n_valid']:,} images; of several masks "
        f"the mean, from the lowest to the highest.{weights}",
    )


def shares(found: dict[str, Any]) -> list[str]:
    return [with_interval(found[key], found[f"{key}_interval"]) for key in ("accuracy", "balanced_accuracy")]


def spreads(found: dict[str, Any]) -> list[str]:
    return [
        with_interval(found[key]["mean"], (found[key]["lowest"], found[key]["highest"]))
        for key in ("accuracy", "balanced_accuracy")
    ]
