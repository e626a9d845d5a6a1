"""Where there are test images, the report of a study is about them, and that of a run shows them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lthrun.report.publish import publish
from lthrun.report.records import read_records
from lthrun.report.study_report import build_report
from tests.report.conftest import read_csv, read_page, summary_of
from tests.studies import measured, write_run, write_study


def rewrite(folder: Path, summary: dict[str, Any]) -> None:
    (folder / "summary.json").write_text(json.dumps(summary))


def test_the_accuracies_of_a_study_are_those_of_the_test_images(tmp_path: Path):
    folder = write_study(tmp_path)
    summary = {**summary_of(folder), "n_test": 900, "majority_rate": 0.5}
    for k, cell in enumerate(summary["cells"]):
        for key, mean in (("test_accuracy", 0.9), ("test_balanced_accuracy", 0.8), ("early_stop_test_accuracy", 0.95)):
            shares = {"mean": mean - k / 100, "interval": [mean - k / 100 - 0.01, mean - k / 100 + 0.01]}
            cell[key] = {**shares, "values": [mean - k / 100] * cell["n"]}
    rewrite(folder, summary)
    publish(read_records(folder))
    page = read_page(folder)
    rows = {tuple(row[:2]): row[2:] for row in reversed(page.rows)}  # the table of accuracies is the first
    assert rows["ticket", "90 %"][0] == "88.0 (87.0 to 89.0)"
    assert rows["ticket", "90 %"][2:4] == ["78.0 (77.0 to 79.0)", "93.0 (92.0 to 94.0)"]
    assert rows["majority rate", ""][0] == "50.0"
    drawn = read_csv(folder / "figures" / "accuracy-by-sparsity.csv")
    assert [float(row["mean"]) for row in drawn] == [cell["test_accuracy"]["mean"] for cell in summary["cells"]]
    assert {row["images"] for row in drawn} == {"900 test images"}
    for words in ("n = 5 seeds, 900 test images", "1,478 for validation, 900 for the test", "on n = 900 test images"):
        assert words in page.text


def test_a_run_shows_its_test_beside_its_validation(tmp_path: Path):
    folder = write_run(tmp_path)
    summary = {**summary_of(folder), "n_test": 900, "test": measured(0.81), "early_stop_test": measured(0.83)}
    for level in summary["levels"]:
        level["test"] = measured(0.70 + level["level"] / 100)
    rewrite(folder, summary)
    report = build_report(read_records(folder).summary)
    facts = {fact.name: fact.value for fact in report.facts}
    assert facts["Test accuracy"].startswith("81.0 (79.0 to 83.0) %, balanced 76.0 (")
    assert facts["Test accuracy, at the lowest validation loss"].endswith("n = 900")
    (levels,) = [table for table in report.tables if table.title == "Levels"]
    shown = levels.for_medium("page")
    place = [column.heading for column in shown.columns].index("test %")
    assert [row[place].text.split()[0] for row in shown.rows] == ["70.0", "71.0", "72.0", "73.0"]
