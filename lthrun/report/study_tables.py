"""A study in the terminal: tables with their intervals drawn in text, and the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from lthrun.errors import escape_unprintable
from lthrun.report.tables import clock, plain_table, plural, what
from lthrun.report.wording import MEASURES, at, confidences, difference, epochs, missing, share

STYLES = {"wins": "green", "matches": "green", "loses": "red"}
CHART = 15


def study_summary(summary: dict[str, Any]) -> Iterable[Any]:
    """Everything a study found, the verdict last, where the terminal stands; fits one of 80 columns."""
    yield ""
    yield cells_table(summary)
    rows = summary["comparisons"]
    primary = [row for row in rows if row["primary"]]
    if primary:
        yield differences_table("Primary comparison", primary)
    for measure, said in MEASURES.items():
        secondary = [row for row in rows if row["measure"] == measure and not row["primary"]]
        if secondary:
            title = f"Differences in {said}: secondary, Holm-corrected"
            yield differences_table(title, secondary)
    if summary["reach"]:
        yield reach_table(summary["reach"])
    if summary["overlap"]:
        yield overlap_table(summary["overlap"])
    yield verdict_panel(summary)


def study_line(summary: dict[str, Any]) -> str:
    """One line on a study: what is there to be known first."""
    return f"compare: {summary['verdict']['sentences'][0]} {summary['run_dir']}"


def verdict_panel(summary: dict[str, Any]) -> Panel:
    word = summary["verdict"]["word"]
    first, *others = summary["verdict"]["sentences"] or ["There is no verdict."]
    rows = Table.grid(padding=(0, 2))
    rows.add_column(overflow="fold")
    rows.add_row(Text(escape_unprintable(summary["question"]), "dim"))
    rows.add_row(Text(escape_unprintable(first), f"bold {STYLES.get(word, 'yellow')}"))
    for sentence in others:
        rows.add_row(Text(escape_unprintable(sentence)))
    rows.add_row("")
    for note in summary["notes"]:
        rows.add_row(Text(f"note: {escape_unprintable(note)}", "dim"))
    for row in summary["missing"]:
        rows.add_row(Text(f"missing: {escape_unprintable(missing(row))}", "yellow"))
    trained, taken = (summary["levels"][key] for key in ("trained", "taken_over"))
    rows.add_row(
        f"{plural(len(summary['seeds']), 'seed')}, {plural(trained, 'level')} trained and {taken} taken over, "
        f"{clock(summary['seconds'])} of training on {summary['device']} in {summary['precision']}"
    )
    rows.add_row(Text(f"everything is in {escape_unprintable(summary['run_dir'])}", overflow="fold"))
    return Panel(rows, title=word or "no verdict", title_align="left", expand=False, padding=(1, 2))


def cells_table(summary: dict[str, Any]) -> Table:
    """Each arm at each sparsity, its interval drawn beside the majority rate."""
    cells, rate = summary["cells"], summary["majority_rate"]
    ends = [end for cell in cells for end in (cell["accuracy"]["interval"] or [cell["accuracy"]["mean"]])]
    low, high = min([rate, *ends]), max([rate, *ends])
    table = plain_table("Accuracy in %, mean of the seeds with 95 % interval", show_footer=True)
    table.add_column("arm", "majority rate", no_wrap=True)
    table.add_column("sparsity", justify="right", no_wrap=True)
    table.add_column("accuracy", f"{100 * rate:.1f}", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    table.add_column(scale(low, high), interval_chart(rate, None, low, high, rate).replace("●", "┆"), no_wrap=True)
    named = None
    for cell in cells:
        found = cell["accuracy"]
        table.add_row(
            Text(escape_unprintable(cell["arm"]) if cell["arm"] != named else "", overflow="ellipsis"),
            at(cell["sparsity"]),
            share(found),
            str(cell["n"]),
            interval_chart(found["mean"], found["interval"], low, high, rate),
        )
        named = cell["arm"]
    return table


def scale(low: float, high: float) -> str:
    """The heading of a chart: where its left and its right edge are."""
    left, right = f"{100 * low:.0f}", f"{100 * high:.0f}"
    return left + right.rjust(CHART - len(left))


def interval_chart(
    mean: float, interval: Sequence[float] | None, low: float, high: float, mark: float, width: int = CHART
) -> str:
    """`├──●─┤  ┆`: a mean with its interval, and a mark to hold it against, on a line from `low` to `high`.

    What lies beyond the line is an arrow at its end.
    """

    def column(value: float) -> int:
        share = (value - low) / (high - low) if high > low else 0.5
        return round(min(max(share, 0.0), 1.0) * (width - 1))

    line = [" "] * width
    line[column(mark)] = "┆"
    if interval is not None:
        left, right = column(interval[0]), column(interval[1])
        line[left : right + 1] = "─" * (right + 1 - left)
        line[left] = "├" if interval[0] >= low else "─"
        line[right] = "┤" if interval[1] <= high else "─"
    line[column(mean)] = "◂" if mean < low else "▸" if mean > high else "●"
    return "".join(line)


def differences_table(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    """Paired differences, drawn around zero, with the words they earn."""
    unit, margin = rows[0]["unit"], rows[0]["margin"] or 1.0
    most = max([3 * margin, *(abs(end) for row in rows for end in row["interval"] or [row["mean"]] if row["primary"])])
    against, several = sorted({row["against"] for row in rows}), len(rows) > 1
    table = plain_table(f"{title} ({unit}, arm minus {against[0] if len(against) == 1 else 'the other'})")
    table.add_column("arm", no_wrap=len(against) == 1, overflow="fold")
    table.add_column("at", justify="right", no_wrap=True)
    table.add_column("difference (interval)", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    table.add_column(f"−{most:.3g}".ljust(CHART // 2) + "0" + f"+{most:.3g}".rjust(CHART // 2), no_wrap=True)
    table.add_column("", no_wrap=True)
    named = None
    for row in rows:
        name = (row["arm"], row["against"])
        said = row["arm"] if len(against) == 1 else " − ".join(name)
        table.add_row(
            Text(escape_unprintable(said) if name != named else ""),
            at(row["sparsity"]),
            difference(row),
            str(row["n"]),
            interval_chart(row["mean"], row["interval"], -most, most, 0.0),
            Text(
                f"+{row['more_seeds']} seeds" if several and row["more_seeds"] else row["word"] or "",
                STYLES.get(row["word"], ""),
            ),
        )
        named = name
    more = ""
    if several and any(row["more_seeds"] for row in rows):
        more = "; +9 seeds: undecided, about so many more would decide"
    elif rows[0]["more_seeds"]:
        more = f"; about {plural(rows[0]['more_seeds'], 'more seed')} would decide"
    table.caption = Text(f"intervals at {confidences(rows)}{more}", "dim")
    table.caption_justify = "left"
    return table


def reach_table(rows: Sequence[dict[str, Any]]) -> Table:
    table = plain_table("How soon the dense network's final accuracy is reached")
    for heading in ("arm", "sparsity", "seeds that reach it", "median epochs"):
        table.add_column(heading, justify="left" if heading == "arm" else "right", no_wrap=True)
    named = None
    for row in rows:
        name = escape_unprintable(row["arm"]) if row["arm"] != named else ""
        named = row["arm"]
        table.add_row(Text(name), at(row["sparsity"]), f"{row['reached']} of {row['of']}", epochs(row))
    return table


def overlap_table(rows: Sequence[dict[str, Any]]) -> Table:
    table = plain_table("Do the seeds find the same ticket? (% of weights that both keep)")
    for heading in ("sparsity", "overlap", "chance", "pairs"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        low, mean, high, chance = (100 * row[key] for key in ("lowest", "overlap", "highest", "chance"))
        table.add_row(at(row["sparsity"]), f"{mean:.1f} ({low:.1f} to {high:.1f})", f"{chance:.1f}", str(row["pairs"]))
    return table


def studies_table(summaries: Sequence[dict[str, Any]], out: str) -> Table:
    """The comparisons so far, each with the word of its verdict."""
    table = plain_table(f"Comparisons in {out}")
    table.add_column("when", no_wrap=True)
    table.add_column("what", overflow="fold", min_width=14)
    table.add_column("seeds", justify="right")
    table.add_column("arms", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    table.add_column("directory", overflow="fold")
    for summary in summaries:
        table.add_row(
            f"{datetime.fromtimestamp(summary['finished']):%d %b %H:%M}",
            Text(what(summary)),
            str(len(summary["seeds"])),
            Text(", ".join(summary["arms"])),
            Text(summary["verdict"]["word"] or "none"),
            Text(escape_unprintable(summary["run_dir"].rpartition("/")[2])),
        )
    return table
