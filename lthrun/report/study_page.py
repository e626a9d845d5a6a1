"""The page of a study."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lthrun.report.page import BAD, GOOD, OPEN, Page, Sheet
from lthrun.report.records import Records
from lthrun.report.study_figures import study_plots
from lthrun.report.tables import clock, plural
from lthrun.report.wording import (
    MEASURES,
    at,
    confidences,
    difference,
    epochs,
    images,
    majority,
    missing,
    p_value,
    percent,
    share,
)  # fmt: skip

TONES = {"wins": GOOD, "matches": GOOD, "loses": BAD}


def study_page(records: Records) -> Page:
    """Verdict, figures and tables of a comparison."""
    summary = records.summary
    verdict = summary["verdict"]
    arms, seeds = plural(len(summary["arms"]), "arm"), plural(len(summary["seeds"]), "seed")
    return Page(
        title=summary["question"],
        about=f"Comparison of {arms} over {seeds} ({', '.join(map(str, summary['seeds']))})",
        word=verdict["word"] or "no verdict",
        tone=TONES.get(verdict["word"], OPEN),
        sentences=verdict["sentences"] or ["There is no verdict."],
        facts=list(facts(summary)),
        notes=summary["notes"],
        missing=[missing(row) for row in summary["missing"]],
        plots=study_plots(summary, records.metrics),
        sheets=list(sheets(summary)),
        differs=summary["differs"],
    )


def facts(summary: dict[str, Any]) -> Iterable[tuple[str, str]]:
    for row in summary["comparisons"]:
        if row["primary"]:
            where = "" if row["sparsity"] is None else f" at {percent(row['sparsity'])}"
            sure = f"with {confidences([row])} interval, n = {row['n']}"
            name = f"Primary: {MEASURES[row['measure']]}, {row['arm']} minus {row['against']}{where}"
            yield name, f"{difference(row)} {row['unit']}, {sure}"
            if row["more_seeds"]:
                yield "To decide it", f"about {plural(row['more_seeds'], 'more seed')}"
    yield "Margin of equality", f"±{summary['margin']:g} points"
    yield "Majority rate", majority(summary)
    yield "Images", images(summary)
    trained, taken = (summary["levels"][key] for key in ("trained", "taken_over"))
    spent = f"{clock(summary['seconds'])} on {summary['device']} in {summary['precision']}"
    yield "Training", f"{plural(trained, 'level')} trained, {taken} taken over, {spent}"


def sheets(summary: dict[str, Any]) -> Iterable[Sheet]:
    about = [[arm, summary["about"].get(arm, "")] for arm in summary["arms"]]
    yield Sheet("What was compared", ["arm", "what it is"], about, texts=frozenset({"what it is"}))
    yield cells_sheet(summary)
    rows = summary["comparisons"]
    primary = [row for row in rows if row["primary"]]
    if primary:
        yield differences_sheet("Primary comparison", primary, False)
    for measure, said in MEASURES.items():
        secondary = [row for row in rows if row["measure"] == measure and not row["primary"]]
        if secondary:
            yield differences_sheet(f"Differences in {said}: secondary, Holm-corrected", secondary, True)
    if summary["reach"]:
        yield reach_sheet(summary["reach"])
    if summary["overlap"]:
        yield overlap_sheet(summary["overlap"])


def reach_sheet(rows: list[dict[str, Any]]) -> Sheet:
    return Sheet(
        "How soon the dense network’s final accuracy is reached",
        ["arm", "sparsity", "seeds that reach it", "median epochs"],
        [[row["arm"], at(row["sparsity"]), f"{row['reached']} of {row['of']}", epochs(row)] for row in rows],
        "The first moment at which a training is as accurate as the dense network of the same seed is in the end.",
    )


def overlap_sheet(rows: list[dict[str, Any]]) -> Sheet:
    shown = ("overlap", "lowest", "highest", "chance")
    return Sheet(
        "Weights that the tickets of two seeds both keep",
        ["sparsity", "both keep, %", "lowest", "highest", "chance, %", "pairs of seeds"],
        [[percent(row["sparsity"]), *(f"{100 * row[key]:.1f}" for key in shown), str(row["pairs"])] for row in rows],
        "In percent of the weights that either keeps.",
    )


def cells_sheet(summary: dict[str, Any]) -> Sheet:
    return Sheet(
        "Accuracy",
        ["arm", "sparsity", "accuracy, %", "n", "balanced, %", "epochs", "with its search", "sparsity counted, %"],
        [
            [
                cell["arm"], at(cell["sparsity"]), share(cell["accuracy"]), str(cell["n"]),
                share(cell["balanced_accuracy"]), f"{cell['epochs']:g}", f"{cell['search_epochs']:g}",
                f"{cell['measured_sparsity']:.2f}",
            ]
            for cell in summary["cells"]
        ],
        "Mean of n seeds after the last epoch, with the 95 % interval of the mean over other seeds. Epochs of the last "
        "training, and with everything trained before it. Sparsity as asked for, and as counted on the weights.",
    )  # fmt: skip


def differences_sheet(title: str, rows: list[dict[str, Any]], corrected: bool) -> Sheet:
    unit, p = rows[0]["unit"], "p, Holm" if corrected else "p"
    return Sheet(
        title,
        ["arm", "sparsity", f"difference, {unit}", "n", "verdict", p, "more seeds", "against"],
        [
            [
                row["arm"], at(row["sparsity"]), difference(row), str(row["n"]), row["word"] or "–",
                p_value(row["p_holm"] if corrected else row["p"]),
                "–" if row["more_seeds"] is None else f"about {row['more_seeds']}", row["against"],
            ]
            for row in rows
        ],
        f"Mean of the paired differences of n seeds, with its {confidences(rows)} interval. More seeds: about how many "
        "more would decide.",
        texts=frozenset({"against", "verdict"}),
    )  # fmt: skip
