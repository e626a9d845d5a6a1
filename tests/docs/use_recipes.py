"""Uses everything that the recipes of CONTRIBUTING.md add; run by test_recipes.py, in its copy of the package."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import lthrun
from lthrun.cli import main
from lthrun.experiments import load_config
from lthrun.levels.keys import Conditions
from lthrun.levels.plan import plan_dense
from lthrun.training.learning_rates import learning_rate_at

ADDED = (
    "relative_movement", "quadratic", "plane", "flat", "radam", "linear", "conv3", "fine-tune", "smoke", "serial",
)  # fmt: skip
"""Names in tables."""
IMAGES = Path("images")
SMALL = {
    "data.dataset": "flat", "data.dir": "images", "data.image_size": 16, "model.name": "conv3", "training.epochs": 2,
    "training.batch_size": 8, "device": "cpu",
}  # fmt: skip
SETS = [text for key, value in SMALL.items() for text in ("--set", f"{key}={value}")]


def call(*arguments: str) -> str:
    """What a command prints."""
    sys.argv = ["lthrun", *arguments]
    printed = io.TextIOWrapper(io.BytesIO(), "utf-8")
    with redirect_stdout(printed), redirect_stderr(printed), suppress(SystemExit):
        main()
    printed.seek(0)
    return printed.read()


def draw_images() -> None:
    """40 images of noise in two classes, named by them."""
    IMAGES.mkdir()
    rng = np.random.default_rng(0)
    for index in range(40):
        name = ("stripes", "dots")[index % 2]
        pixels = rng.integers(0, 255, (20, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(IMAGES / f"{name}_{index}.png")


def run(experiment: str, **settings: Any) -> Any:
    """The summary of a small run."""
    config = load_config(None, experiment, options={**SMALL, **settings})
    return lthrun.run(config, emit=lambda event: None)


def dense_key(**settings: Any) -> str:
    return plan_dense(load_config(None, "baseline", options=settings), Conditions({}, 92, "cpu", "float32")).key


def use_all() -> None:
    draw_images()
    listed = call("list")
    for name in ADDED:
        assert any(line.split()[:1] == [name] for line in listed.splitlines()), name
    assert "reinit" in call("--help")

    ticket = run("ticket", **{"pruning.criterion": "relative_movement", "pruning.steps": 1})
    assert ticket.summary.sparsity == 50 and ticket.summary.classes == ["dots", "stripes"]
    assert run("prune", **{"pruning.schedule": "quadratic", "pruning.steps": 3}).summary.sparsity == 50
    assert "quadratic: sparsity in %" in call("schedule", "quadratic")

    whole = run("ticket", **{
        "pruning.granularity": "plane", "pruning.steps": 1, "pruning.types": ["conv", "linear"],
        "pruning.classifier": True,
    })  # fmt: skip
    masks = lthrun.load_ticket(whole.run_dir / "ticket.safetensors").masks
    assert {mask.ndim for mask in masks.values()} == {2, 4}
    kernels = [mask.flatten(2) for mask in masks.values() if mask.ndim == 4]
    assert all(bool((kernel.all(2) | ~kernel.any(2)).all()) for kernel in kernels)

    assert "dots" in call("data", "info", *SETS[:6])
    adam, radam = ({"training.optimizer": name} for name in ("adamw", "radam"))
    keys = [dense_key(**adam), dense_key(**radam), dense_key(**radam, **{"training.betas": [0.8, 0.9]})]
    assert len(set(keys)) == 3 and dense_key(**radam, **{"training.momentum": 0.5}) == keys[1]
    line = {"training.schedule": "linear", "training.final": 0.2}
    assert dense_key(**line) != dense_key(**line | {"training.final": 0.1})
    training = load_config(None, "baseline", options=line).training
    assert abs(learning_rate_at(training, 50, 100, 10) - 0.6 * training.learning_rate) < 1e-12
    assert run("baseline", **radam, **line).metrics[-1]["train_loss"] > 0

    study = run_study("--arms", "dense,ticket,fine-tune", "--executor", "serial")
    assert study["arms"] == ["dense", "ticket", "fine-tune"] and study["levels"]["trained"] == 3
    assert {cell["arm"] for cell in study["cells"] if cell["sparsity"] == 50} == {"ticket", "fine-tune"}

    dry_run = parse_json(call("reinit", *SETS, "--steps", "1", "--dry-run", "--json", "--quiet"))
    assert [row["name"] for row in dry_run["rows"]] == [
        "level 0, dense", "level 1, 50.00 %", "level 1, 50.00 %, random-init",
    ]  # fmt: skip
    reinit = run("reinit", **{"pruning.steps": 1})
    ticket_level, control = reinit.summary.levels[-2:]
    assert ticket_level.sparsity == control.sparsity == 50 and ticket_level.key != control.key
    assert reinit.run_dir.name in call("sweep", "reinit", *SETS, "--set", "pruning.steps=1", "--grid", "seed=0")
    assert "ReinitConfig" in call("config", "schema")

    foreseen = parse_json(call("reproduce", "smoke", "--seeds", "2", "--dry-run", "--json", "--quiet"))
    assert {row["name"] for row in foreseen["rows"]} >= {"dense", "ticket", "random-mask"}

    assert "images/s" in call("baseline", *SETS, "--seed", "7")
    call("report", str(reinit.run_dir))
    assert (reinit.run_dir / "figures" / "epoch-time.svg").exists()
    assert "Time of each epoch" in (reinit.run_dir / "report.html").read_text("utf-8")


def run_study(*arguments: str) -> Any:
    settings = ["--seeds", "1", "--sparsities", "50", "--set", "compare.prune_rate=50"]
    settings += ["--set", "training.evaluate_every=null", "--set", "training.evaluate_images=null"]
    return parse_json(call("compare", *SETS, *settings, *arguments, "--json", "--quiet"))


def parse_json(printed: str) -> Any:
    """The object among what a command prints on stdout and stderr."""
    return json.loads(printed[printed.index("\n{\n") if printed[0] != "{" else 0 : printed.rindex("}") + 1])


if __name__ == "__main__":
    use_all()
