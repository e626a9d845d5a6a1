"""The report of a reproduction: one table of claims, published and here; and its page, with the figures of its
studies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from lthrun.analysis.sentences import format_signed
from lthrun.experiments.summaries import StudySummary
from lthrun.report.figures import NamedPlot, plots_of
from lthrun.report.publish import PAGE, render_page
from lthrun.report.records import read_records
from lthrun.report.tables import Answer, Cell, Column, Columns, Fact, Report, Row, Table, Tone
from lthrun.report.wording import clock, plural
from lthrun.reproductions.records import ClaimResult, ReproductionSummary
from lthrun.storage.files import write_text

TONES: dict[str, Tone] = {"agrees": "good", "disagrees": "bad", "not decided": "open"}


def reproduction_report(summary: ReproductionSummary) -> Report:
    agree, disagree, open_ = (summary.count(answer) for answer in TONES)
    tone: Tone = "bad" if disagree else "good" if not open_ else "open"
    first = f"{agree} of {plural(len(summary.claims), 'claim')} agree, {disagree} disagree, {open_} not decided."
    return Report(
        title=summary.about,
        about=f"Reproduction{' (quick)' if summary.is_quick else ''} with {plural(summary.seeds, 'seed')}",
        answer=Answer(f"{agree} of {len(summary.claims)}", tone, [first]),
        facts=list(list_facts(summary)),
        tables=[claim_table(summary)],
        notes=[*summary.changes, *summary.departures],
        missing=summary.missing,
    )


def list_facts(summary: ReproductionSummary) -> Iterable[Fact]:
    yield Fact("Source", summary.source)
    counts = [(summary.n_train, "training"), (summary.n_valid, "validation"), (summary.n_test, "the test")]
    yield Fact("Images", ", ".join(f"{count:,} for {side}" for count, side in counts if count))
    yield Fact("Training time", f"{clock(summary.seconds)} on {summary.device} in {summary.precision}")
    names = [Path(run).name for run in summary.runs]
    more = f" and {len(names) - 3} more" if names[3:] else ""
    yield Fact("Runs", ", ".join(names[:3]) + more)


def claim_table(summary: ReproductionSummary) -> Table:
    rows: list[Row] = [
        [claim.claim, claim.published, describe_figure(claim), str(claim.n), claim.rule,
         Cell(claim.answer, TONES[claim.answer])]
        for claim in summary.claims
    ]  # fmt: skip
    columns: Columns = ["claim", Column("published"), "here", "n", Column("agrees if"), Column("answer")]
    title = " ".join(["Claims, and what is measured here.", *summary.changes])
    note = (
        "Here: mean over n seeds with its 95 % interval (none with fewer than three). A claim agrees if the whole "
        "interval is where the rule says, disagrees if none of it is, and is not decided otherwise."
    )
    return Table(title, columns, rows, note)


def describe_figure(claim: ClaimResult) -> str:
    """`+0.42 (+0.30 to +0.54) points`, `1.61 (1.40 to 1.85) ×`."""
    if claim.value is None:
        return "–"
    show = format_signed if claim.unit == "points" else "{:.2f}".format
    interval = "no interval" if claim.interval is None else " to ".join(map(show, claim.interval))
    return f"{show(claim.value)} ({interval}) {claim.unit}"


def publish_reproduction(summary: ReproductionSummary) -> Path:
    """Write its page, and return the path."""
    folder = Path(summary.run_dir)
    records = [read_records(Path(run)) for run in summary.runs]
    plots: list[NamedPlot] = [
        plot for record in records if isinstance(record.summary, StudySummary) for plot in plots_of(record)
    ]
    page = render_page(reproduction_report(summary), plots, replace(records[0], run_dir=folder))
    write_text(folder / PAGE, page)
    return folder / PAGE
