"""Connectivity: two trainings that differ in the order of the images alone, and the error on the line between them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lthrun.report.connectivity_tables import curve
from torch import nn

from lthrun import models
from lthrun.analysis.intervals import barrier, barrier_interval
from lthrun.experiments import Result, load_config, run
from lthrun.experiments.connectivity import Line, between
from lthrun.levels.builder import LevelBuilder
from lthrun.levels.context import RunContext, prepare
from lthrun.models import build_model
from lthrun.sparsity.masks import Tensors
from lthrun.storage.level_store import LevelStore
from lthrun.storage.run_dir import RunDir
from lthrun.training import state
from tests.cli.test_cli import TINY
from tests.conftest import SMALL, tiny
from tests.levels.test_controls import same

POINTS = {"connectivity.rewind_points": ["0ep", "1ep"], "connectivity.points": 5, "pruning.steps": 2}


def quiet(*_: Any, **__: Any) -> None:
    pass


def prepared(config: Any, out: Path) -> tuple[RunContext, LevelBuilder]:
    context = prepare(config, quiet)
    return context, LevelBuilder(context, LevelStore(out), quiet)


@pytest.fixture(scope="module")
def found(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Result, RunContext, LevelBuilder]]:
    """A finished run with the tiny model, which is `resnet18` as long as the tests that look at it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.MODELS, "resnet18", models.ModelEntry(tiny, ""))
        config = load_config(None, "connectivity", options={"data.dir": str(images), **SMALL, **POINTS})
        out = tmp_path_factory.mktemp("found")
        yield run(config, out), *prepared(config, out)


def judged_by_hand(builder: LevelBuilder, weights: Tensors) -> tuple[float, float]:
    """Error and loss; batch norm's statistics are plain means over the batches of centre crops."""
    model = build_model("resnet18", 2, 0)
    model.load_state_dict(weights)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    seen: dict[nn.Module, list[torch.Tensor]] = {norm: [] for norm in norms}
    for norm in norms:
        norm.register_forward_pre_hook(lambda norm, inputs: seen[norm].append(inputs[0].transpose(0, 1).flatten(1)))
    with torch.no_grad():
        for images, _ in builder.batches.center_crops("train", builder.batches.batch_size):
            model.train()(images)
    for norm in norms:
        norm.running_mean = torch.stack([values.mean(1) for values in seen[norm]]).mean(0)
        norm.running_var = torch.stack([values.var(1) for values in seen[norm]]).mean(0)
    images, labels = (torch.cat(parts) for parts in zip(*builder.batches.validation_batches(), strict=True))
    with torch.no_grad():
        logits = model.eval()(images)
    wrong = (logits.argmax(1) != labels).float().mean()
    return float(wrong), float(nn.functional.cross_entropy(logits, labels))


def test_the_path_leads_from_one_trained_network_to_the_other(found: tuple[Result, RunContext, LevelBuilder]):
    result, context, builder = found
    pairs = [(level.twin, level) for level in context.levels if level.twin]
    paths = result.summary["connectivity"]
    assert [(p["rewind_point"], p["network"]) for p in paths] == [
        ("0ep", "dense"), ("0ep", "ticket"), ("1ep", "dense"), ("1ep", "ticket"),
    ]  # fmt: skip
    for (one, other), path in zip(pairs, paths, strict=True):
        assert one is not None and path["alphas"] == [0, 0.25, 0.5, 0.75, 1]
        assert [end["key"] for end in path["ends"]] == [one.key, other.key]
        ends = [builder.end(level)[0] for level in (one, other)]
        for alpha, error, loss in zip(path["alphas"], path["errors"], path["losses"], strict=True):
            mixed = {name: ends[0][name].clone() for name in ends[0]}
            for name in mixed:
                if mixed[name].is_floating_point():
                    for place, value in enumerate(ends[1][name].flatten().tolist()):
                        flat = mixed[name].view(-1)
                        flat[place] = (1 - alpha) * float(flat[place]) + alpha * value
            by_hand = judged_by_hand(builder, mixed)
            assert (error, loss) == pytest.approx(by_hand, rel=1e-4)
        assert [1 - end["accuracy"] for end in path["ends"]] == pytest.approx([path["errors"][0], path["errors"][-1]])
        assert path["barrier"] == max(path["errors"]) - (path["errors"][0] + path["errors"][-1]) / 2
        assert path["interval"][0] <= path["barrier"] <= path["interval"][1]
        assert path["stable"] == (path["barrier"] < 0.02)
        assert path["sparsity"] == (50 if path["network"] == "ticket" else 0)


def test_both_trainings_share_start_mask_and_clock_and_differ_in_the_order(
    found: tuple[Result, RunContext, LevelBuilder],
):
    _, context, builder = found
    for twin in context.levels:
        level = twin.twin
        if level is None:
            continue
        masks = builder.mask(level)
        assert same(builder.mask(twin), masks) and bool(masks) == bool(level.parent)
        assert same(builder.start(twin, masks), builder.start(level, masks))
        assert same(builder.end(twin)[1], builder.end(level)[1])
        assert (twin.first, twin.steps, twin.order, level.order) == (level.first, level.steps, 1, 0)
        ends = builder.end(level)[0], builder.end(twin)[0]
        assert not same(*ends)
        for name, mask in masks.items():
            assert not between(*ends, 0.3)[name][~mask].any()


def test_order_0_is_the_ticket_of_the_same_settings_and_level_0_is_trained_once(
    found: tuple[Result, RunContext, LevelBuilder], small: Callable
):
    result, context, _ = found
    keys = [level.key for level in context.levels]
    assert len(set(keys)) == len(keys) == 1 + 2 + (1 + 2) * 2 + 1
    for point in ("0ep", "1ep"):
        chain = prepare(small("ticket", **{"rewind.to": point, "pruning.steps": 2}), quiet).levels
        assert {level.key for level in chain} <= set(keys)
    assert context.levels[-1].key == chain[-1].key
    assert result.summary["rewind_point"] == "1ep" and result.summary["sparsity"] == 50
    assert (result.run_dir / "ticket.safetensors").exists()


def test_the_dense_network_starts_from_the_rewind_point_as_the_ticket_does(
    found: tuple[Result, RunContext, LevelBuilder],
):
    _, context, builder = found
    dense = next(level for level in context.levels if level.origin and not level.parent)
    steps = builder.batches.epoch_steps
    assert (dense.first, dense.end, dense.order, dense.is_dense) == (steps, 3 * steps, 0, False)
    saved = state.select_prefix("model", builder.levels.read(context.levels[0].key, "epoch-1"))
    assert same(builder.start(dense, {}), saved)
    assert "optimizer.safetensors" not in {path.name for path in (builder.levels.root / dense.key).iterdir()}


@given(st.lists(st.floats(-9, 9, width=32), min_size=3, max_size=3), st.floats(0, 1))
def test_between_is_the_weighted_mean_and_the_ends_to_the_bit(values: list[float], alpha: float):
    one = {"w": torch.tensor(values), "count": torch.tensor(3)}
    other = {"w": torch.tensor([1.5, 0.0, -2.0]), "count": torch.tensor(9)}
    wanted = [(1 - alpha) * a + alpha * b for a, b in zip(values, [1.5, 0.0, -2.0], strict=True)]
    assert between(one, other, alpha)["w"].tolist() == pytest.approx(wanted, abs=1e-5)
    assert same(between(one, other, 0.0), one) and torch.equal(between(one, other, 1.0)["w"], other["w"])
    assert same(between(one, one, alpha), one)


def test_between_a_network_and_itself_there_is_no_barrier(small: Callable, tiny_model: None, tmp_path: Path):
    context, builder = prepared(small("connectivity", **POINTS), tmp_path)
    level = context.levels[0]
    builder.get_or_train(level)
    (tmp_path / "run").mkdir()
    path = Line(builder, RunDir(tmp_path / "run"))(level, level, 0.0)
    assert len(set(path["errors"])) == len(set(path["losses"])) == 1
    assert path["barrier"] == 0 and path["interval"] == [0, 0] and path["stable"]


@pytest.mark.parametrize(
    ("errors", "height"),
    [([0.2, 0.5, 0.3], 0.25), ([0.2, 0.2, 0.2], 0.0), ([0.1, 0.05, 0.3], 0.1), ([0.4, 0.1, 0.4], 0.0)],
)
def test_the_barrier_is_the_highest_error_minus_the_mean_of_the_ends(errors: list[float], height: float):
    assert barrier(errors) == pytest.approx(height)


def test_the_interval_is_that_of_a_paired_difference():
    draw = np.random.default_rng(3)
    shared = draw.random(2000)
    wrong = [(shared + 0.1 * draw.random(2000) < share).tolist() for share in (0.25, 0.3, 0.4, 0.35, 0.2)]
    each = [wrong[2][i] - (wrong[0][i] + wrong[4][i]) / 2 for i in range(2000)]
    mean = sum(each) / 2000
    error = math.sqrt(sum((d - mean) ** 2 for d in each)) / 2000
    assert barrier_interval(wrong) == pytest.approx([mean - 1.96 * error, mean + 1.96 * error], abs=0.001)
    assert barrier_interval(wrong) == barrier_interval(wrong)


def test_the_interval_covers_a_barrier_and_the_want_of_one():
    """Of 60 drawn paths with a known barrier, most intervals must hold it, also where the path is flat."""
    draw, n, alphas = np.random.default_rng(5), 400, np.linspace(0, 1, 11)
    for height, least in ((0.0, 45), (0.1, 53)):
        limits = 0.25 + height * 4 * alphas * (1 - alphas)
        held = 0
        for _ in range(60):
            # Uniform for each network, and alike for neighbours: an image's answers change here and there.
            answers = np.where(draw.random((n, 11)) < 0.9, draw.random((n, 1)), draw.random((n, 11))) < limits
            low, high = barrier_interval(answers.T.tolist())
            held += low <= height <= high
        assert held >= least, height


def test_what_was_judged_is_not_judged_again(small: Callable, tiny_model: None, tmp_path: Path):
    fewer = {"connectivity.rewind_points": ["0ep"], "pruning.steps": 1, "training.epochs": 1}
    config, heard = small("connectivity", **POINTS | fewer), []

    def stop(kind: str, **facts: Any) -> None:
        heard.extend([facts["name"]] if kind == "judged" else [])
        if len(heard) == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "stopped", emit=stop)
    (file,) = tmp_path.glob("stopped/connectivity-*/judgements.jsonl")
    first = file.read_text().splitlines()
    rest = run(config, tmp_path / "stopped")
    lines = file.read_text().splitlines()
    assert len(first) == 7 and lines[:7] == first
    names = [json.loads(line)["name"] for line in lines]
    assert len(names) == len(set(names)) == 2 * 5
    whole = run(config, tmp_path / "whole")
    assert rest.summary["connectivity"] == whole.summary["connectivity"]


def test_a_rewind_point_within_an_epoch_is_replayed_once(small: Callable, tiny_model: None, tmp_path: Path):
    points = {"connectivity.rewind_points": ["3it"], "connectivity.points": 3, "pruning.steps": 1}
    events = []
    result = run(small("connectivity", **points), tmp_path, emit=lambda kind, **facts: events.append(kind))
    assert events.count("replaying") == 1 and events.count("reordered") == 2
    assert [level["level"] for level in result.summary["levels"]] == [0, 0, 0, 1, 1]


@pytest.fixture
def command(lthrun: Callable, images: Path, tiny_model: None) -> Callable:
    usual = ["--data-dir", images, "--out", "out", "--steps", 1, *TINY, "--epochs", 1]
    return lambda *more: lthrun("connectivity", "--rewind-points", "0ep, 3it", *usual, *more)


def test_the_command_shows_a_table_per_rewind_point_in_80_columns(
    command: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    foreseen = json.loads(command("--dry-run", "--json").out)
    assert foreseen["judging"]["networks"] == 4 * 11 and not (tmp_path / "out").exists()
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    outcome = command()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", outcome.out)
    closing = shown[shown.index("From initialisation") :].splitlines()
    assert outcome.status == 0 and max(map(len, closing)) <= 80
    assert sum("From 3it, in two orders" in line for line in closing) == 1
    rows = [line for line in closing if re.match(r" *(dense|ticket) +\d", line)]
    assert len(rows) == 4 and all(len(re.findall("[▁▂▃▄▅▆▇█]", row)) == 11 for row in rows)
    monkeypatch.undo()
    summary = json.loads(command("--json").out)
    wanted = {level["key"] for level in summary["levels"]}
    assert wanted <= {row["key"] for row in foreseen["levels"]} and summary["run_dir"] == foreseen["run_dir"]
    assert all(f"{100 * path['barrier']:.1f} (" in shown for path in summary["connectivity"])
    assert command("--dry-run", "--json").out.count('"networks": 0') == 1, "it is finished"


def test_its_page_shows_the_error_on_the_way(command: Callable, lthrun: Callable, tmp_path: Path):
    summary = json.loads(command("--json").out)
    run_dir = tmp_path / summary["run_dir"]
    assert lthrun("report", run_dir).status == 0
    rows = (run_dir / "figures" / "error-on-the-way.csv").read_text().splitlines()
    assert rows[0] == "rewind_point,network,alpha,error,loss" and len(rows) == 1 + 4 * 11
    last = summary["connectivity"][-1]
    assert rows[-1].split(",")[:4] == ["3it", "ticket", "1.0", str(last["errors"][-1])]
    page = (run_dir / "report.html").read_text()
    assert "Error between two trainings" in page
    for path in summary["connectivity"]:
        assert f"{100 * path['barrier']:.1f} (" in page


def test_quiet_is_one_line(command: Callable):
    outcome = command("--quiet")
    assert outcome.status == 0 and outcome.out.count("\n") == 1 and outcome.err == ""
    assert "connectivity: error barrier in points: dense from 0ep" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rewind-points", "0ep,5ep"], "connectivity.rewind_points: found 5ep; must lie before the end of level 0"),
        (["--rewind-points", "0ep,12it", "--data-dir", "IMAGES", *TINY], "found 12it; must lie before the end of"),
        (["--rewind-points", "1ep,1ep"], "connectivity.rewind_points: found ['1ep', '1ep']; must each be another one"),
        (
            ["--rewind-points", "1ep,0ep,6it", "--data-dir", "IMAGES", *TINY],
            "an epoch has 6 steps, so that some of them",
        ),
        (["--rewind-points", "1"], "connectivity.rewind_points.0: found '1'; must be like 0ep, 1ep or 200it"),
        (["--rewind-points", ""], "connectivity.rewind_points.0: found ''; must be like 0ep, 1ep or 200it"),
        (["--set", "connectivity.points=2"], "connectivity.points: found 2; must be greater than or equal to 3"),
        (["--set", "rewind.to=1ep"], "rewind.to: found 1ep; connectivity.rewind_points says it here: leave it out"),
        (["--set", "rewind.retrain=finetune"], "rewind.retrain: found finetune; the two trainings must start from"),
        (["--set", "pruning.protocol=fasterai"], "pruning.protocol: found fasterai; the two trainings must start"),
        (["--set", "training.schedule=cosine"], "rewind.train: found full; a level rewound into the training would"),
        (["--set", "rewind.kept=redraw"], "rewind.kept: found redraw; the resets of Zhou et al. start from"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    lthrun: Callable, images: Path, arguments: list[Any], message: str, tmp_path: Path
):
    outcome = lthrun("connectivity", *[images if a == "IMAGES" else a for a in arguments])
    assert outcome.status == 2 and outcome.err.count("\n") == 1 and message in outcome.err
    assert not list(tmp_path.iterdir())


def test_a_curve_keeps_its_highest_point_where_a_column_stands_for_several():
    errors = [0.1] * 101
    errors[52] = 0.9
    drawn = curve(errors, 0.1, 0.9)
    assert len(drawn) == 15 and drawn.count("█") == 1 and drawn.count("▁") == 14
    assert curve([0.2, 0.2, 0.2], 0.2, 0.2) == "▁▁▁"
