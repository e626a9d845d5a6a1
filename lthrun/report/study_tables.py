"""The tables of a study, each built once for both media."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lthrun.analysis.study_records import Comparison
from lthrun.experiments.summaries import StudySummary
from lthrun.report import wording as words
from lthrun.report.tables import Cell, Column, Row, Table, Tone
from lthrun.report.text_charts import interval_chart, scale
from lthrun.report.wording import plural, signed, sparsity_label

TONES: dict[str | None, Tone] = {"wins": "good", "matches": "good", "loses": "bad"}


def study_tables(summary: StudySummary) -> Iterable[Table]:
    yield arm_table(summary)
    yield accuracy_table(summary)
    primary = [row for row in summary.comparisons if row.is_primary]
    if primary:
        yield difference_table("Primary comparison", primary)
    for measure, name in words.MEASURES.items():
        secondary = [row for row in summary.comparisons if row.measure == measure and not row.is_primary]
        if secondary:
            yield difference_table(f"Differences in {name}: secondary, Holm-corrected", secondary)
    if summary.reach:
        yield reach_table(summary)
    if summary.overlap:
        yield overlap_table(summary)


def arm_table(summary: StudySummary) -> Table:
    rows = [[arm, summary.about.get(arm, "")] for arm in summary.arms]
    return Table("Arms", ["arm", Column("description")], rows)


def accuracy_table(summary: StudySummary) -> Table:
    """Each arm at each sparsity, its interval drawn beside the majority rate."""
    cells, rate = summary.cells, summary.majority_rate
    ends = [rate, *(end for cell in cells for end in cell.accuracy.interval or [cell.accuracy.mean])]
    low, high = min(ends), max(ends)
    rows = [
        [
            cell.arm, sparsity_label(cell.sparsity), words.seed_mean(cell.accuracy), str(cell.n),
            interval_chart(cell.accuracy.mean, cell.accuracy.interval, low, high, rate),
            words.seed_mean(cell.balanced_accuracy), f"{cell.epochs:g}", f"{cell.search_epochs:g}",
            f"{cell.measured_sparsity:.2f}",
        ]
        for cell in cells
    ]  # fmt: skip
    chart = Column(scale(f"{100 * low:.0f}", f"{100 * high:.0f}"), only="terminal")
    more = (
        Column(heading, False, "page") for heading in ("balanced %", "epochs", "with search", "measured sparsity %")
    )
    return Table(
        "Accuracy, mean of the seeds",
        ["arm", "sparsity", "accuracy %", "n", chart, *more],
        rows,
        "After the last epoch, with 95 % intervals of the mean over seeds.",
        ["majority rate", "", f"{100 * rate:.1f}", "", interval_chart(None, None, low, high, rate), "", "", "", ""],
    )


def difference_table(title: str, rows: Sequence[Comparison]) -> Table:
    """Paired differences, drawn around zero, with their verdicts."""
    unit, margin, is_primary = rows[0].unit, rows[0].margin or 1.0, rows[0].is_primary
    rivals = {row.against for row in rows}
    ends = [abs(end) for row in rows if is_primary for end in row.interval or [row.mean or 0.0]]
    most = max([3 * margin, *ends])
    cells: list[Row] = [
        [
            row.arm if len(rivals) == 1 else f"{row.arm} − {row.against}", sparsity_label(row.sparsity),
            words.difference(row), str(row.n), interval_chart(row.mean, row.interval, -most, most, 0.0),
            verdict_cell(row), words.p_value(row.p if is_primary else row.p_holm),
        ]
        for row in rows
    ]  # fmt: skip
    note = f"Mean of the paired differences with its {words.confidences(rows)} interval."
    if more := [row.more_seeds for row in rows if row.more_seeds]:
        note += f" +{more[0]}: about {plural(more[0], 'more seed')} would decide."
    chart = Column(scale(signed(-most), signed(most), "0"), only="terminal")
    p = Column("p" if is_primary else "p (Holm)", False, "page")
    return Table(
        f"{title} ({unit}, arm minus {rivals.pop() if len(rivals) == 1 else 'the other'})",
        ["arm" if len(rivals) < 2 else "arms", "at", "difference", "n", chart, Column("verdict"), p],
        cells,
        note,
    )


def verdict_cell(row: Comparison) -> Cell:
    """`wins`, or `undecided +9` where about nine more seeds would decide."""
    more = f" +{row.more_seeds}" if row.more_seeds else ""
    return Cell(f"{row.word}{more}" if row.word else "–", TONES.get(row.word, ""))


def reach_table(summary: StudySummary) -> Table:
    rows = [
        [
            row.arm, sparsity_label(row.sparsity), f"{row.reached} of {row.total}",
            "–" if row.median_epochs is None else f"{row.median_epochs:.2f}",
        ]
        for row in summary.reach
    ]  # fmt: skip
    return Table(
        "Epochs until the dense network's final accuracy is reached",
        ["arm", "sparsity", "seeds that reach it", "median epochs"],
        rows,
        "The first evaluation at which a training is as accurate as the dense network of the same seed is at its end.",
    )


def overlap_table(summary: StudySummary) -> Table:
    rows = [
        [
            words.percent(row.sparsity), words.with_interval(row.overlap, (row.lowest, row.highest)),
            f"{100 * row.chance:.1f}", str(row.pairs),
        ]
        for row in summary.overlap
    ]  # fmt: skip
    return Table(
        "Do the seeds find the same ticket?",
        ["sparsity", "overlap %", "chance %", "pairs of seeds"],
        rows,
        "Weights that the tickets of two seeds both keep, in percent of those that either keeps: mean of the pairs, "
        "and lowest to highest.",
    )
