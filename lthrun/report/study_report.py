"""The report of a study: its verdict, facts and tables; and the report of any summary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lthrun.analysis.seed_trace import TracePoint, trace_estimate
from lthrun.analysis.sentences import format_signed
from lthrun.analysis.study_records import Cell as ArmCell
from lthrun.analysis.study_records import Comparison
from lthrun.experiments.reading import AnySummary
from lthrun.experiments.summaries import StudySummary
from lthrun.report import wording as words
from lthrun.report.run_report import run_report
from lthrun.report.tables import Answer, Cell, Column, Fact, Report, Row, Table, Tone
from lthrun.report.text_charts import interval_chart, scale
from lthrun.report.wording import plural, sparsity_label

TRACE_ROWS = 8
TONES: dict[str | None, Tone] = {"wins": "good", "matches": "good", "loses": "bad"}


def study_report(summary: StudySummary) -> Report:
    verdict = summary.verdict
    arms, seeds = plural(len(summary.arms), "arm"), plural(len(summary.seeds), "seed")
    return Report(
        title=summary.question,
        about=f"Comparison of {arms} over {seeds} ({', '.join(map(str, summary.seeds))})",
        answer=Answer(
            verdict.word or "no verdict",
            TONES.get(verdict.word, "open"),
            [verdict.answer, verdict.reason, *verdict.details],
            verdict.warnings,
        ),
        facts=list(study_facts(summary)),
        tables=list(study_tables(summary)),
        notes=summary.notes,
        missing=[words.missing_result(row) for row in summary.missing],
        differs=summary.differs,
    )


def study_facts(summary: StudySummary) -> Iterable[Fact]:
    if row := summary.primary:
        arms = f"{row.arm} minus {row.against}{words.at_sparsity(row.sparsity)}"
        interval = (
            f"with {words.confidences([row])} interval, n = {plural(row.n, 'seed')}, {words.final_images(summary)}"
        )
        yield Fact(f"Primary: {words.MEASURES[row.measure]}, {arms}", f"{words.difference(row)} {row.unit}, {interval}")
    yield Fact("Equivalence margin", f"±{summary.margin:g} points")
    yield Fact("Majority rate", words.majority_rate(summary))
    yield Fact("Images", words.image_counts(summary))
    counts = summary.levels
    failed = f", {counts.failed} failed" if counts.failed else ""
    levels = f"{plural(counts.trained, 'level')} (trainings at one sparsity) trained, {counts.reused} reused{failed}"
    yield Fact("Training time", f"{words.training_time(summary)}: {levels}")


def study_tables(summary: StudySummary) -> Iterable[Table]:
    yield arm_table(summary)
    yield accuracy_table(summary)
    if summary.primary:
        yield difference_table("Primary comparison", [summary.primary])
    if trace := trace_primary(summary):
        yield trace_table(trace, summary.margin)
    controls = [row for row in summary.comparisons if row.is_claim and not row.is_primary]
    if controls:
        yield difference_table("Is it a winning ticket? The controls", controls)
    for measure, name in words.MEASURES.items():
        exploratory = [row for row in summary.comparisons if row.measure == measure and not row.is_claim]
        if exploratory:
            yield difference_table(f"Differences in {name}: exploratory, Holm-corrected", exploratory)
    if summary.reach:
        yield reach_table(summary)
    if summary.overlap:
        yield overlap_table(summary)


def arm_table(summary: StudySummary) -> Table:
    rows = [[arm, summary.about.get(arm, "")] for arm in summary.arms]
    return Table("Arms", ["arm", Column("description")], rows)


def other_accuracies(summary: StudySummary, cell: ArmCell) -> list[str]:
    """Beside the test accuracy: that at the lowest validation loss, and the accuracy on validation images."""
    if not summary.n_test:
        return []
    early = cell.early_stop_test_accuracy
    return [words.seed_mean(early) if early else "–", words.seed_mean(cell.accuracy)]


def accuracy_table(summary: StudySummary) -> Table:
    """Each arm at each sparsity, its interval drawn beside the majority rate."""
    cells, rate = summary.cells, summary.majority_rate
    ends = [end for cell in cells for end in cell.final_accuracy.interval or [cell.final_accuracy.mean]]
    low, high = min(ends) if words.is_far_below(rate, ends) else min(rate, *ends), max(rate, *ends)
    rows = [
        [
            cell.arm, sparsity_label(cell.sparsity), words.seed_mean(cell.final_accuracy), str(cell.n),
            interval_chart(cell.final_accuracy.mean, cell.final_accuracy.interval, low, high, rate),
            words.seed_mean(cell.final_balanced_accuracy), *other_accuracies(summary, cell),
            f"{cell.epochs:g}", f"{cell.search_epochs:g}", f"{cell.measured_sparsity:.2f}",
        ]
        for cell in cells
    ]  # fmt: skip
    chart = Column(scale(f"{100 * low:.0f}", f"{100 * high:.0f}"), only="terminal")
    tests = ["at lowest loss %", "validation %"] if summary.n_test else []
    headings = ["balanced %", *tests, "epochs", "with search", "measured sparsity %"]
    note = (
        f"After the last epoch, on n = {words.final_images(summary)}, with 95 % intervals of the mean over seeds."
        + " At lowest loss: the test accuracy at the interim evaluation of lowest validation loss." * bool(tests)
    )
    return Table(
        "Test accuracy, mean of the seeds" if tests else "Accuracy, mean of the seeds",
        ["arm", "sparsity", "accuracy %", "n", chart, *(Column(heading, False, "page") for heading in headings)],
        rows,
        note,
        [
            "majority rate",
            "",
            f"{100 * rate:.1f}",
            "",
            interval_chart(None, None, low, high, rate),
            *("" for _ in headings),
        ],
    )


def difference_table(title: str, rows: Sequence[Comparison]) -> Table:
    """Paired differences, drawn around zero, with their verdicts."""
    unit, margin, is_claim = rows[0].unit, rows[0].margin or 1.0, rows[0].is_claim
    rivals = {row.against for row in rows}
    ends = [abs(end) for row in rows if is_claim for end in row.interval or [row.mean or 0.0]]
    most = max([3 * margin, *ends])
    cells: list[Row] = [
        [
            row.arm if len(rivals) == 1 else f"{row.arm} − {row.against}", sparsity_label(row.sparsity),
            words.difference(row), str(row.n), interval_chart(row.mean, row.interval, -most, most, 0.0),
            Cell(row.word or "–", TONES.get(row.word, "")), words.p_value(row.p if is_claim else row.p_holm),
            words.worst_seed(row.extremes),
        ]
        for row in rows
    ]  # fmt: skip
    note = f"Mean of the paired differences with its {words.confidences(rows)} interval."
    chart = Column(scale(format_signed(-most), format_signed(most), "0"), only="terminal")
    p = Column("p" if is_claim else "p (Holm)", False, "page")
    return Table(
        f"{title} ({unit}, arm minus {rivals.pop() if len(rivals) == 1 else 'the other'})",
        [
            "arm" if len(rivals) < 2 else "arms",
            "at",
            "difference",
            "n",
            chart,
            Column("verdict"),
            p,
            Column("worst seed", False, "page"),
        ],
        cells,
        note,
    )


def trace_primary(summary: StudySummary) -> list[TracePoint]:
    """The primary difference after each seed; nothing where there are not two such points."""
    row = summary.primary
    points = trace_estimate(row, summary, 100 / summary.n_final) if row else []
    return points if len(points) > 1 else []


def trace_table(points: Sequence[TracePoint], margin: float) -> Table:
    """The looks, and some of the seeds between them."""
    every = -(-len(points) // TRACE_ROWS)
    shown = [p for p in points if p.is_look or (points[-1].seeds - p.seeds) % every == 0]
    most = max(3 * (margin or 1.0), *(abs(end) for p in points if p.is_look for end in p.interval))
    rows = [
        [
            str(p.seeds), words.signed_interval(p.mean, p.interval), f"{100 * p.confidence:.4g}",
            interval_chart(p.mean, p.interval, -most, most, 0.0), "yes" if p.is_look else "",
        ]
        for p in shown
    ]  # fmt: skip
    chart = Column(scale(format_signed(-most), format_signed(most), "0"), only="terminal")
    return Table(
        "Primary comparison, seed by seed (points, ticket minus dense)",
        ["seeds", "difference", "confidence %", chart, Column("answered")],
        rows,
        "Only the intervals of answers decide; the others show how the estimate moved.",
    )


def reach_table(summary: StudySummary) -> Table:
    rows = [
        [
            row.arm, sparsity_label(row.sparsity), f"{row.reached} of {row.total}",
            "–" if row.median_epochs is None else f"{row.median_epochs:.2f}",
        ]
        for row in summary.reach
    ]  # fmt: skip
    return Table(
        "Epochs until the dense network's final validation accuracy is reached",
        ["arm", "sparsity", "seeds that reach it", "median epochs"],
        rows,
        "Epochs until the validation accuracy first reaches that at which the dense network of the same seed ends.",
    )


def overlap_table(summary: StudySummary) -> Table:
    rows = [
        [
            words.OVERLAPS[row.kind], words.percent(row.sparsity),
            words.with_interval(row.overlap, (row.lowest, row.highest)),
            f"{100 * row.chance:.1f}", str(row.pairs),
        ]
        for row in summary.overlap
    ]  # fmt: skip
    return Table(
        "What two masks have in common",
        ["pair", "sparsity", "overlap %", "chance %", "pairs"],
        rows,
        "Weights that both keep, in percent of those that either keeps: mean of the pairs, and lowest to highest. "
        f"{words.SEEDS_OVERLAP}",
    )


def build_report(summary: AnySummary) -> Report:
    """The report of a run or of a study."""
    return study_report(summary) if isinstance(summary, StudySummary) else run_report(summary)
