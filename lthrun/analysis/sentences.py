"""The verdict of a study in plain sentences: warnings, answer, reason, and what else a reader should know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lthrun.analysis.arm_results import Design
from lthrun.analysis.collapse import EXTREME_MARGINS
from lthrun.analysis.questions import CONTROLS
from lthrun.analysis.seed_means import FEWEST_SEEDS
from lthrun.analysis.sequential import Look
from lthrun.analysis.study_records import Comparison, Forecast, Reach, Verdict
from lthrun.analysis.verdict import is_winning_ticket

CORRECTIONS = {
    "none": "",
    "looks": ", corrected for planned looks",
    "questions": ", Holm-corrected",
    "looks and questions": ", corrected for planned looks and by Holm",
}


def write_question(design: Design) -> str:
    sparsity = design.primary
    return f"Does the ticket at {sparsity:.4g} % reach the accuracy of the dense network after the same training?"


def write_verdict(
    comparisons: Sequence[Comparison], reach: Sequence[Reach], regime: Sequence[str], design: Design
) -> Verdict:
    """The word for the primary question, whether the ticket is a winning ticket, and both in sentences.

    `regime` are the warnings of regime.py; they come before the answer.
    """
    primary = comparisons[0] if comparisons and comparisons[0].is_primary else None
    warnings, details = [*regime, *describe_unplanned(design.look)], []
    if primary and primary.word:
        if primary.forecast:
            details.append(describe_forecast(primary.forecast, design.look))
        details += [describe_claim(comparisons), *describe_extremes(primary)]
    return Verdict(
        word=primary and primary.word,
        winning_ticket=is_winning_ticket(comparisons),
        warnings=warnings,
        answer=write_answer(primary, design),
        reason=write_reason(primary, design),
        details=[*details, *describe_time(comparisons, reach, design)],
    )


def write_answer(primary: Comparison | None, design: Design) -> str:
    ticket = f"the ticket at {design.primary:.4g} %"
    if primary is None:
        absent = [arm for arm in ("ticket", "dense") if arm not in design.pairings]
        return (
            f"No verdict: {' and '.join(absent)} not compared." if absent else "No verdict: no seed has both results."
        )
    if primary.word is None:
        have = "has" if primary.n == 1 else "have"
        return (
            f"No verdict: {count_seeds(primary.n)} {have} results for ticket and dense, and {FEWEST_SEEDS} are needed."
        )
    if primary.word == "wins":
        return f"Yes, it wins: after the same training {ticket} is more accurate than the dense network."
    if primary.word == "matches":
        return f"Yes, it matches: after the same training {ticket} is as accurate to within ±{design.margin:g} points."
    if primary.word == "loses":
        return f"No, it loses: after the same training {ticket} is less accurate than the dense network."
    return f"Undecided: {primary.n} seeds show neither a difference nor a match between {ticket} and the dense network."


def write_reason(primary: Comparison | None, design: Design) -> str:
    if primary is None:
        return "The question is about the arms ticket and dense."
    if primary.mean is None or primary.interval is None:
        return f"Fewer than {FEWEST_SEEDS} seeds say nothing about the variation between seeds."
    margin = f"±{design.margin:g} points"
    place = {"wins": "above 0", "matches": f"within {margin}", "loses": "below 0"}.get(
        primary.word or "", f"neither on one side of 0 nor within {margin}"
    )
    splits = "each with a split of its own" if design.has_split_per_seed else "all with one split"
    return (
        f"The mean difference in accuracy on {design.final_images} is {format_signed(primary.mean)} points over "
        f"{count_seeds(primary.n)}, {splits}; its {format_interval(primary)}, lies {place}."
    )


def describe_unplanned(look: Look) -> Iterator[str]:
    if look.seeds > look.most_seeds:
        yield (
            f"This study declared at most {look.most_seeds} seeds and has {look.seeds}: more than 5 % of such studies "
            "may err. A fresh study on new seeds keeps the promise."
        )


def describe_forecast(forecast: Forecast, look: Look) -> str:
    """How many seeds would decide; further ones of this study only as far as they are planned."""
    if forecast.is_fresh:
        if forecast.seeds is None:
            return "No feasible number of seeds would decide."
        return (
            f"A fresh study of about {forecast.seeds} seeds would give a verdict with a chance of 80 % "
            f"({format_range(forecast, 0)})."
        )
    if forecast.seeds is None:
        return (
            f"With all of the {look.most_seeds} seeds that were declared the chance of a verdict is "
            f"{100 * (forecast.chance_at_most or 0):.0f} %."
        )
    more = forecast.seeds - look.seeds
    return (
        f"With about {more} more {'seed' if more == 1 else 'seeds'} of the {look.most_seeds} that were declared the "
        f"chance of a verdict is 80 % ({format_range(forecast, look.seeds)})."
    )


def format_range(forecast: Forecast, so_far: int) -> str:
    """The seeds for other chances than 80 %, beyond those so far."""
    ends = [(50, forecast.lower), (90, forecast.upper)]
    return ", ".join(f"{chance} % with {'more' if n is None else n - so_far}" for chance, n in ends)


def describe_claim(comparisons: Sequence[Comparison]) -> str:
    """Whether it is a winning ticket, and if not which part of that claim is not shown."""
    words = {row.against: row.word for row in comparisons if row.is_claim}
    is_winning = is_winning_ticket(comparisons)
    if is_winning is None:
        missing = " and ".join(name for name in CONTROLS if not words.get(name))
        return f"Whether it is a winning ticket is not known: there is no verdict against {missing}."
    if is_winning:
        return (
            "It is a winning ticket: it also wins against random masks of the same per-layer sparsity and against its "
            "own mask on other initial weights."
        )
    dense = words["dense"]
    failed = [] if dense in ("wins", "matches") else [f"to match the dense network ({dense})"]
    failed += [
        f"to beat {about} ({words[name]})" for name, about in CONTROLS.items() if words.get(name, "wins") != "wins"
    ]
    return f"It is not called a winning ticket: it is not shown {' and '.join(failed)}."


def describe_extremes(row: Comparison) -> Iterator[str]:
    """The worst seed and the seeds beyond five margins, or the rate of collapse that the seeds still allow."""
    extremes = row.extremes
    if extremes is None:
        return
    worst = f"The worst seed is {extremes.worst_seed}, with {format_signed(extremes.worst)} points"
    limit = EXTREME_MARGINS * row.margin
    if extremes.collapse_rate_limit is None:
        yield f"{worst}."
    elif extremes.beyond_margins:
        *others, last = map(str, extremes.beyond_margins)
        seeds = f"seeds {', '.join(others)} and {last}" if others else f"seed {last}"
        cause = "" if len(extremes.beyond_margins) == row.n else " A training may have collapsed there."
        yield f"{worst}. The difference is beyond ±{limit:g} points in {seeds}.{cause}"
    else:
        yield (
            f"{worst}. None lost more than {limit:g} points, but {count_seeds(row.n)} cannot rule out that up to "
            f"{100 * extremes.collapse_rate_limit:.0f} % of trainings do."
        )


def describe_time(comparisons: Sequence[Comparison], reach: Sequence[Reach], design: Design) -> Iterator[str]:
    """The other half of the hypothesis: epochs to equal accuracy."""
    sparsity = design.primary
    for row in comparisons:
        if row.measure == "early_stopping" and row.sparsity == sparsity and row.word:
            yield describe_early_stopping(row)
    rows = {(row.arm, row.sparsity): row for row in reach}
    ticket, dense = rows.get(("ticket", sparsity)), rows.get(("dense", None))
    if ticket and dense and dense.median_epochs is not None:
        when = "not before its end" if ticket.median_epochs is None else f"after {ticket.median_epochs:.2f} epochs"
        yield (
            f"It reached the dense network's final validation accuracy in {ticket.reached} of "
            f"{count_seeds(ticket.total)}, in the median {when}; the dense network itself first had it after "
            f"{dense.median_epochs:.2f}."
        )


def describe_early_stopping(row: Comparison) -> str:
    mean, condition = row.mean or 0.0, row.condition
    size = f"{abs(mean):.2f} epochs {'sooner' if mean >= 0 else 'later'} than"
    when = f"{'at the same time as' if size.startswith('0.00') else size} the dense network's ({format_interval(row)})"
    is_sooner = row.interval is not None and row.interval[0] > 0
    if not is_sooner or condition is None or condition.mean is None:
        return f"Its validation loss is lowest {when}: {row.word}."
    loss = f"{abs(condition.mean):.1f} % {'lower' if condition.mean >= 0 else 'higher'} ({format_interval(condition)})"
    if row.word == "wins":
        return f"Its validation loss is lowest {when}, and then it is {loss}: sooner and no worse."
    return f"Its validation loss is lowest {when}, but then it is {loss}: not shown to be sooner and no worse."


def format_interval(row: Comparison) -> str:
    if row.interval is None:
        return "no interval"
    low, high = map(format_signed, row.interval)
    return f"{100 * row.confidence:.4g} % interval{CORRECTIONS[row.correction]}, {low} to {high}"


def format_signed(value: float) -> str:
    """`+0.42`, `−0.30`: with a true minus sign."""
    return f"{value:+.2f}".replace("-", "−")


def count_seeds(n: int) -> str:
    return f"{n} seed{'' if n == 1 else 's'}"
