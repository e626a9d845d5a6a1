"""Reports in the terminal: the same tables as on the page, within 80 columns, the answer last."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lthrun.report.records import read_records
from lthrun.report.study_report import build_report
from lthrun.report.tables import Cell, Column, Table
from lthrun.report.terminal import one_line, show_report, show_tables
from lthrun.report.text_charts import block_chart, interval_chart, scale
from tests.report.conftest import make_console, minus, read_page, shown, summary_of
from tests.studies import ABOUT, HOSTILE, write_run, write_study


def report_text(folder: Path, width: int = 80) -> str:
    console, summary = make_console(width), read_records(folder).summary
    show_report(console, build_report(summary), summary.run_dir)
    return shown(console)


def words(text: str) -> str:
    """On one line, without the frame of a panel."""
    return " ".join(text.replace("│", " ").split())


def test_an_interval_in_text():
    assert interval_chart(0.5, (0.25, 0.75), 0, 1, 0, width=9) == "┆ ├─●─┤  "
    assert interval_chart(-2, (-3, 0.5), 0, 1, 1, width=9) == "◂───┤   ┆"
    assert interval_chart(0.5, None, 0, 1, 0.5, width=9) == "    ●    "
    assert interval_chart(None, None, 0, 1, 0.5, width=9) == "    ┆    "
    assert interval_chart(0.5, None, 0, 1, -3, width=9) == "    ●    ", "the mark lies beyond the line"


def test_a_scale_is_as_wide_as_its_chart_and_labels_ends_and_middle():
    drawn = interval_chart(0.0, None, -1, 1, 0.0)
    assert scale("−1.00", "+1.00", "0").index("0", 5) == drawn.index("●")
    assert len(scale("65", "80")) == len(drawn)


def test_blocks_keep_the_highest_value_where_a_column_stands_for_several():
    errors = [0.1] * 101
    errors[52] = 0.9
    drawn = block_chart(errors, 0.1, 0.9)
    assert len(drawn) == 13 and drawn.count("█") == 1 and drawn.count("▁") == 12
    assert block_chart([0.2, 0.2, 0.2], 0.2, 0.2) == "▁▁▁"


def test_a_column_of_the_other_medium_is_left_out_and_a_repeated_name_is_shown_once():
    table = Table(
        "Title",
        ["arm", "n", Column("chart", only="terminal"), Column("p", False, "page")],
        [["ticket", "5", "├●┤", "0.01"], ["ticket", Cell("7", "good"), "├●┤", "0.02"]],
        "A note.",
        ["all", "12", "┆", ""],
    )
    page, terminal = table.for_medium("page"), table.for_medium("terminal")
    assert [column.heading for column in page.columns] == ["arm", "n", "p"]
    assert page.rows[1] == [("ticket", ""), ("7", "good"), ("0.02", "")] and page.footer[2].text == ""
    assert [column.is_text for column in terminal.columns] == [True, False, True]
    console = make_console(40)
    show_tables(console, [table])
    lines = [line.rstrip() for line in shown(console).splitlines() if line.strip()]
    assert lines == [
        "Title", "arm      n  chart", 17 * "─", "ticket   5  ├●┤", "         7  ├●┤", "all     12  ┆",
        "A note.",
    ]  # fmt: skip


@pytest.mark.parametrize(("arms", "how"), [(list(ABOUT), {}), (["dense", "ticket"], {"seeds": (0, 1)}), (["dense", "ticket"], {"hostile": True})])  # fmt: skip
def test_a_study_fits_80_columns_uncut(arms: list[str], how: dict[str, Any], tmp_path: Path):
    folder = write_study(tmp_path, arms, **how)
    text, summary = report_text(folder), summary_of(folder)
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text and "\x1b" not in text
    panel = text[text.rindex("╭") :]
    assert summary["question"][:60] in words(panel), "the answer is last, where the terminal's reader is"
    assert all(sentence in words(panel) for sentence in [summary["verdict"][part] for part in ("answer", "reason")])
    for cell in summary["cells"]:
        assert f"{100 * cell['accuracy']['mean']:.1f} (" in text
    for row in summary["comparisons"]:
        assert minus(f"{row['mean']:+.2f} (") in text
    assert "Primary comparison" in text and "exploratory, Holm-corrected" in text


def test_page_and_terminal_have_the_same_rows(ten: Path, runs: dict[str, Path]):
    for folder in (ten, *runs.values()):
        text, page = words(report_text(folder, 200)), read_page(folder)
        report = build_report(read_records(folder).summary)
        for fact in report.facts:
            assert fact.value in text and fact.value in page.text
        for table in report.tables:
            assert table.title in text and table.title in page.text
            for cells in table.for_medium("page").rows:
                assert [cell.text for cell in cells] in page.rows
            for cells in table.for_medium("terminal").rows:
                assert words(" ".join(cell.text for cell in cells[1:])) in text


@pytest.mark.parametrize("experiment", ["baseline", "ticket", "prune", "supermask", "connectivity"])
def test_a_run_fits_80_columns_uncut_and_says_what_its_interval_covers(experiment: str, runs: dict[str, Path]):
    text = report_text(runs[experiment])
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text and "\x1b" not in text
    said = words(text)
    assert "intervals cover validation-set sampling, not seed-to-seed variation" in said
    assert "selected on the validation set, so optimistic" in said
    assert "67.8 (65.4 to 70.1) %, the accuracy of always answering the most common class" in said


def test_control_characters_and_markup_of_records_have_no_effect(tmp_path: Path):
    folder = write_run(tmp_path, "supermask", hostile=True)
    config = {**summary_of(folder), "classes": ["a\x1b[31mb\nc", "[bold]d[/bold]"]}
    (folder / "summary.json").write_text(json.dumps(config))
    text = words(report_text(folder, 300))
    assert HOSTILE[:60] in text and r"a\x1b[31mb\nc" in text and "[bold]d[/bold]" in text and "\x1b" not in text


def test_one_line_has_the_answer_with_its_interval_and_the_directory(runs: dict[str, Path], ten: Path):
    for name, folder in {**runs, "compare": ten}.items():
        summary = read_records(folder).summary
        line = one_line(summary.experiment, build_report(summary), summary.run_dir)
        assert line.startswith(f"{name}: ") and line.endswith(str(folder)) and "\n" not in line
        assert name in ("compare", "connectivity") or " % (95 % interval " in line
