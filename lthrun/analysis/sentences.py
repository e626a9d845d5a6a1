"""The verdict of a study in plain sentences, for both halves of the hypothesis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lthrun.analysis.arm_results import Design
from lthrun.analysis.study_records import Comparison, Reach, Verdict
from lthrun.analysis.verdict import CONTROLS, FEWEST_SEEDS, is_winning_ticket


def write_verdict(comparisons: Sequence[Comparison], reach: Sequence[Reach], design: Design) -> Verdict:
    """The word for the primary question, whether the ticket is a winning ticket, and both halves in sentences."""
    primary = comparisons[0] if comparisons and comparisons[0].is_primary else None
    if primary is None:
        absent = [arm for arm in ("ticket", "dense") if arm not in design.pairings]
        reason = f"{' and '.join(absent)} not compared" if absent else "no seed has results for both"
        sentence = f"No verdict: its question is about the arms ticket and dense, and {reason}."
        return Verdict(word=None, winning_ticket=None, sentences=[sentence])
    is_winning = is_winning_ticket(comparisons, design.sparsities[0])
    sentences = [describe_primary(primary, design)]
    if primary.word:
        sentences.append(describe_claim(comparisons, is_winning, design))
    sentences += describe_time(comparisons, reach, design)
    return Verdict(word=primary.word, winning_ticket=is_winning, sentences=sentences)


def describe_primary(primary: Comparison, design: Design) -> str:
    n, name = primary.n, f"The ticket at {primary.sparsity:g} %"
    if primary.word is None or primary.mean is None:
        return (
            f"No verdict: {n} {'seed has' if n == 1 else 'seeds have'} results for both ticket and dense, and fewer "
            f"than {FEWEST_SEEDS} say nothing about the variation between seeds."
        )
    shown = f"{format_signed(primary.mean)} points ({format_interval(primary)}, {n} seeds)"
    if primary.word == "wins":
        return f"{name} wins: after the same training it is more accurate than the dense network, {shown}."
    if primary.word == "loses":
        return f"{name} loses: after the same training it is less accurate than the dense network, {shown}."
    if primary.word == "matches":
        return (
            f"{name} matches the dense network after the same training: the difference, {shown}, lies within "
            f"±{design.margin:g} points."
        )
    return (
        f"Undecided: after the same training the ticket at {primary.sparsity:g} % differs from the dense network by "
        f"{shown}. {describe_more_seeds(primary.more_seeds)}"
    )


def describe_more_seeds(more: int | None) -> str:
    if more is None:
        return "No feasible number of seeds would decide, if mean and spread stay as they are."
    return f"About {more} more seed{'s' if more > 1 else ''} would decide, if mean and spread stay as they are."


def describe_claim(comparisons: Sequence[Comparison], is_winning: bool | None, design: Design) -> str:
    """Whether it is a winning ticket, and if not which part of that claim is not shown."""
    words = {
        row.against: row.word
        for row in comparisons
        if row.arm == "ticket" and row.against in CONTROLS and row.sparsity == design.sparsities[0]
    }
    if is_winning is None:
        missing = " and ".join(name for name in CONTROLS if not words.get(name))
        return f"Whether it is a winning ticket is not known: it would also have to beat {missing}, without results."
    if is_winning:
        return (
            "It is a winning ticket: it also wins against random masks of the same per-layer sparsity and against its "
            "own mask on other initial weights."
        )
    primary = comparisons[0].word
    failed = [] if primary in ("wins", "matches") else [f"to match the dense network ({primary})"]
    failed += [f"to beat {CONTROLS[name]} ({word})" for name, word in words.items() if word not in ("wins", None)]
    return f"It is not called a winning ticket: it is not shown {' and '.join(failed)}."


def describe_time(comparisons: Sequence[Comparison], reach: Sequence[Reach], design: Design) -> Iterator[str]:
    """The other half of the hypothesis: training time to equal accuracy."""
    sparsity = design.sparsities[0]
    for row in comparisons:
        if row.measure == "early_stopping" and row.sparsity == sparsity and row.word and row.mean is not None:
            apart = f"{abs(row.mean):.2f} epochs {'earlier' if row.mean >= 0 else 'later'} than"
            when = "at the same time as" if apart.startswith("0.00") else apart
            yield (
                f"Its validation loss is lowest {when} the dense network's ({format_interval(row)}, Holm-corrected: "
                f"{row.word})."
            )
    rows = {(row.arm, row.sparsity): row for row in reach}
    ticket, dense = rows.get(("ticket", sparsity)), rows.get(("dense", None))
    if ticket and dense:
        when = "" if ticket.median_epochs is None else f", in the median after {ticket.median_epochs:.2f} epochs"
        yield (
            f"It reached the dense network's final accuracy in {ticket.reached} of {ticket.total} seeds{when}; the "
            f"dense network itself first had it after {dense.median_epochs:.2f}."
        )


def format_interval(row: Comparison) -> str:
    if row.interval is None:
        return "no interval"
    low, high = row.interval
    return f"{100 * row.confidence:.4g} % interval {format_signed(low)} to {format_signed(high)}"


def format_signed(value: float) -> str:
    """`+0.42`, `−0.30`: with a true minus sign."""
    return f"{value:+.2f}".replace("-", "−")
