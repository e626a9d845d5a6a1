"""Tables of many things: runs, studies, sweeps, dry runs, leftovers, images, names, schedules."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lthrun.errors import escape_unprintable
from lthrun.experiments.reading import AnySummary
from lthrun.experiments.summaries import RunSummary, StudySummary
from lthrun.report.run_report import part_of, run_title
from lthrun.report.study_report import TONES
from lthrun.report.tables import Cell, Column, Columns, Row, Table
from lthrun.report.wording import clock, megabytes, plural, with_interval

if TYPE_CHECKING:
    from lthrun.experiments.dry_run import DryRun, DryRunRow

Finished = Sequence[tuple[float, AnySummary]]
"""Summaries, each with the time it was written in seconds since 1970."""


def runs_table(finished: Finished, out: str) -> Table:
    runs = [(when, run) for when, run in finished if isinstance(run, RunSummary)]
    rows = [
        [date(when), run_title(run), str(run.seed), f"{run.sparsity:.2f}", *accuracies(run)[:1], name(run)]
        for when, run in runs
    ]
    columns: Columns = ["finished", Column("run"), "seed", "sparse %", "accuracy %", Column("directory")]
    return Table(f"Runs in {out}", columns, rows, intervals_note(run for _, run in runs))


def studies_table(finished: Finished, out: str) -> Table:
    rows: list[Row] = []
    for when, study in finished:
        if isinstance(study, StudySummary):
            word = Cell(study.verdict.word or "none", TONES.get(study.verdict.word, ""))
            arms = ", ".join(study.arms)
            rows.append([date(when), run_title(study), str(len(study.seeds)), arms, word, name(study)])
    columns: Columns = ["finished", Column("study"), "seeds", Column("arms"), Column("verdict"), Column("directory")]
    return Table(f"Studies in {out}", columns, rows)


def sweep_table(runs: Sequence[tuple[Mapping[str, Any], RunSummary]]) -> Table:
    """A row per run: its point in the grid (values by config key), and its results."""
    keys = list(runs[0][0])
    short = [key.rpartition(".")[2] for key in keys]
    headings = [Column(brief if short.count(brief) == 1 else key) for key, brief in zip(keys, short, strict=True)]
    rows = [
        [*(str(point[key]) for key in keys), *accuracies(run), f"{run.sparsity:.2f}", name(run)] for point, run in runs
    ]
    columns: Columns = [*headings, "accuracy %", "balanced %", "sparse %", Column("directory")]
    return Table("Sweep", columns, rows, intervals_note(run for _, run in runs))


def accuracies(run: RunSummary) -> list[str]:
    """Accuracy with its interval, and balanced accuracy: of a supermask's run those of the mask."""
    measured = part_of(run).measured(run)
    balanced = f"{100 * measured.balanced_accuracy:.1f}"
    return [with_interval(measured.accuracy, measured.accuracy_interval), balanced]


def intervals_note(runs: Iterable[RunSummary]) -> str:
    rates = " or ".join(sorted({f"{100 * run.majority_rate:.1f} %" for run in runs}))
    return f"Accuracy with 95 % interval, of a supermask that of the mask. Majority rate: {rates}."


def name(summary: AnySummary) -> str:
    return Path(summary.run_dir).name


def date(when: float) -> str:
    return f"{datetime.fromtimestamp(when):%d %b %H:%M}"


def dry_run_table(dry_run: DryRun) -> Table:
    """What each level, arm or run adds to those before it."""

    def cost(row: DryRun | DryRunRow) -> list[str]:
        return [str(row.levels), str(row.to_train), str(row.reused), clock(row.seconds), megabytes(row.bytes)]

    rows = [[row.name, *(["", "", "finished", "", ""] if row.is_finished else cost(row))] for row in dry_run.rows]
    note = "Times are extrapolated from a few training steps, one level after the other."
    if dry_run.group != "level":
        note += f" A level is counted in the first {dry_run.group} that needs it."
    if dry_run.evaluated_networks:
        note += f" {plural(dry_run.evaluated_networks, 'network')} evaluated after the training."
    columns = [dry_run.group, "levels", "to train", "reused", "time", "disk"]
    return Table(f"Dry run of {dry_run.experiment} on {dry_run.device}", columns, rows, note, ["all", *cost(dry_run)])


def chance_table(dry_run: DryRun) -> Table:
    """How likely a study is to give each answer to its primary question, by the true difference."""
    rows = [
        [
            f"{row.deviation:.2g}", f"{row.difference:g}", *(f"{100 * share:.0f}" for share in (row.wins, row.matches,
            row.loses, row.undecided)), f"{row.mean_seeds:.1f}",
        ]
        for row in dry_run.chances
    ]  # fmt: skip
    note = "Simulated: differences are normal, with the deviation of the seeds so far, else with those expected."
    columns = ["deviation", "true difference", "wins %", "matches %", "loses %", "undecided %", "mean seeds"]
    return Table("Chance of each verdict, in points of accuracy", columns, rows, note)


def leftovers_table(leftovers: Sequence[tuple[str, str, int]], out: str) -> Table:
    """What `lthrun runs clean` would remove: name, reason, bytes."""
    rows = [[name, reason, megabytes(size)] for name, reason, size in leftovers]
    total = ["all", "", megabytes(sum(size for _, _, size in leftovers))]
    return Table(f"Needed by no kept run, in {out}/levels", ["level", Column("reason"), "disk"], rows, footer=total)


def image_table(facts: Mapping[str, Any]) -> Table:
    """What `lthrun data info` shows: images per class and side of the split, duplicates, unreadable files."""
    sides = ["train", "valid", *(["test"] if facts["n_test"] else [])]
    rows = [[name, *(f"{facts[side][name]:,}" for side in ("classes", *sides))] for name in facts["classes"]]
    rows.append(["images", *(f"{facts[side]:,}" for side in ("images", *(f"n_{side}" for side in sides)))])
    rate = f"{100 * facts['majority_rate']:.1f} %" if facts["n_valid"] else "–"
    copies, groups = sum(map(len, facts["duplicates"])), plural(len(facts["duplicates"]), "group")
    notes = [
        f"byte-identical: {copies} files in {groups}, each kept on one side of the split",
        *([f"the data set's own split is kept: {' and '.join(facts['own_sides'])}"] if facts["own_sides"] else []),
        *near_duplicate_lines(facts.get("near_duplicates", [])),
        *(f"{kind}: scaled to 8 bits, {white:,g} is white" for kind, white in facts["white"].items()),
        *(["all images are gray: one channel"] if facts["channels"] == 1 else []),
        *(f"skipped: {plural(count, 'file')}, {reason}" for reason, count in sorted(facts["skipped"].items())),
        f"unreadable: {len(facts['unreadable'])}",
        *(f"  {escape_unprintable(name)}: {reason}" for name, reason in facts["unreadable"].items()),
        f"store: {megabytes(facts['bytes'])} at {facts['image_size']} px in {facts['store']}",
    ]
    footer = ["majority rate", "", "", rate, *([""] if facts["n_test"] else [])]
    return Table("Images", ["class", "all", *sides], rows, "\n".join(notes), footer)


def near_duplicate_lines(pairs: Sequence[tuple[str, str]]) -> Iterable[str]:
    if pairs:
        yield f"nearly the same on two sides of the split: {plural(len(pairs), 'pair')}; remove one of each"
        yield from (f"  {escape_unprintable(one)} and {escape_unprintable(other)}" for one, other in pairs[:20])


def name_lines(title: str, key: str, names: Mapping[str, str], width: int) -> Iterable[str]:
    """Names with a line about each, in `width` columns. A name is never broken; where there is no room beside it, its
    explanation stands below."""
    yield ""
    yield f"{title} ({key})"
    beside = max(map(len, names), default=0) + 2
    if beside > width // 2:
        beside = 2
    for name, about in names.items():
        indent = " " * beside
        first = name.ljust(beside) if beside > 2 else f"{name}\n{indent}"
        yield first + textwrap.fill(about, width - beside, break_long_words=False).replace("\n", f"\n{indent}")


def schedule_chart(name: str, sparsities: Sequence[float], after: Sequence[float], width: int) -> Iterable[str]:
    """A schedule's sparsity over progress (`sparsities` at equal distances), `after` each pruning step on its scale."""
    height, columns = 10, min(51, width - 8)
    top = max(*sparsities, *after, 1.0)
    drawn = [sparsities[round(k * (len(sparsities) - 1) / (columns - 1))] for k in range(columns)]
    yield f"{name}: sparsity in %"
    for row in range(height, 0, -1):
        line = "".join("█" if value / top * height >= row - 0.5 else " " for value in drawn)
        yield f"{top * row / height:5.1f} │{line}"
    yield f"  0.0 └{'─' * columns}"
    yield "       0" + "progress".center(columns - 2) + "1"


def schedule_table(after: Sequence[float]) -> Table:
    """The sparsity after each pruning step, and the percent of the remaining weights that it prunes."""
    rows = []
    for k, (before, now) in enumerate(zip([0.0, *after[:-1]], after, strict=True), 1):
        share = f"{100 * (now - before) / (100 - before):.2f}" if now >= before else "regrows"
        rows.append([str(k), f"{now:.2f}", share])
    return Table("Pruning steps", ["pruning step", "sparsity %", "of the remaining weights %"], rows)
