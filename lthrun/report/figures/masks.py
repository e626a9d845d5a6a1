"""The figures of masks: how sparse each layer is, and what masks have in common."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from lthrun.analysis.study_records import OverlapKind
from lthrun.experiments.summaries import RunSummary, StudySummary
from lthrun.report.figures.layout import (
    LineEnd,
    Margins,
    draw_interval,
    fit_labels,
    label_right,
    make_panels,
    move_apart,
)
from lthrun.report.figures.plot import FIGURES, Plot, Row
from lthrun.report.figures.style import BLUE, DOTTED, INK, MUTED, ArmStyle, arm_style
from lthrun.report.wording import SEEDS_OVERLAP, percent

OVERLAP_WIDTH = 5.6  # inches
CHANCE = ArmStyle(MUTED, "o", DOTTED, True)
OVERLAP_STYLES: dict[OverlapKind, tuple[str, ArmStyle]] = {
    "large-init": ("largest initial", arm_style("large-init")),
    "orders": ("another order", arm_style("ticket")),
    "seeds": ("another seed", arm_style("random-init")),
}
MARKERS = "osD^vPX*hp"
MOST_MOVED = 6  # headings; more would end far from their lines
LONGEST = 24  # characters of a layer's name


@FIGURES.register("What a ticket's mask has in common with others", "mask-overlap", of="StudySummary")
def mask_overlap(summary: StudySummary, metrics: Sequence[Row]) -> Plot:
    rows = [row.model_dump() for row in summary.overlap]
    has_orders = any(row.kind == "orders" for row in summary.overlap)
    order = ", and beside the ticket of another order of the images" if has_orders else ""
    return Plot(
        "Weights that two masks both keep, in percent of those that either keeps: the mean over all pairs, with a line "
        "from lowest to highest, beside what random masks would share. A ticket's mask beside that of the largest "
        f"initial weights of its seed{order}. {SEEDS_OVERLAP}",
        rows,
        lambda narrow: draw_overlap(rows, narrow),
        OVERLAP_WIDTH,
    )


def draw_overlap(rows: Sequence[Row], narrow: bool) -> Figure:
    figure, (axes,) = make_panels(narrow, 1, 2.2, Margins(left=0.42, right=1.6), wide=OVERLAP_WIDTH)
    axes.set_title("kept by both, %")
    axes.set_xlabel("sparsity")
    sparsities = sorted({row["sparsity"] for row in rows})
    ends: list[LineEnd] = []
    for kind, (name, style) in OVERLAP_STYLES.items():
        own = [row for row in rows if row["kind"] == kind]
        x = [sparsities.index(row["sparsity"]) for row in own]
        axes.plot(x, [100 * row["overlap"] for row in own], **style.stroke)
        for at, row in zip(x, own, strict=True):
            draw_interval(axes, at, 100 * row["overlap"], (100 * row["lowest"], 100 * row["highest"]), style)
        ends += [(100 * row["overlap"], name, style) for row in own[-1:]]
    first = [row for row in rows if row["kind"] == rows[0]["kind"]]
    x = [sparsities.index(row["sparsity"]) for row in first]
    axes.plot(x, [100 * row["chance"] for row in first], **CHANCE.stroke | CHANCE.dot)
    axes.set_xlim(-0.4, len(sparsities) - 0.6)
    axes.set_xticks(range(len(sparsities)), fit_labels(axes, range(len(sparsities)), list(map(percent, sparsities))))
    axes.set_ylim(0, 115 * max(max(row["highest"], row["chance"]) for row in rows))
    label_right(axes, [*ends, (100 * first[-1]["chance"], "chance", CHANCE)])
    return figure


@FIGURES.register("Sparsity of the tickets, layer by layer", "sparsity-per-layer", of="StudySummary")
def ticket_layers(summary: StudySummary, metrics: Sequence[Row]) -> Plot:
    rows = [layer.model_dump() for layer in summary.layers]
    return Plot(
        "Percent of each layer's weights that are zero, in the model's order: the mean over seeds, with a line from "
        "lowest to highest. Vertical lines: the sparsity of the whole.",
        rows,
        lambda narrow: draw_layers(rows, narrow),
    )


@FIGURES.register("Sparsity, layer by layer", "pruned-per-layer")
def run_layers(summary: RunSummary, metrics: Sequence[Row]) -> Plot:
    layers = summary.levels[-1].layers if summary.sparsity > 0 else {}
    rows = [
        {"layer": name.removesuffix(".weight"), "zero": zero, "total": total, "pruned": 100 * zero / total}
        for name, (zero, total) in layers.items()
    ]
    drawn = [{**row, "sparsity": summary.sparsity, "lowest": None, "highest": None} for row in rows]
    return Plot(
        "Percent of each layer's weights that are zero at the end, counted, in the model's order. Vertical line: the "
        "sparsity of the whole.",
        rows,
        lambda narrow: draw_layers(drawn, narrow),
    )


def draw_layers(rows: Sequence[Row], narrow: bool) -> Figure:
    names = list(dict.fromkeys(row["layer"] for row in rows))
    is_long = len(names) > 40
    height = max(1.2, (0.09 if is_long else 0.165) * len(names))
    figure, (axes,) = make_panels(narrow, 1, height, Margins(left=1.4, top=0.4))
    axes.set_ylim(len(names) - 0.4, -0.6)
    every = 2 if is_long else 1
    axes.set_yticks(range(0, len(names), every), list(map(shorten, names[::every])), fontsize=7, color=INK)
    axes.set_xlabel("pruned, %")
    axes.set_xlim(-2, 102)
    sparsities = list(dict.fromkeys(row["sparsity"] for row in rows))
    headings = move_apart(sparsities, 10 if narrow else 5, 100) if len(sparsities) <= MOST_MOVED else sparsities
    labels = fit_labels(axes, headings, [f"{sparsity:.4g}" if narrow else percent(sparsity) for sparsity in sparsities])
    for k, (sparsity, heading, label) in enumerate(zip(sparsities, headings, labels, strict=True)):
        style = ArmStyle(BLUE, MARKERS[k % len(MARKERS)], is_hollow=k % 2 == 1)
        axes.axvline(sparsity, color=MUTED, linewidth=0.5)
        axes.text(heading, 1.01, label, transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=7.5)
        for row in rows:
            if row["sparsity"] == sparsity:
                ends = None if row["lowest"] is None else (row["lowest"], row["highest"])
                draw_interval(axes, row["pruned"], names.index(row["layer"]), ends, style, True, 4)
    return figure


def shorten(name: str) -> str:
    """The end of a layer's name, which tells it apart."""
    return name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}"
