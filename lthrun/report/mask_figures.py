"""The figures of masks: how sparse each layer is, and whether the seeds keep the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from lthrun.report.figure_style import (
    BLUE,
    DOTTED,
    INK,
    MUTED,
    PAPER,
    Look,
    Margins,
    Plot,
    apart,
    error_bars,
    label_right,
    look,
    panels,
)  # fmt: skip
from lthrun.report.wording import percent

OVERLAP = 5.6  # inches
MARKERS = "osD^vPX*hp"


def layer_sparsity(layers: Sequence[dict[str, Any]]) -> Plot:
    """How much of each layer is pruned, at each sparsity of the whole."""
    keys = ("sparsity", "layer", "pruned", "lowest", "highest", "of")
    rows = [{key: layer[key] for key in keys} for layer in layers]
    return Plot(
        "sparsity-per-layer",
        "Sparsity of the ticket, layer by layer",
        "Percent of each layer's weights that are zero, in the model's order: the mean over the seeds, with a line "
        "from the lowest to the highest. Vertical lines: the sparsity of the whole.",
        rows,
        lambda narrow: draw_layers(rows, narrow),
    )


def draw_layers(rows: Sequence[dict[str, Any]], narrow: bool) -> Figure:
    names = list(dict.fromkeys(row["layer"] for row in rows))
    height = max(1.2, (0.165 if len(names) <= 40 else 0.09) * len(names))
    figure, (axes,) = panels(narrow, 1, height, Margins(left=1.4, top=0.4))
    axes.set_ylim(len(names) - 0.4, -0.6)
    every = 1 if len(names) <= 40 else 2
    axes.set_yticks(range(0, len(names), every), [short(name) for name in names[::every]], fontsize=7, color=INK)
    axes.set_xlabel("pruned, %")
    axes.set_xlim(-2, 102)
    sparsities = list(dict.fromkeys(row["sparsity"] for row in rows))
    headings = apart(sparsities, 10 if narrow else 5, 100)
    for k, (sparsity, heading) in enumerate(zip(sparsities, headings, strict=True)):
        shown = Look(BLUE, MARKERS[k % len(MARKERS)], hollow=k % 2 == 1)
        axes.axvline(sparsity, color=MUTED, linewidth=0.5)
        said = f"{sparsity:.4g}" if narrow else percent(sparsity)
        at = axes.get_xaxis_transform()
        axes.text(heading, 1.01, said, transform=at, ha="center", va="bottom", fontsize=7.5)
        for row in rows:
            if row["sparsity"] == sparsity:
                y = names.index(row["layer"])
                error_bars(axes, row["pruned"], y, row["lowest"], row["highest"], shown, upright=False, markersize=4)
    return figure


def short(name: str) -> str:
    """A layer's name, short enough to stand beside the figure: its end tells it apart."""
    name = name.removesuffix(".weight")
    return name if len(name) <= 24 else f"…{name[-23:]}"


def mask_overlap(overlap: Sequence[dict[str, Any]]) -> Plot:
    """How many weights the tickets of two seeds keep in common."""
    keys = ("sparsity", "pairs", "overlap", "lowest", "highest", "chance")
    rows = [{key: row[key] for key in keys} for row in overlap]
    return Plot(
        "mask-overlap",
        "Do the seeds find the same ticket?",
        "Weights that the tickets of two seeds both keep, in percent of those that either keeps: the mean over all "
        "pairs of seeds, with a line from the lowest to the highest, beside what two random masks would share.",
        rows,
        lambda narrow: draw_overlap(rows, narrow),
        OVERLAP,
    )


def draw_overlap(rows: Sequence[dict[str, Any]], narrow: bool) -> Figure:
    figure, (axes,) = panels(narrow, 1, 2.2, Margins(left=0.42, right=1.1, bottom=0.65), wide=OVERLAP)
    axes.set_title("kept by both, %")
    axes.set_xlabel("sparsity, and overlap as a multiple of chance")
    x = range(len(rows))
    ticket, chance = look("ticket"), Look(MUTED, "o", DOTTED, True)
    axes.plot(
        x, [100 * row["chance"] for row in rows], color=MUTED, linestyle=DOTTED, marker="o", markerfacecolor=PAPER
    )
    axes.plot(x, [100 * row["overlap"] for row in rows], color=ticket.color, linewidth=1.1)
    for at, row in zip(x, rows, strict=True):
        error_bars(axes, at, 100 * row["overlap"], 100 * row["lowest"], 100 * row["highest"], ticket)
    times = [f"\n{row['overlap'] / row['chance']:.2f} ×" if row["chance"] else "" for row in rows]
    axes.set_xticks(list(x), [percent(row["sparsity"]) + more for row, more in zip(rows, times, strict=True)])
    axes.set_xlim(-0.4, len(rows) - 0.6)
    axes.set_ylim(0, 115 * max(max(row["highest"], row["chance"]) for row in rows))
    label_right(axes, [(100 * rows[-1]["overlap"], "tickets", ticket), (100 * rows[-1]["chance"], "chance", chance)])
    return figure
