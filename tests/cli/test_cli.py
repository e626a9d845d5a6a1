"""The command line through its entry point: what it shows, what it refuses, what it leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lthrun import __version__
from lthrun.experiments import load_config
from lthrun.storage.json_files import read_json
from tests.conftest import SMALL_SETS, read_lines


def left_behind(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*")}


def shorten(folder: Path, source: Path) -> Path:
    """A folder of truncated JPEGs alone."""
    (folder / "images").mkdir(parents=True)
    for path in (source / "images").iterdir():
        (folder / "images" / path.name).write_bytes(path.read_bytes()[:300])
    return folder


BAD = {
    "misspelt key in a file": (["ticket", "--config", "MISSPELT"], "misspelt.yaml: pruning.sparsty: unknown key; did you mean pruning.sparsity?"),
    "share for percent": (["ticket", "--sparsity", "0.5"], "pruning.sparsity: found 0.5; sparsity is in percent, so write 50"),
    "everything pruned": (["ticket", "--sparsity", "100"], "pruning.sparsity: found 100.0; must be in percent, at least 0 and below 100"),
    "late rewind": (["ticket", "--rewind-epoch", "99"], "rewind.to: found 99ep; must lie before the end of level 0"),
    "late rewind by step": (["ticket", "--set", "rewind.to=12it", "--data-dir", "IMAGES", *SMALL_SETS], "rewind.to: found 12it; must lie before the end of level 0, which is step 12"),
    "negative rewind": (["ticket", "--rewind-epoch", "-1"], "rewind.to: found '-1ep'; must be like 0ep"),
    "no epochs": (["baseline", "--epochs", "0"], "training.epochs: found 0; must be greater than or equal to 1"),
    "missing folder": (["baseline", "--data-dir", "nowhere"], "--data-dir nowhere: found neither nowhere/images nor"),
    "no images": (["baseline", "--data-dir", "EMPTY"], "holds no images"),
    "truncated images": (["baseline", "--data-dir", "CUT", *SMALL_SETS], "60 of 60 images cannot be read: Abyssinian_1.jpg"),
    "truncated images skipped": (["baseline", "--data-dir", "CUT", "--skip-unreadable", *SMALL_SETS], "no image of one class can be read"),
    "no such GPU": (["baseline", "--device", "cuda:63", "--data-dir", "IMAGES", *SMALL_SETS], "device: found cuda:63; no such GPU"),
    "no such device": (["baseline", "--device", "tpu"], "device: found 'tpu'; must be like auto, cpu, cuda, cuda:0 or mps"),
    "no data": (["baseline"], "Oxford-IIIT Pet is not on this machine"),
    "no data to describe": (["data", "info"], "lthrun data prepare"),
    "batch too large": (["baseline", "--data-dir", "IMAGES", "--set", "data.image_size=16"], "training.batch_size: found 64; must be at most the 48 training images"),
    "nothing to validate on": (["baseline", "--data-dir", "IMAGES", *SMALL_SETS, "--set", "data.validation=1"], "data.validation: found 1; there is no"),
    "config of another experiment": (["baseline", "--config", "ticket"], "ticket: experiment: found ticket; this is not a config of `lthrun baseline`"),
    "missing config": (["ticket", "--config", "nowhere.yaml"], "--config: found no file nowhere.yaml; shipped with lthrun are"),
    "out is a file": (["baseline", "--out", "MISSPELT"], "found a file; must be a directory"),
    "out is below a file": (["baseline", "--out", "/dev/null/runs", "--dry-run"], "must be a directory"),
    "data dir of the drawn set": (["baseline", "--config", "smoke/baseline", "--data-dir", "IMAGES"], "--data-dir goes with data.dataset: pets"),
    "a tensor would be emptied": (["ticket", "--sparsity", "99.9", "--data-dir", "IMAGES", *SMALL_SETS, "--set", "pruning.granularity=filter"], "pruning.sparsity: found 99.9; layer collapse, conv1.weight would lose all its 64 groups"),
    "empty config name": (["ticket", "--config", ""], "--config: found no file"),
    "huge device": (["baseline", "--device", "cuda:99999999999999"], "device: found 'cuda:99999999999999'; must be like auto"),
    "unknown command": (["tickt"], "No such command 'tickt'"),
    "unknown option": (["ticket", "--sparsty", "50"], "No such option: --sparsty"),
    "no number": (["ticket", "--sparsity", "half"], "--sparsity: found 'half'; must be a valid number"),
    "no such protocol": (["ticket", "--protocol", "zhou"], "--protocol: found 'zhou'; must be one of frankle, fasterai"),
    "option without value": (["ticket", "--seed"], "Option '--seed' requires an argument"),
    "setting without value": (["ticket", "--set", "seed"], "--set: found 'seed'; must be section.key=value"),
    "check of a wrong file": (["config", "check", "MISSPELT"], "pruning.sparsty: unknown key"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_status_2_and_nothing_is_created(
    case: str, lthrun: Callable, tmp_path: Path, images: Path, tmp_path_factory: pytest.TempPathFactory, cache: Path
):
    aside = tmp_path_factory.mktemp("aside")
    (aside / "misspelt.yaml").write_text("experiment: ticket\npruning:\n  sparsty: 30\n")
    (aside / "empty" / "images").mkdir(parents=True)
    places = {"MISSPELT": aside / "misspelt.yaml", "EMPTY": aside / "empty", "IMAGES": images}
    arguments, message = BAD[case]
    if "CUT" in arguments:
        places["CUT"] = shorten(aside / "cut", images)
    stores = {p for p in cache.rglob("*") if p.is_file() and p.suffix}
    outcome = lthrun(*(places.get(argument, argument) for argument in arguments))
    assert outcome.status == 2
    assert message in outcome.err.splitlines()[-1] and "Traceback" not in outcome.err
    assert outcome.err.count("\n") == 1
    assert left_behind(tmp_path) == set()
    if "IMAGES" not in arguments:
        assert {p for p in cache.rglob("*") if p.is_file() and p.suffix} == stores


@pytest.fixture
def ticket(lthrun: Callable, images: Path, tiny_model: None) -> Callable:
    return lambda command, *more: lthrun(command, "--data-dir", images, "--out", "out", *SMALL_SETS, *more)


def test_an_experiment_shows_a_line_per_epoch_and_what_happened(ticket: Callable, tmp_path: Path):
    outcome = ticket("ticket", "--rewind-epoch", 1)
    assert outcome.status == 0
    rows = [line.split() for line in outcome.out.splitlines() if line.strip()[:1].isdigit() and len(line.split()) == 9]
    assert [row[:3] for row in rows] == [[str(2 * k + e), str(k), str(e)] for k in range(4) for e in range(2)]
    metrics = read_lines(next(tmp_path.glob("out/ticket-*/metrics.jsonl")))
    for row, record in zip(rows, metrics, strict=True):
        shown = [record["sparsity"], record["train_loss"], record["valid_loss"]]
        assert [float(cell) for cell in row[3:8]] == pytest.approx(
            [*shown, 100 * record["accuracy"], 100 * record["balanced_accuracy"]], abs=6e-3
        )
    for words in (
        "rewind point saved: epoch 1",
        "pruned to 16.67 %",
        "weights rewound to epoch 1: level 1 starts",
    ):
        assert words in outcome.out
    for words in ("majority rate", "95 % interval", "Balanced accuracy", "50.00 % of 396 prunable weights", "198 "):
        assert words in outcome.out
    assert "\x1b" not in outcome.out and "\r" not in outcome.out, "plain lines without a terminal"


def test_options_reach_the_config(ticket: Callable, tmp_path: Path):
    assert ticket(
        "supermask", "--rewind-epoch", 1, "--sparsity", 30, "--steps", 2, "--protocol", "fasterai", "--seed", 3,
        "--batch-norm", "initial", "--quiet",
    ).status == 0  # fmt: skip
    (found,) = tmp_path.glob("out/supermask-s3-*/config.yaml")
    config = load_config(found)
    assert (config.rewind.to, config.pruning.sparsity, config.pruning.steps, config.pruning.protocol) == (
        "1ep",
        30,
        2,
        "fasterai",
    )
    assert (config.seed, config.supermask.batch_norm, config.training.epochs, config.device) == (3, "initial", 2, "cpu")


def test_json_is_the_summary_on_stdout_and_all_else_on_stderr(ticket: Callable, tmp_path: Path):
    outcome = ticket("supermask", "--json")
    summary = json.loads(outcome.out)
    assert summary == read_json(next(tmp_path.glob("out/supermask-*/summary.json")))
    assert {key for key, value in summary["supermask"].items() if value is not None} == {
        "accuracy", "accuracy_interval", "balanced_accuracy", "balanced_accuracy_interval", "batch_norm", "weights",
        "method", "levels", "dense", "random", "better_than_chance",
    }  # fmt: skip
    assert "pruned to 50.00 %" in outcome.err


def test_quiet_is_one_line(ticket: Callable):
    outcome = ticket("baseline", "--quiet")
    assert outcome.out.count("\n") == 1 and outcome.err == ""
    assert outcome.out.startswith("baseline: The dense network has an accuracy of ")


def test_a_second_run_reports_again_and_a_sibling_reuses_levels(ticket: Callable):
    ticket("baseline")
    assert "already finished, showing saved results" in ticket("baseline").out
    assert "level 0 is reused from the cache (levels/" in ticket("ticket").out
    assert "is reused" not in ticket("ticket", "--fresh").out


def test_dry_run_foresees_levels_time_and_disk_and_trains_nothing(ticket: Callable, tmp_path: Path):
    ticket("baseline")
    before = left_behind(tmp_path)
    outcome = ticket("ticket", "--rewind-epoch", 1, "--dry-run", "--json")
    foreseen = json.loads(outcome.out)
    assert [(row["to_train"], row["reused"]) for row in foreseen["rows"]] == [(0, 1), (1, 0), (1, 0), (1, 0)]
    assert (foreseen["levels"], foreseen["to_train"], foreseen["reused"]) == (4, 3, 1)
    assert foreseen["seconds"] > 0 and foreseen["bytes"] > 0 and not foreseen["is_finished"]
    shown = ticket("ticket", "--dry-run").out
    assert "level 0, dense" in shown and "nothing was trained" in shown
    assert left_behind(tmp_path) == before
    ran = json.loads(ticket("ticket", "--rewind-epoch", 1, "--json").out)
    assert [level["reused"] for level in ran["levels"]] == [True, False, False, False]
    assert ran["run_dir"] == foreseen["run_dir"]


def test_runs_lists_what_finished(ticket: Callable, lthrun: Callable, tmp_path: Path):
    assert "no finished runs in out" in lthrun("runs", "--out", "out").out
    ticket("baseline")
    ticket("supermask")
    (tmp_path / "out" / "broken").mkdir()
    (tmp_path / "out" / "broken" / "summary.json").write_text("{")
    outcome = lthrun("runs", "--out", "out")
    assert outcome.status == 0 and "baseline" in outcome.out and "supermask" in outcome.out and "50.00" in outcome.out
    listed = json.loads(lthrun("runs", "--out", "out", "--json").out)
    assert [run["experiment"] for run in listed] == ["baseline", "supermask"]


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the eighth step, which is in the second epoch."""
    from lthrun.training.engine import Engine

    step, calls = Engine.step, []

    def interrupt(self, batch, rate):
        calls.append(1)
        if len(calls) == 8:
            signal.raise_signal(signal.SIGINT)
        return step(self, batch, rate)

    monkeypatch.setattr(Engine, "step", interrupt)


def test_interrupted_it_says_what_was_saved_and_ends_with_130(ticket: Callable, interrupt: None):
    outcome = ticket("ticket")
    assert (
        outcome.status == 130
        and "saved: everything up to epoch 0 of level 0; the same command resumes from there" in outcome.out
        and "Traceback" not in outcome.err
    )
    outcome = ticket("ticket")
    assert outcome.status == 0 and "level 0 resumes from the last checkpoint, after 1 epoch and 2 steps" in outcome.out


def test_quiet_too_says_what_was_saved(ticket: Callable, interrupt: None):
    assert "saved: everything up to epoch 0 of level 0" in ticket("baseline", "--quiet").out


def test_runs_shows_the_whole_ones_whatever_lies_beside_them(ticket: Callable, lthrun: Callable, tmp_path: Path):
    ticket("baseline")
    for name, content in {
        "a": '{"experiment": "ticket"}',
        "b": "[]",
        "c": "{",
        "d": '{"format": 99}',
        "f": '{"format": 1}',
    }.items():
        (tmp_path / "out" / name).mkdir()
        (tmp_path / "out" / name / "summary.json").write_text(content)
    (tmp_path / "out" / "e" / "summary.json").mkdir(parents=True)
    (tmp_path / "out").rename(tmp_path / "[red]")
    listed = lthrun("runs", "--out", "[red]")
    assert listed.status == 0 and listed.out.count("baseline-s0-") == 1 and "Runs in [red]" in listed.out
    assert "not shown, because another version of lthrun wrote them: d, f;" in listed.err
    (run,) = json.loads(lthrun("runs", "--out", "[red]", "--json").out)
    assert run["run_dir"].startswith("[red]/"), "where it lies now"


def test_info_lists_what_cannot_be_read(lthrun: Callable, images: Path, tmp_path: Path):
    shutil.copytree(images, tmp_path / "set")
    (tmp_path / "set" / "images" / "dog_empty.jpg").write_bytes(b"")
    (tmp_path / "set" / "images" / os.fsdecode(b"caf\xe9_1.jpg")).symlink_to("nowhere")
    (tmp_path / "set" / "images" / "folder.jpg").mkdir()
    (tmp_path / "set" / "images" / "folder.jpg" / "a.jpg").touch()
    outcome = lthrun("data", "info", "--data-dir", "set", "--set", "data.image_size=20")
    assert outcome.status == 0 and "unreadable: 3" in outcome.out and "folder.jpg: not a file" in outcome.out
    assert "dog_empty.jpg: not an image in a format" in outcome.out
    assert "skipped: 1 file, in folders among the images" in outcome.out
    assert (
        lthrun("data", "info", "--data-dir", "set", "--set", "data.validation=1", "--set", "data.image_size=20").status
        == 0
    )


def test_data_prepare_and_info(lthrun: Callable, images: Path):
    assert lthrun("data", "prepare", "--data-dir", images, "--set", "data.image_size=24").status == 0
    outcome = lthrun("data", "info", "--data-dir", images, "--set", "data.image_size=24")
    assert "majority rate" in outcome.out and "decoding" not in outcome.out
    found = json.loads(lthrun("data", "info", "--data-dir", images, "--set", "data.image_size=24", "--json").out)
    assert (found["images"], found["n_train"], found["n_valid"]) == (60, 48, 12)
    assert found["majority_rate"] == max(found["valid"].values()) / 12


def test_config_check_names_every_wrong_file(lthrun: Callable, tmp_path: Path):
    (tmp_path / "typo.yaml").write_text("pruning: {sparsty: 30}")
    (tmp_path / "range.yaml").write_text("pruning: {sparsity: 300}")
    outcome = lthrun("config", "check", "typo.yaml", "configs/ticket.yaml", "range.yaml")
    assert outcome.status == 2 and outcome.out == "configs/ticket.yaml: a valid ticket config\n"
    typo, wrong_range = outcome.err.splitlines()
    assert typo.startswith("lthrun: typo.yaml: pruning.sparsty: unknown key")
    assert wrong_range.startswith("lthrun: range.yaml: pruning.sparsity: found 300")


def test_config_show_check_and_schema(lthrun: Callable, tmp_path: Path):
    shown = lthrun("config", "show", "--config", "smoke/rewind", "--set", "seed=4").out
    assert yaml.safe_load(shown)["seed"] == 4 and yaml.safe_load(shown)["rewind"]["to"] == "1ep"
    (tmp_path / "mine.yaml").write_text(shown)
    assert lthrun("config", "check", "mine.yaml", "configs/ticket.yaml").out.count("a valid ticket config") == 2
    assert yaml.safe_load(lthrun("config", "show", "supermask").out)["supermask"] == {
        "method": "lth", "weights": "initial", "batch_norm": "recalibrate",
    }  # fmt: skip
    assert json.loads(lthrun("config", "schema").out)["title"] == "lthrun experiment"


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["ticket", "--help"], ["--version"], ["config", "show"], ["config", "schema"], ["runs"], ["ticket", "--sparsity", "0.5"]])  # fmt: skip
def test_what_takes_long_to_import_is_not_imported_where_it_is_not_used(arguments: list[str]):
    code = f"import sys; sys.argv[1:] = {arguments!r}\nfrom lthrun.cli import main\n"
    code += "try: main()\nexcept SystemExit: pass\nprint({'torch', 'numpy', 'PIL', 'scipy', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_version_and_module_entry_point():
    done = subprocess.run([sys.executable, "-m", "lthrun", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"lthrun {__version__}\n"


@pytest.mark.parametrize("command", ["baseline", "ticket", "supermask", "connectivity"])
def test_every_experiment_has_the_shared_options(command: str, lthrun: Callable, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")
    shown = lthrun(command, "--help").out
    for option in ("--config", "--set", "--seed", "--device", "--epochs", "--data-dir", "--out", "--fresh", "--dry-run", "--json", "--quiet"):  # fmt: skip
        assert option in shown
