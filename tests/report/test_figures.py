"""The figures: their numbers, their styles, the placing of labels, and that no backend of the user's matters."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from lthrun.experiments import connectivity, summaries, supermask
from lthrun.report.figures.layout import draw_majority, fit_labels, move_apart, size_in_inches
from lthrun.report.figures.learning_curves import curve
from lthrun.report.figures.plot import FIGURES
from lthrun.report.figures.style import ARM_STYLES, PALETTE, SPARE_MARKERS, arm_style
from tests.report.conftest import published, read_csv, summary_of
from tests.studies import ABOUT, write_run, write_study


def test_the_numbers_behind_the_figures_are_the_summarys(ten: Path):
    summary, figures = summary_of(ten), ten / "figures"
    for row, cell in zip(read_csv(figures / "accuracy-by-sparsity.csv"), summary["cells"], strict=True):
        assert row["arm"] == cell["arm"]
        assert row["sparsity"] == ("" if cell["sparsity"] is None else str(cell["sparsity"]))
        assert float(row["mean"]) == cell["accuracy"]["mean"] and int(row["n"]) == cell["n"]
        assert [float(row["low"]), float(row["high"])] == cell["accuracy"]["interval"]
        assert list(map(float, row["values"].split())) == cell["accuracy"]["values"]
    for row, compared in zip(read_csv(figures / "differences.csv"), summary["comparisons"], strict=True):
        assert float(row["mean"]) == compared["mean"] and float(row["high"]) == compared["interval"][1]
        assert row["is_primary"] == str(compared["is_primary"]) and row["word"] == (compared["word"] or "")
    for row, layer in zip(read_csv(figures / "sparsity-per-layer.csv"), summary["layers"], strict=True):
        assert row["layer"] == layer["layer"] and float(row["pruned"]) == layer["pruned"]
    for row, found in zip(read_csv(figures / "mask-overlap.csv"), summary["overlap"], strict=True):
        assert (float(row["overlap"]), float(row["chance"])) == (found["overlap"], found["chance"])


def test_the_estimate_is_drawn_seed_by_seed(ten: Path):
    primary = summary_of(ten)["comparisons"][0]
    rows = read_csv(ten / "figures" / "estimate-by-seeds.csv")
    assert [int(row["seeds"]) for row in rows] == list(range(3, primary["n"] + 1))
    assert [row["is_look"] for row in rows] == ["False"] * (len(rows) - 1) + ["True"]
    assert float(rows[-1]["mean"]) == pytest.approx(primary["mean"])
    assert [float(rows[-1][end]) for end in ("low", "high")] == pytest.approx(primary["interval"])


def test_a_learning_curve_is_the_mean_over_seeds_of_interim_evaluations_or_else_of_epochs():
    """Interim evaluations may use a subset of the images, so ends of epochs do not stand between them."""
    lines = [
        {"arm": "ticket", "seed": seed, "step": 8, "valid_loss": 0.5 + seed / 10, "accuracy": 0.6 + seed / 10,
         "interim_evaluations": [{"step": 4, "loss": 0.7, "accuracy": 0.5 + seed / 5}]}
        for seed in (0, 1)
    ]  # fmt: skip
    (first,) = curve("ticket", [*lines, {**lines[0], "arm": "dense"}], 8)
    (last,) = curve("ticket", [{**line, "interim_evaluations": []} for line in lines], 8)
    assert (first["epochs"], first["n"], first["loss_mean"]) == (0.5, 2, 0.7)
    assert first["accuracy_mean"] == pytest.approx(0.6)
    assert (last["epochs"], last["loss_low"], last["loss_high"], last["accuracy_high"]) == (1.0, 0.5, 0.6, 0.7)


def test_every_arm_is_told_apart_without_its_color():
    assert set(ARM_STYLES) == set(ABOUT)
    assert len({(arm.marker, str(arm.line), arm.is_hollow) for arm in ARM_STYLES.values()}) == len(ARM_STYLES)


@given(st.text(min_size=1))
def test_an_arm_without_an_entry_has_a_style_of_its_own_always_the_same(name: str):
    style = arm_style(name)
    assert style == arm_style(name)
    assert name in ARM_STYLES or style.marker not in {arm.marker for arm in ARM_STYLES.values()}


def test_arms_without_entries_share_all_spare_styles_among_them():
    styles = {arm_style(f"arm-{k}") for k in range(2000)}
    assert len(styles) == len(PALETTE) * len(SPARE_MARKERS) * 2


def test_a_study_with_an_arm_without_an_entry_is_drawn(tmp_path: Path):
    folder = published(write_study(tmp_path, ("dense", "ticket", "early-bird"), (50.0, 80.0)))
    assert "early-bird" in (folder / "figures" / "accuracy-by-sparsity.svg").read_text()


def test_every_figure_is_of_an_existing_type_of_summary():
    modules = (summaries, supermask, connectivity)
    assert all(any(hasattr(module, entry.of) for module in modules) for entry in FIGURES.values())


def test_each_type_of_summary_has_its_own_figures(runs: dict[str, Path], ten: Path):
    def names(folder: Path) -> set[str]:
        return {path.stem for path in (folder / "figures").glob("*.svg")}

    assert names(runs["baseline"]) == {"learning-curve"}
    assert names(runs["ticket"]) == {"learning-curve", "accuracy-by-level", "pruned-per-layer"}
    assert names(runs["connectivity"]) == names(runs["ticket"]) | {"error-path"}
    assert names(ten) == {
        "differences", "estimate-by-seeds", "accuracy-by-sparsity", "learning-curves", "mask-overlap",
        "sparsity-per-layer",
    }  # fmt: skip


def test_the_learning_curve_of_a_run_without_a_training_loss_is_drawn(tmp_path: Path):
    folder = write_run(tmp_path, "baseline")
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text(lines[0].replace('"train_loss": 0.', '"train_loss": null, "was": 0.') + "\n")
    (row,) = read_csv(published(folder) / "figures" / "learning-curve.csv")
    assert row["train_loss"] == "" and row["valid_loss"]


@given(st.lists(st.floats(-1, 4), max_size=12))
def test_labels_are_moved_apart_in_their_order(wanted: list[float]):
    placed = move_apart(wanted, 0.2, 3.0)
    ordered = [place for _, place in sorted(zip(wanted, placed, strict=True))]
    assert all(b - a >= 0.2 - 1e-9 for a, b in itertools.pairwise(ordered))
    assert all(-1e-9 <= place <= 3 + 1e-9 for place in placed)


def test_labels_that_have_room_stay():
    assert move_apart([2.0, 0.5, 1.0], 0.2, 3.0) == [2.0, 0.5, 1.0]
    assert move_apart([1.0, 1.0], 0.5, 3.0) == [0.75, 1.25]


@given(st.lists(st.floats(0, 10), min_size=1, unique=True).map(sorted))
def test_labels_of_an_axis_never_touch(places: list[float]):
    axes = Figure(figsize=(5, 2)).subplots()
    axes.set_xlim(0, 10)
    shown = fit_labels(axes, places, ["90 %"] * len(places))
    left = [place for place, label in zip(places, shown, strict=True) if label]
    inch = 10 / size_in_inches(axes)[0]
    assert left[0] == places[0] and all(b - a >= 4 * 0.07 * inch for a, b in itertools.pairwise(left))


@pytest.mark.parametrize(
    "backend", ["module://matplotlib_inline.backend_inline", "module://no.such.module", "nonsense"]
)
def test_no_backend_of_the_environment_matters_and_pyplot_and_torch_are_not_imported(backend: str, tmp_path: Path):
    """A notebook sets MPLBACKEND for the commands it starts; this environment need not have that backend."""
    folder = write_study(tmp_path, ("dense", "ticket"), (50.0,))
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom lthrun.report.publish import publish\n"
        "from lthrun.report.records import read_records\npublish(read_records(Path(sys.argv[1])))\n"
        "print(os.environ['MPLBACKEND'], 'torch' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], env={**os.environ, "MPLBACKEND": backend}, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [backend, "False", "False"] and (folder / "report.html").is_file()


@pytest.mark.parametrize(
    ("rate", "accuracies", "is_drawn"),
    [
        (0.113, (0.91, 0.98), False),
        (0.678, (0.70, 0.78), True),
        (0.113, (0.30, 0.90), True),
        (0.113, (0.112, 0.113), True),
        (0.113, (), True),
    ],
)
def test_the_majority_rate_is_left_out_where_it_would_hide_how_accuracies_differ(
    rate: float, accuracies: tuple[float, ...], is_drawn: bool
):
    axes = Figure().subplots()
    assert bool(draw_majority(axes, rate, accuracies)) == bool(axes.lines) == is_drawn
