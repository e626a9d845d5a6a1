"""The error on the straight line between two trainings that differ in data order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from lthrun.report.figures.layout import LineEnd, Margins, label_right, make_panels
from lthrun.report.figures.plot import FIGURES, Plot, Row
from lthrun.report.figures.style import DASHED, DOTTED, FAINT, ArmStyle, arm_style

if TYPE_CHECKING:
    from lthrun.experiments.connectivity import ConnectivitySummary, PathResult

LINES = ("-", DASHED, DOTTED)
MARKERS = "osD^vPX"


@FIGURES.register("Error between two trainings", "error-path", of="ConnectivitySummary")
def error_path(summary: ConnectivitySummary, metrics: Sequence[Row]) -> Plot:
    """Errors of the networks between the two ends, for each network and rewind point."""
    rows = [
        {"rewind_point": path.rewind_point, "network": path.network, "alpha": alpha, "error": error, "loss": loss}
        for path in summary.connectivity
        for alpha, error, loss in zip(path.alphas, path.errors, path.losses, strict=True)
    ]
    return Plot(
        "Error on the validation images of the networks on the straight line between two trainings that differ in "
        "data order alone, batch norm re-estimated at each point. A hill between the ends is an error barrier.",
        rows,
        lambda narrow: draw(summary.connectivity, narrow),
    )


def draw(paths: Sequence[PathResult], narrow: bool) -> Figure:
    networks = [name for name in ("dense", "ticket") if any(path.network == name for path in paths)]
    figure, all_axes = make_panels(narrow, len(networks), 2.4, Margins(left=0.45, right=1.15, between=1.25))
    top = 100 * max(error for path in paths for error in path.errors)
    for axes, network in zip(all_axes, networks, strict=True):
        axes.set_title(f"{network}: error, %")
        axes.set_xlabel("position between the two")
        axes.set_ylim(0, 1.08 * top)
        axes.axvline(0.5, color=FAINT, linewidth=0.6)
        ends: list[LineEnd] = []
        for k, path in enumerate(path for path in paths if path.network == network):
            line, marker = LINES[k % len(LINES)], MARKERS[k % len(MARKERS)]
            style = ArmStyle(arm_style(network).color, marker, line, k % 2 == 1)
            errors = [100 * error for error in path.errors]
            axes.plot(path.alphas, errors, **style.stroke | style.dot)
            ends.append((errors[-1], f"from {path.rewind_point}", style))
        label_right(axes, ends)
    return figure
