"""`lthrun report`: what the page, the figures, the numbers beside them and the terminal say of a run or a study."""

from __future__ import annotations

import base64
import csv
import importlib.util
import io
import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lthrun.report.figure_style import ARMS, apart
from lthrun.report.publish import publish
from lthrun.report.records import read_records
from lthrun.report.study_figures import curve
from lthrun.report.study_tables import interval_chart, study_summary
from tests.cli.test_cli import TINY
from tests.studies import ABOUT, HOSTILE, write_study


class Read(HTMLParser):
    """The page as a reader has it: its text, the rows of its tables, the attributes that could load something."""

    def __init__(self, html: str):
        super().__init__()
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.loads: list[str] = []
        self._within: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._within.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "srcset", "href", "action", "data")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._within and self._within.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" in self._within:
            return
        self.texts.append(data.replace("\N{NO-BREAK SPACE}", " "))
        if self._within and self._within[-1] in ("th", "td"):
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return "".join(self.texts)


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def drawn(folder: Path) -> Path:
    publish(read_records(folder))
    return folder


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of all ten arms, with its report."""
    return drawn(write_study(tmp_path_factory.mktemp("ten"), list(ABOUT), (50.0, 80.0, 90.0)))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn(write_study(tmp_path_factory.mktemp("hostile"), hostile=True))


def summary_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def minus(text: str) -> str:
    return text.replace("-", "−")


def test_the_tables_of_the_page_are_the_summarys_numbers(ten: Path):
    summary, page = summary_of(ten), Read((ten / "report.html").read_text())
    for cell in summary["cells"]:
        mean, (low, high) = cell["accuracy"]["mean"], cell["accuracy"]["interval"]
        at = "dense" if cell["sparsity"] is None else f"{cell['sparsity']:.0f} %"
        wanted = [cell["arm"], at, f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f})", "5"]
        assert wanted in [row[:4] for row in page.rows]
    for row in summary["comparisons"]:
        low, high = row["interval"]
        at = "dense" if row["sparsity"] is None else f"{row['sparsity']:.0f} %"
        difference = minus(f"{row['mean']:+.2f} ({low:+.2f} to {high:+.2f})")
        assert [row["arm"], at, difference, "5", row["word"] or "–"] in [shown[:5] for shown in page.rows]
    for row in summary["reach"]:
        assert f"{row['reached']} of {row['of']}" in page.text


def test_the_verdict_comes_first_then_figures_tables_and_how_it_was_made(ten: Path):
    summary, text = summary_of(ten), Read((ten / "report.html").read_text()).text
    verdict = summary["verdict"]
    order = [summary["question"], *verdict["sentences"], "Figures", "Tables", "How it was made", "experiment: compare"]
    places = [text.index(words, text.index(verdict["word"])) for words in order]
    assert places == sorted(places) and places[1] < 500
    for words in ("Primary: accuracy, ticket minus dense at 50 %", "95 % interval, n = 5", "secondary, Holm-corrected"):
        assert words in text


def test_the_numbers_behind_the_figures_are_the_summarys(ten: Path):
    summary, figures = summary_of(ten), ten / "figures"
    for row, cell in zip(table(figures / "accuracy-by-sparsity.csv"), summary["cells"], strict=True):
        assert row["arm"] == cell["arm"] and row["sparsity"] == (
            "" if cell["sparsity"] is None else str(cell["sparsity"])
        )
        assert float(row["mean"]) == cell["accuracy"]["mean"] and int(row["n"]) == cell["n"]
        assert [float(row["low"]), float(row["high"])] == cell["accuracy"]["interval"]
        assert list(map(float, row["values"].split())) == cell["accuracy"]["values"]
    for row, compared in zip(table(figures / "differences.csv"), summary["comparisons"], strict=True):
        assert float(row["mean"]) == compared["mean"] and float(row["high"]) == compared["interval"][1]
        assert row["primary"] == str(compared["primary"]) and row["word"] == (compared["word"] or "")
    for row, layer in zip(table(figures / "sparsity-per-layer.csv"), summary["layers"], strict=True):
        assert row["layer"] == layer["layer"] and float(row["pruned"]) == layer["pruned"]
    for row, found in zip(table(figures / "mask-overlap.csv"), summary["overlap"], strict=True):
        assert (float(row["overlap"]), float(row["chance"])) == (found["overlap"], found["chance"])


def test_a_learning_curve_is_the_mean_over_seeds_of_looks_or_else_of_epochs():
    """Looks may see a part of the images, so that ends of epochs do not stand between them."""
    lines = [
        {"arm": "ticket", "seed": seed, "step": 8, "valid_loss": 0.5 + seed / 10, "accuracy": 0.6 + seed / 10,
         "looks": [{"step": 4, "loss": 0.7, "accuracy": 0.5 + seed / 5}]}
        for seed in (0, 1)
    ]  # fmt: skip
    (first,) = curve("ticket", [*lines, {**lines[0], "arm": "dense"}], 8)
    (last,) = curve("ticket", [{**line, "looks": []} for line in lines], 8)
    assert (first["epochs"], first["n"], first["loss_mean"], first["accuracy_mean"]) == (
        0.5,
        2,
        0.7,
        pytest.approx(0.6),
    )
    assert (last["epochs"], last["loss_low"], last["loss_high"], last["accuracy_high"]) == (1.0, 0.5, 0.6, 0.7)


def test_the_page_links_the_numbers_that_lie_beside_it(ten: Path):
    page = Read((ten / "report.html").read_text())
    linked = {base64.b64decode(link.split(",")[1]).decode() for link in page.loads if link.startswith("data:text/csv")}
    assert linked == {path.read_text() for path in (ten / "figures").glob("*.csv")} and len(linked) == 5
    drawn = {base64.b64decode(link.split(",")[1]) for link in page.loads if link.startswith("data:image/svg+xml")}
    assert drawn >= {path.read_bytes() for path in (ten / "figures").glob("*.svg")} and len(drawn) == 10
    assert {path.suffix for path in (ten / "figures").iterdir()} == {".svg", ".png", ".csv"}


def test_hostile_names_are_shown_and_do_nothing(hostile: Path):
    html = (hostile / "report.html").read_text()
    page = Read(html)
    assert "script" not in page.tags and "<script" not in html and not re.search(r"\son\w+=", html)
    # In the missing result, a note, what differs, the classes, the configuration, the environment.
    assert page.text.count(HOSTILE) >= 5 and json.dumps(HOSTILE) in page.text
    assert "1 result is missing" in page.text and "random-mask at 90 %, seed 4: <script>" in page.text


@pytest.mark.parametrize("folder", ["ten", "hostile"])
def test_the_page_is_self_contained(folder: str, request: pytest.FixtureRequest):
    html = (request.getfixturevalue(folder) / "report.html").read_text()
    page = Read(html)
    assert page.loads and all(load.startswith("data:") for load in page.loads)
    assert "url(" not in html and "@import" not in html and '<link rel="stylesheet' not in html
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'" in html
    for load in page.loads:
        if load.startswith("data:image/svg+xml"):
            svg = base64.b64decode(load.split(",")[1]).decode()
            links = re.findall(r'(?:href|src)="([^"]*)"|url\(([^)]*)\)', svg)
            assert all((a or b).startswith("#") for a, b in links) and "<script" not in svg


def test_equal_records_give_equal_bytes_wherever_they_lie(tmp_path: Path):
    folder = drawn(write_study(tmp_path / "here", ("dense", "ticket"), (50.0,)))
    before = {path.name: path.read_bytes() for path in [folder / "report.html", *(folder / "figures").iterdir()]}
    moved = tmp_path / "there" / folder.name
    shutil.copytree(folder, moved, ignore=shutil.ignore_patterns("report.html", "figures"))
    drawn(moved)
    assert before == {path.name: path.read_bytes() for path in [moved / "report.html", *(moved / "figures").iterdir()]}
    assert len(before) == 16


def test_too_few_seeds_have_no_interval_and_it_is_said(tmp_path: Path):
    folder = drawn(write_study(tmp_path, ("dense", "ticket"), (50.0,), seeds=(0, 1)))
    text = Read((folder / "report.html").read_text()).text
    assert "no verdict" in text and "(no interval)" in text and "None" not in text and "nan" not in text
    assert all(row["low"] == "" for row in table(folder / "figures" / "differences.csv"))


def test_every_arm_looks_like_itself_without_its_colour():
    assert list(ARMS) and set(ARMS) == set(ABOUT)
    assert len({(arm.marker, str(arm.line), arm.hollow) for arm in ARMS.values()}) == len(ARMS)


@given(st.lists(st.floats(-1, 4), max_size=12))
def test_labels_are_moved_apart_in_their_order(wanted: list[float]):
    placed = apart(wanted, 0.2, 3.0)
    ordered = [place for _, place in sorted(zip(wanted, placed, strict=True))]
    assert all(b - a >= 0.2 - 1e-9 for a, b in itertools.pairwise(ordered))
    assert all(-1e-9 <= place <= 3 + 1e-9 for place in placed)


def test_labels_that_have_room_stay():
    assert apart([2.0, 0.5, 1.0], 0.2, 3.0) == [2.0, 0.5, 1.0]
    assert apart([1.0, 1.0], 0.5, 3.0) == [0.75, 1.25]


def test_an_interval_in_text():
    assert interval_chart(0.5, (0.25, 0.75), 0, 1, 0, width=9) == "┆ ├─●─┤  "
    assert interval_chart(-2, (-3, 0.5), 0, 1, 1, width=9) == "◂───┤   ┆"
    assert interval_chart(0.5, None, 0, 1, 0.5, width=9) == "    ●    "


@pytest.mark.parametrize(("arms", "how"), [(list(ABOUT), {}), (["dense", "ticket"], {"seeds": (0, 1)}), (["dense", "ticket"], {"hostile": True})])  # fmt: skip
def test_the_summary_fits_80_columns_uncut(arms: list[str], how: dict[str, Any], tmp_path: Path):
    folder = write_study(tmp_path, arms, **how)
    file = io.StringIO()
    Console(file=file, width=80, highlight=False).print(*study_summary(summary_of(folder)), sep="\n")
    shown = file.getvalue()
    assert max(map(len, shown.splitlines())) <= 80 and "…" not in shown and "\x1b" not in shown
    summary = summary_of(folder)
    assert summary["question"][:60] in shown[shown.rindex("╭") :], "the verdict stands where the terminal does"
    for cell in summary["cells"]:
        assert f"{100 * cell['accuracy']['mean']:.1f} (" in shown
    for row in summary["comparisons"]:
        assert minus(f"{row['mean']:+.2f} (") in shown
    assert "Primary comparison" in shown and "secondary, Holm-corrected" in shown


def test_report_shows_writes_and_says_where(lthrun: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first, second = (write_study(tmp_path / name, ("dense", "ticket"), (50.0,), (0, 1, 2)) for name in "ab")
    outcome = lthrun("report", first, second)
    assert outcome.status == 0 and "\x1b" not in outcome.out and outcome.err == ""
    for folder in (first, second):
        assert f"report: {folder}/report.html" in outcome.out and (folder / "report.html").is_file()
        assert summary_of(folder)["verdict"]["sentences"][0][:40] in outcome.out
    monkeypatch.setattr("lthrun.report.publish.publish", lambda records: records.run_dir / "report.html")
    outcome = lthrun("report", first, "--json")
    assert json.loads(outcome.out)["verdict"] == summary_of(first)["verdict"] and "report.html" in outcome.err
    assert len(json.loads(lthrun("report", first, second, "--json").out)) == 2
    assert lthrun("report", first, "--quiet").out == f"report: {first}/report.html\n"


def broken(folder: Path, how: str) -> None:
    summary = summary_of(folder)
    if how == "unfinished":
        (folder / "summary.json").unlink()
    elif how == "half a summary":
        (folder / "summary.json").write_text(json.dumps(summary)[:500])
    elif how == "another format":
        (folder / "summary.json").write_text(json.dumps({**summary, "format": 99}))
    elif how == "no numbers":
        (folder / "metrics.jsonl").write_text('{"arm": ')
    else:
        (folder / "config.yaml").unlink()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("unfinished", "not finished, there is no whole summary.json in it"),
        ("half a summary", "not finished, there is no whole summary.json in it"),
        ("another format", "written in format 99, and this lthrun reads 1"),
        ("no numbers", "metrics.jsonl: missing or damaged"),
        ("no run", "not a run directory, there is no config.yaml in it"),
    ],
)
def test_what_is_no_finished_run_is_refused_in_a_line_and_nothing_is_written(
    how: str, message: str, lthrun: Callable, tmp_path: Path
):
    good, bad = write_study(tmp_path / "good"), write_study(tmp_path / "bad")
    broken(bad, how)
    outcome = lthrun("report", good, bad)
    assert outcome.status == 2 and outcome.err.count("\n") == 1 and message in outcome.err and str(bad) in outcome.err
    assert not list(tmp_path.rglob("report.html"))


def test_a_path_that_is_nothing_is_refused(lthrun: Callable):
    assert "nowhere: not a run directory" in lthrun("report", "nowhere").err


def test_runs_lists_studies_below_the_runs_and_cleaning_passes_them_by(lthrun: Callable, tmp_path: Path):
    folder = write_study(tmp_path / "out", seeds=(0, 1, 2))
    outcome = lthrun("runs", "--out", "out")
    assert outcome.status == 0 and folder.name in outcome.out and "no finished runs" not in outcome.out
    row = next(line for line in outcome.out.splitlines() if folder.name in line)
    assert "dense, ticket, random-mask" in row and f" {summary_of(folder)['verdict']['word']} " in row
    (listed,) = json.loads(lthrun("runs", "--out", "out", "--json").out)
    assert listed["experiment"] == "compare" and listed["run_dir"] == f"out/{folder.name}"
    assert lthrun("runs", "clean", "--out", "out").status == 0


@pytest.fixture
def supermask(lthrun: Callable, images: Path, tiny_model: None, tmp_path: Path) -> Path:
    """A real run, small."""
    assert lthrun("supermask", "--data-dir", images, "--out", "out", "--steps", 1, "--quiet", *TINY).status == 0
    return next(tmp_path.glob("out/supermask-*"))


def test_an_ordinary_run_has_a_page_and_stays_finished(supermask: Path, lthrun: Callable, images: Path):
    outcome = lthrun("report", supermask)
    assert outcome.status == 0 and "better than chance" in outcome.out and "report.html" in outcome.out
    summary, page = summary_of(supermask), Read((supermask / "report.html").read_text())
    low, high = summary["accuracy_interval"]
    trained = f"{100 * summary['accuracy']:.1f} ({100 * low:.1f} to {100 * high:.1f})"
    own = f"{100 * summary['supermask']['accuracy']:.1f} ("
    assert f"{trained} %, with 95 % interval, n = 12" in page.text
    rows = {row[0]: row[1:] for row in page.rows}
    assert rows["the mask"][0].startswith(own) and rows["the ticket, trained"][0] == trained
    assert f"{100 * summary['majority_rate']:.1f} (" in page.text and "20 random masks" in rows
    zero, of = summary["levels"][-1]["layers"]["3.weight"]
    assert ["3", str(zero), str(of), f"{100 * zero / of:.2f}"] in page.rows
    metrics = [json.loads(line) for line in (supermask / "metrics.jsonl").read_text().splitlines()]
    for row, record in zip(table(supermask / "figures" / "learning-curve.csv"), metrics, strict=True):
        assert float(row["accuracy"]) == record["accuracy"] and float(row["valid_loss"]) == record["valid_loss"]
    again = lthrun("supermask", "--data-dir", images, "--out", "out", "--steps", 1, *TINY)
    assert "this run is finished" in again.out


def test_tensorboard_reads_back_what_the_run_recorded(supermask: Path, lthrun: Callable, tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    study = write_study(tmp_path / "study", ("dense", "ticket"), (50.0,), (0,))
    for _ in range(2):  # what was written before is replaced, not doubled
        assert lthrun("report", supermask, study, "--tensorboard", "events", "--quiet").status == 0
    metrics = [json.loads(line) for line in (supermask / "metrics.jsonl").read_text().splitlines()]
    events = EventAccumulator(str(tmp_path / "events" / supermask.name / "level-1")).Reload()
    found = [(event.step, event.value) for event in events.Scalars("accuracy/accuracy")]
    assert found == [(line["epoch"], pytest.approx(line["accuracy"])) for line in metrics if line["level"] == 1]
    events = EventAccumulator(str(tmp_path / "events" / study.name / "ticket-50-s0")).Reload()
    assert [event.step for event in events.Scalars("loss/train")] == [92, 184, 276, 368, 460]


def test_without_tensorboard_it_is_said_how_to_install_it(
    lthrun: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = write_study(tmp_path)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "tensorboard" else find(name))
    outcome = lthrun("report", folder, "--tensorboard", "events")
    assert outcome.status == 2 and "pip install 'lthrun[tensorboard]'" in outcome.err
    assert not (folder / "report.html").exists()


def test_records_cannot_lead_the_event_files_out_of_their_folder(lthrun: Callable, tmp_path: Path):
    folder = write_study(tmp_path / "study", seeds=(0,))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (folder / "metrics.jsonl").write_text("".join(json.dumps({**line, "arm": "../../up"}) + "\n" for line in lines))
    before = set(tmp_path.iterdir())
    assert lthrun("report", folder, "--tensorboard", "a/b/events", "--quiet").status == 0
    assert set(tmp_path.iterdir()) - before == {tmp_path / "a"} and not (tmp_path / "a" / "up").exists()
    assert {path.parent for path in tmp_path.rglob("events.out*")} <= set(
        (tmp_path / "a/b/events" / folder.name).iterdir()
    )


@pytest.mark.parametrize("arguments", [["--help"], ["report", "--help"], ["runs"], ["list"]])
def test_matplotlib_is_not_imported_where_it_is_not_used(arguments: list[str]):
    assert imported(arguments, "matplotlib", "jinja2") == "False False"


def test_a_report_needs_neither_torch_nor_pyplot(tmp_path: Path):
    assert (
        imported(["report", str(write_study(tmp_path, ("dense", "ticket"), (50.0,)))], "torch", "matplotlib.pyplot")
        == "False False"
    )


def imported(arguments: list[str], *modules: str) -> str:
    code = f"import sys; sys.argv[1:] = {arguments!r}\nfrom lthrun.cli import main\n"
    code += f"try: main()\nexcept SystemExit: pass\nprint(*(name in sys.modules for name in {modules!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]
