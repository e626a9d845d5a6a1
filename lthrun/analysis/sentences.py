"""The verdict of a study in sentences that a person understands, for both halves of the hypothesis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lthrun.analysis.verdict import CONTROLS, FEWEST, winning
from lthrun.report.wording import signed

if TYPE_CHECKING:
    from lthrun.analysis.findings import Design


def verdict(comparisons: Sequence[dict[str, Any]], reach: Sequence[dict[str, Any]], design: Design) -> dict[str, Any]:
    """The word for the primary question, whether the ticket is a winning one, and both halves in sentences."""
    first = comparisons[0] if comparisons and comparisons[0]["primary"] else None
    if first is None:
        absent = [arm for arm in ("ticket", "dense") if arm not in design.rivals]
        why = f"{' and '.join(absent)} not compared" if absent else "no seed has both of them"
        none = f"No verdict: its question is about the arms ticket and dense, and {why}."
        return {"word": None, "winning_ticket": None, "sentences": [none]}
    won = winning(comparisons, design.sparsities[0])
    said = [accuracy_said(first, design), *([winning_said(comparisons, won, design)] if first["word"] else [])]
    return {"word": first["word"], "winning_ticket": won, "sentences": [*said, *time_said(comparisons, reach, design)]}


def accuracy_said(first: Mapping[str, Any], design: Design) -> str:
    n = first["n"]
    if first["word"] is None:
        return (
            f"No verdict: {n} {'seed has' if n == 1 else 'seeds have'} both ticket and dense, and fewer than {FEWEST} "
            "say nothing about how much a result depends on chance."
        )
    name = f"The ticket at {first['sparsity']:g} %"
    shown = f"{signed(first['mean'])} points ({interval(first)}, {n} seeds)"
    said: dict[str, Callable[[], str]] = {
        "wins": lambda: f"{name} wins: after the same training it is more accurate than the dense network, {shown}.",
        "matches": lambda: (
            f"{name} matches the dense network after the same training: the difference, {shown}, lies "
            f"within ±{design.margin:g} points."
        ),
        "loses": lambda: f"{name} loses: after the same training it is less accurate than the dense network, {shown}.",
        "undecided": lambda: (
            f"Undecided: after the same training the ticket at {first['sparsity']:g} % differs from "
            f"the dense network by {shown}. {seeds_said(first['more_seeds'])}"
        ),
    }
    return said[first["word"]]()


def seeds_said(more: int | None) -> str:
    if more is None:
        return "No number of seeds that one could train would decide, if mean and spread stay as they are."
    return f"About {more} more seed{'s' if more > 1 else ''} would decide, if mean and spread stay as they are."


def winning_said(comparisons: Sequence[Mapping[str, Any]], won: bool | None, design: Design) -> str:
    sparsity = design.sparsities[0]
    controls = {
        c["against"]: c["word"]
        for c in comparisons
        if c["arm"] == "ticket" and c["against"] in CONTROLS and c["sparsity"] == sparsity
    }
    if won is None:
        missing = " and ".join(name for name in CONTROLS if not controls.get(name))
        return (
            f"Whether it is a winning ticket is not known: it has to beat {missing} as well, which cannot be compared."
        )
    if won:
        return (
            "It is a winning ticket: it also wins against random masks of the same per-layer sparsity and against its "
            "own mask on weights drawn anew."
        )
    dense = comparisons[0]["word"]
    against = [f"to match the dense network ({dense})"] if dense not in ("wins", "matches") else []
    against += [f"to beat {CONTROLS[name]} ({word})" for name, word in controls.items() if word not in ("wins", None)]
    return f"It is not called a winning ticket: it is not shown {' and '.join(against)}."


def time_said(
    comparisons: Sequence[Mapping[str, Any]], reach: Sequence[Mapping[str, Any]], design: Design
) -> list[str]:
    """The other half of the hypothesis: training time to equal accuracy."""
    sparsity, said = design.sparsities[0], []
    for found in comparisons:
        if found["measure"] == "early_stopping" and found["sparsity"] == sparsity and found["word"]:
            way = "earlier" if found["mean"] >= 0 else "later"
            apart = f"{abs(found['mean']):.2f} epochs {way} than"
            when = "at the same time as" if apart.startswith("0.00") else apart
            said.append(
                f"Its validation loss is lowest {when} the dense network's ({interval(found)}, corrected: "
                f"{found['word']})."
            )
    by = {(r["arm"], r["sparsity"]): r for r in reach}
    own, dense = by.get(("ticket", sparsity)), by.get(("dense", None))
    if own and dense:
        when = "" if own["median_epochs"] is None else f", in the median after {own['median_epochs']:.2f} epochs"
        said.append(
            f"It reached the dense network's final accuracy in {own['reached']} of {own['of']} seeds{when}; the dense "
            f"network itself first had it after {dense['median_epochs']:.2f}."
        )
    return said


def interval(found: Mapping[str, Any]) -> str:
    low, high = found["interval"]
    return f"{100 * found['confidence']:.4g} % interval {signed(low)} to {signed(high)}"
