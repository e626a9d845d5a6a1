"""The figures of masks: how sparse each layer is, and whether the seeds keep the same weights."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from lthrun.experiments.summaries import RunSummary, StudySummary
from lthrun.report.figures.layout import Margins, draw_interval, label_right, make_panels, move_apart
from lthrun.report.figures.plot import FIGURES, Plot, Row
from lthrun.report.figures.style import BLUE, DOTTED, INK, MUTED, ArmStyle, arm_style
from lthrun.report.wording import percent

OVERLAP_WIDTH = 5.6  # inches
MARKERS = "osD^vPX*hp"
LONGEST = 24  # characters of a layer's name


@FIGURES.register("Do the seeds find the same ticket?", "mask-overlap", of="StudySummary")
def mask_overlap(summary: StudySummary, metrics: Sequence[Row]) -> Plot:
    rows = [row.model_dump() for row in summary.overlap]
    return Plot(
        "Weights that the tickets of two seeds both keep, in percent of those that either keeps: the mean over all "
        "pairs of seeds, with a line from lowest to highest, beside what two random masks would share.",
        rows,
        lambda narrow: draw_overlap(rows, narrow),
        OVERLAP_WIDTH,
    )


def draw_overlap(rows: Sequence[Row], narrow: bool) -> Figure:
    figure, (axes,) = make_panels(narrow, 1, 2.2, Margins(left=0.42, right=1.1, bottom=0.65), wide=OVERLAP_WIDTH)
    axes.set_title("kept by both, %")
    axes.set_xlabel("sparsity, and overlap as a multiple of chance")
    x = range(len(rows))
    ticket, chance = arm_style("ticket"), ArmStyle(MUTED, "o", DOTTED, True)
    axes.plot(x, [100 * row["chance"] for row in rows], **chance.stroke | chance.dot)
    axes.plot(x, [100 * row["overlap"] for row in rows], **ticket.stroke)
    for at, row in zip(x, rows, strict=True):
        draw_interval(axes, at, 100 * row["overlap"], (100 * row["lowest"], 100 * row["highest"]), ticket)
    multiples = [f"\n{row['overlap'] / row['chance']:.2f} ×" if row["chance"] else "" for row in rows]
    axes.set_xticks(list(x), [percent(row["sparsity"]) + more for row, more in zip(rows, multiples, strict=True)])
    axes.set_xlim(-0.4, len(rows) - 0.6)
    axes.set_ylim(0, 115 * max(max(row["highest"], row["chance"]) for row in rows))
    label_right(axes, [(100 * rows[-1]["overlap"], "tickets", ticket), (100 * rows[-1]["chance"], "chance", chance)])
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
    headings = move_apart(sparsities, 10 if narrow else 5, 100)
    for k, (sparsity, heading) in enumerate(zip(sparsities, headings, strict=True)):
        style = ArmStyle(BLUE, MARKERS[k % len(MARKERS)], is_hollow=k % 2 == 1)
        axes.axvline(sparsity, color=MUTED, linewidth=0.5)
        label = f"{sparsity:.4g}" if narrow else percent(sparsity)
        axes.text(heading, 1.01, label, transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=7.5)
        for row in rows:
            if row["sparsity"] == sparsity:
                ends = None if row["lowest"] is None else (row["lowest"], row["highest"])
                draw_interval(axes, row["pruned"], names.index(row["layer"]), ends, style, True, 4)
    return figure


def shorten(name: str) -> str:
    """The end of a layer's name, which tells it apart."""
    return name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}"
