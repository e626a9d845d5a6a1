"""One color, marker and line style for each arm, the same in all figures; legible in gray, on light and dark pages.

Colors are those of Okabe and Ito (2008), which color-blind readers can tell apart; none is used without a marker or a
line style.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from zlib import crc32

INK, MUTED, FAINT, PAPER = "#1b1f24", "#676d75", "#e3e5e8", "#ffffff"
ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE = "#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00", "#cc79a7"
GRAY = "#999999"
# What replaces these on a dark page; the other colors are visible on both.
DARK = {INK: "#e8e6e3", MUTED: "#a2a8b0", FAINT: "#32363c", PAPER: "#15171a", BLUE: "#4aa5dc"}
WIDE, NARROW = 8.6, 3.9  # inches
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
RC_PARAMS: dict[str, Any] = {
    "font.size": 9, "axes.titlesize": 9, "axes.titlelocation": "left", "axes.titlepad": 8, "axes.titlecolor": INK,
    "axes.labelcolor": MUTED, "axes.edgecolor": MUTED, "axes.linewidth": 0.6, "axes.spines.top": False,
    "axes.spines.right": False, "axes.axisbelow": True, "axes.grid": True, "axes.grid.axis": "y",
    "axes.unicode_minus": True, "axes.facecolor": "none", "figure.facecolor": PAPER, "grid.color": FAINT,
    "grid.linewidth": 0.6, "xtick.color": MUTED, "ytick.color": MUTED, "xtick.major.size": 3, "ytick.major.size": 0,
    "text.color": INK, "lines.linewidth": 1.2, "lines.markersize": 4, "path.simplify": False,
    "svg.fonttype": "none", "svg.hashsalt": "lthrun",
}  # fmt: skip


class ArmStyle(NamedTuple):
    """Color, marker and line; hollow and dashed for the sibling of the arm whose color it shares."""

    color: str
    marker: str = "o"
    line: Any = "-"
    is_hollow: bool = False

    @property
    def stroke(self) -> dict[str, Any]:
        """matplotlib's properties of a line without markers."""
        return {"color": self.color, "linestyle": self.line}

    @property
    def dot(self) -> dict[str, Any]:
        """Those of a marker."""
        face = PAPER if self.is_hollow else self.color
        return {"color": self.color, "marker": self.marker, "markerfacecolor": face}

    @property
    def sibling(self) -> ArmStyle:
        """The style of a second measure of the same arm."""
        return self._replace(line=DASHED, is_hollow=True)


DASHED, DOTTED, DASHDOT = (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5))
ARM_STYLES = {
    "dense": ArmStyle(INK, "o"),
    "dense-budget": ArmStyle(INK, "o", DASHED, True),
    "ticket": ArmStyle(BLUE, "s"),
    "ticket-rewind": ArmStyle(VERMILLION, "D"),
    "lr-rewind": ArmStyle(VERMILLION, "D", DASHED, True),
    "supermask": ArmStyle(PURPLE, "*", DOTTED),
    "random-mask": ArmStyle(ORANGE, "^", DASHED),
    "random-init": ArmStyle(SKY, "v", DASHED),
    "large-init": ArmStyle(GREEN, "P", DASHED, True),
    "one-shot": ArmStyle(GREEN, "P", DASHDOT),
    "prune": ArmStyle(GRAY, "X", DASHDOT),
}
MAJORITY = ArmStyle(MUTED, "", DOTTED)
PALETTE = (ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE)
SPARE_MARKERS = "hp<>d8H"  # of no arm above


def arm_style(arm: str) -> ArmStyle:
    """The style of an arm. One without an entry gets a style by its name, so that a new arm needs no entry."""
    if arm in ARM_STYLES:
        return ARM_STYLES[arm]
    number, color = divmod(crc32(arm.encode(errors="replace")), len(PALETTE))
    number, marker = divmod(number, len(SPARE_MARKERS))
    return ArmStyle(PALETTE[color], SPARE_MARKERS[marker], DASHDOT, number % 2 == 1)
