"""The figure of a connectivity run: the error on the line between two trainings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from lthrun.report.figure_style import DASHED, DOTTED, FAINT, Look, Margins, Plot, label_right, look, panels

STYLES = ("-", DASHED, DOTTED)


def error_on_the_way(paths: Sequence[dict[str, Any]]) -> Plot:
    """Errors of the networks between the two ends, of each network from each rewind point."""
    rows = [
        {"rewind_point": path["rewind_point"], "network": path["network"], "alpha": alpha, "error": error, "loss": loss}
        for path in paths
        for alpha, error, loss in zip(path["alphas"], path["errors"], path["losses"], strict=True)
    ]
    return Plot(
        "error-on-the-way",
        "Error between two trainings",
        "Share of the validation images answered wrongly by the networks on the straight line between two trainings "
        "that differ in the order of the images alone, batch norm re-estimated at each place. A hill between the ends "
        "is an error barrier.",
        rows,
        lambda narrow: draw_paths(paths, narrow),
    )


def draw_paths(paths: Sequence[dict[str, Any]], narrow: bool) -> Figure:
    networks = [name for name in ("dense", "ticket") if any(path["network"] == name for path in paths)]
    figure, all_axes = panels(narrow, len(networks), 2.4, Margins(left=0.45, right=0.9, between=1.0))
    top = 100 * max(error for path in paths for error in path["errors"])
    for axes, network in zip(all_axes, networks, strict=True):
        axes.set_title(f"{network}: error, %")
        axes.set_xlabel("place between the two")
        axes.set_ylim(0, 1.08 * top)
        axes.axvline(0.5, color=FAINT, linewidth=0.6)
        ends = []
        for k, path in enumerate(path for path in paths if path["network"] == network):
            shown = Look(look(network).color, "osD^vPX"[k % 7], STYLES[k % len(STYLES)], k % 2 == 1)
            errors = [100 * error for error in path["errors"]]
            axes.plot(path["alphas"], errors, color=shown.color, linestyle=shown.line, marker=shown.marker,
                      markerfacecolor=shown.face, markersize=4, linewidth=1.2)  # fmt: skip
            ends.append((errors[-1], f"from {path['rewind_point']}", shown))
        label_right(axes, ends)
    return figure
