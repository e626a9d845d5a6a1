"""What happens between levels, and within gradual pruning: rewinding, learning rates, resets, filters with their batch norm."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import lthrun
from lthrun.experiments import Result, run
from lthrun.models import build_model
from lthrun.sparsity.criteria import CRITERIA, CriterionEntry
from lthrun.sparsity.layer_selection import make_channel_masks
from lthrun.sparsity.masks import Tensors
from lthrun.sparsity.measured_criteria import ScoringContext, taylor
from lthrun.storage.level_store import LevelStore
from lthrun.storage.tensor_files import read_tensors
from lthrun.training.engine import Engine
from tests.conftest import LAYOUT

pytestmark = pytest.mark.usefixtures("tiny_model")
NAMES = ["0.weight", "3.weight"]
ANNEALED = {"training.schedule": "cosine", "training.epochs": 3}


def end(out: Path, result: Result, level: int) -> Tensors:
    return LevelStore(out).read(result.summary["levels"][level]["key"], "end")


def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rate of every step from now on."""
    seen: list[float] = []
    step = Engine.step

    def listen(self: Engine, batch: Any, rate: float | None = None) -> None:
        step(self, batch, rate)
        seen.append(self.optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(Engine, "step", listen)
    return seen


@pytest.mark.parametrize("retrain", ["weights", "lr", "finetune"])
def test_what_goes_back(small: Callable, tmp_path: Path, retrain: str, monkeypatch: pytest.MonkeyPatch):
    """Renda et al. 2020, section 2: weights and rate, the rate alone, or neither, for as many steps."""
    seen = rates(monkeypatch)
    config = small(
        "ticket",
        **ANNEALED,
        **{"pruning.steps": 1, "rewind.to": "1ep", "rewind.retrain": retrain, "rewind.train": "remaining"},
    )
    result = run(config, tmp_path)
    ticket = lthrun.load_ticket(result.run_dir / "ticket.safetensors")
    dense = end(tmp_path, result, 0)
    start = LevelStore(tmp_path).read(result.summary["levels"][0]["key"], "epoch-1") if retrain == "weights" else dense
    for name, value in ticket.state.items():
        kept = ticket.masks.get(name, torch.ones_like(value, dtype=torch.bool))
        assert torch.equal(value[kept], start[f"model/{name}"][kept]), name
    assert ticket.metadata["retrain"] == retrain
    events = (result.run_dir / "events.jsonl").read_text()
    assert ('"saved"' in events) == (retrain == "weights"), "nothing is said to be saved where no level goes back"
    assert len(seen) == 18 + 12
    expected = [seen[17]] * 12 if retrain == "finetune" else seen[6:18]
    assert seen[18:] == expected
    assert seen[0] == pytest.approx(1e-3) and seen[17] < 2e-5


def test_the_fasterai_protocols_rate_spans_the_whole_run(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen = rates(monkeypatch)
    run(small("ticket", **ANNEALED, **{"pruning.protocol": "fasterai", "pruning.steps": 2}), tmp_path)
    assert len(seen) == 54 and seen == sorted(seen, reverse=True) and seen[27] == pytest.approx(505e-6, rel=1e-6)


def test_sgd_trains_as_torchs_does(small: Callable, tmp_path: Path):
    config = small(
        "baseline", **{"training.optimizer": "sgd", "training.learning_rate": 0.05, "training.momentum": 0.8}
    )
    result = run(config, tmp_path)
    from lthrun.levels.builder import LevelBuilder
    from lthrun.levels.context import prepare

    batches = LevelBuilder(prepare(config, lambda *_, **__: None), LevelStore(tmp_path), lambda *_, **__: None).batches
    model = build_model("resnet18", 2, 0).to(memory_format=LAYOUT).train()
    decayed, spared = ([p for p in model.parameters() if (p.ndim > 1) == big] for big in (True, False))
    optimizer = torch.optim.SGD(
        [{"params": decayed, "weight_decay": 0.01}, {"params": spared}], lr=0.05, momentum=0.8, fused=True
    )
    for step in range(12):
        images, labels = batches.training_batch(step)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images.contiguous(memory_format=LAYOUT)), labels).backward()
        optimizer.step()
    trained = read_tensors(result.run_dir / "model.safetensors")[0]
    assert all(torch.equal(value, trained[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("kept", ["rewind", "redraw", "shuffle", "sign_constant"])
def test_kept_weights_go_where_zhou_sends_them(small: Callable, tmp_path: Path, kept: str):
    result = run(small("ticket", **{"rewind.kept": kept, "pruning.steps": 1}), tmp_path)
    ticket = lthrun.load_ticket(result.run_dir / "ticket.safetensors")
    initial = build_model("resnet18", 2, 0).state_dict()
    for name in NAMES:
        value, mask, first = ticket.state[name], ticket.masks[name], initial[name]
        assert not value[~mask].any()
        if kept == "rewind":
            assert torch.equal(value[mask], first[mask])
        elif kept == "redraw":
            assert not (value[mask] == first[mask]).any() and torch.equal(
                value[mask], build_model("resnet18", 2, 0, 1).state_dict()[name][mask]
            )
        elif kept == "shuffle":
            assert not torch.equal(value[mask], first[mask])
            assert torch.equal(value[mask].sort().values, first[mask].sort().values)
        else:
            deviation = first.double().square().mean().sub(first.double().mean().square()).sqrt()
            assert torch.equal(value[mask].sign(), first[mask].sign())
            assert torch.allclose(value[mask].abs().double(), deviation.expand(int(mask.sum())), rtol=1e-5)
    same = torch.equal(ticket.state["8.weight"], initial["8.weight"])
    assert same == (kept != "redraw"), "a new draw is one of the whole network"


def test_pruned_weights_can_stay_frozen_at_their_initial_value(small: Callable, tmp_path: Path):
    result = run(small("ticket", **{"rewind.pruned": "frozen"}), tmp_path)
    initial = build_model("resnet18", 2, 0).state_dict()
    last = end(tmp_path, result, 3)
    for name in NAMES:
        mask = last[f"mask/{name}"]
        assert torch.equal(last[f"model/{name}"][~mask], initial[name][~mask])
        assert not torch.equal(last[f"model/{name}"][mask], initial[name][mask])
    assert result.summary["sparsity"] == pytest.approx(50)
    ticket = lthrun.load_ticket(result.run_dir / "ticket.safetensors")
    model = build_model("resnet18", 2, 5)
    ticket.apply(model)
    assert torch.equal(model.get_parameter(NAMES[0]), initial[NAMES[0]])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ticket.hold(model, optimizer)
    model(torch.rand(4, 3, 16, 16)).sum().backward()
    optimizer.step()
    gone = ~ticket.masks[NAMES[0]]
    assert torch.equal(model.get_parameter(NAMES[0])[gone], initial[NAMES[0]][gone])


def test_a_pruned_filter_takes_its_batch_norm_along(small: Callable, tmp_path: Path):
    result = run(small("ticket", **{"pruning.granularity": "filter"}), tmp_path)
    last = end(tmp_path, result, 3)
    for conv, norm in (("0", "1"), ("3", "4")):
        alive = last[f"mask/{conv}.weight"].flatten(1).any(1)
        assert int(alive.sum()) == len(alive) // 2
        for part in ("weight", "bias"):
            assert torch.equal(last[f"mask/{norm}.{part}"], alive)
            assert not last[f"model/{norm}.{part}"][~alive].any() and last[f"model/{norm}.weight"][alive].all()
    assert result.summary["sparsity"] == pytest.approx(50), "batch norm is not counted"
    model = build_model("resnet18", 2, 0)
    ticket = lthrun.load_ticket(result.run_dir / "ticket.safetensors")
    ticket.apply(model)
    model.eval()
    with torch.no_grad():
        hidden = nn.Sequential(*list(model)[:2])(torch.rand(2, 3, 16, 16))
    gone = ~last["mask/0.weight"].flatten(1).any(1)
    assert not hidden[:, gone].any() and hidden[:, ~gone].any()
    assert ticket.sparsity == pytest.approx(50)


def test_a_pruned_filter_takes_its_bias_and_no_batch_norm_that_stands_before_it():
    class Before(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.conv = nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(self.norm(x))

    assert list(make_channel_masks(Before(), {"conv.weight": torch.zeros(4, 3, 1, 1, dtype=torch.bool)})) == [
        "conv.bias"
    ]


def gradual(small: Callable, out: Path, **settings: Any) -> tuple[Result, list[dict[str, Any]]]:
    result = run(small("prune", **{"training.epochs": 5, **settings}), out)
    lines = (result.run_dir / "events.jsonl").read_text().splitlines()
    return result, [event for event in map(json.loads, lines) if event["event"] == "pruned"]


def test_gradual_pruning_follows_its_schedule_between_begin_and_end(small: Callable, tmp_path: Path):
    """30 steps; four prunings from 20 to 80 %: before steps 6, 12, 18, 24."""
    result, prunings = gradual(small, tmp_path, **{"pruning.steps": 4, "pruning.sparsity": 80})
    expected = [80 - 80 * (1 - k / 4) ** 3 for k in range(1, 5)]
    assert [event["target"] for event in prunings] == pytest.approx(expected)
    counts = [sum(round(s / 100 * n) for n in (108, 288)) / 396 * 100 for s in expected]
    assert [record["sparsity"] for record in result.metrics] == pytest.approx([0, *counts])
    assert len(result.summary["levels"]) == 1


def test_dense_sparse_dense_really_grows_again_and_ends_dense(small: Callable, tmp_path: Path):
    result, prunings = gradual(
        small, tmp_path, **{"pruning.schedule": "dsd", "pruning.steps": 4, "pruning.begin": 0, "pruning.end": 60}
    )
    assert [event["sparsity"] for event in prunings] == pytest.approx([25, 50, 25, 0], abs=0.3)
    assert [event["grown"] for event in prunings] == [False, False, True, True]
    assert result.summary["sparsity"] == 0
    weights = read_tensors(result.run_dir / "model.safetensors")[0]
    assert all(weights[name].all() for name in NAMES), "what came back is trained again"


def test_filters_that_grow_again_learn_again(small: Callable, tmp_path: Path):
    result, _ = gradual(
        small,
        tmp_path,
        **{
            "pruning.schedule": "dsd",
            "pruning.steps": 4,
            "pruning.begin": 0,
            "pruning.end": 60,
            "pruning.granularity": "filter",
        },
    )
    weights = read_tensors(result.run_dir / "model.safetensors")[0]
    assert all(weights[f"{norm}.weight"].all() for norm in (1, 4)), "γ"
    assert all(weights[name].flatten(1).any(1).all() for name in NAMES)


def test_gradual_pruning_of_a_run_broken_off_goes_on_to_the_same_end(small: Callable, tmp_path: Path):
    """With a criterion that looks back at the last pruning."""
    settings = {"pruning.criterion": "updating_movement", "pruning.schedule": "dsd", "pruning.steps": 7}
    whole, _ = gradual(small, tmp_path / "whole", **settings)
    steps = 0

    def stop(kind: str, **facts: Any) -> None:
        nonlocal steps
        steps += kind == "step"
        if steps == 15:
            raise KeyboardInterrupt

    config = small("prune", **{"training.epochs": 5, **settings})
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "broken", emit=stop)
    rest = run(config, tmp_path / "broken")
    for name in ("model.safetensors",):
        assert (rest.run_dir / name).read_bytes() == (whole.run_dir / name).read_bytes()


@pytest.mark.parametrize(
    "settings",
    [
        {"pruning.begin": 99.5, "pruning.end": 99.5},
        {"pruning.end": 99, "pruning.schedule": "linear"},
        {"training.batch_size": 40},
    ],
)
def test_no_pruning_falls_beyond_the_end_of_the_training(small: Callable, tmp_path: Path, settings: dict[str, Any]):
    result, _ = gradual(small, tmp_path, **{"training.epochs": 1, "pruning.steps": 2, **settings})
    assert result.summary["sparsity"] == 50


def test_criteria_that_see_images_see_the_pruned_network(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen = []

    def listen(case: ScoringContext) -> Tensors:
        seen.append([int((case.trained[n][~case.masks[n]] != 0).sum()) for n in case.masks])
        return taylor(case)

    monkeypatch.setitem(CRITERIA, "taylor", CriterionEntry(listen, "", measured=True))
    gradual(small, tmp_path, **{"pruning.criterion": "taylor", "pruning.steps": 3, "pruning.batches": 2})
    assert seen == [[], [0, 0], [0, 0]]


def test_targets_are_reached_at_the_highest_sparsity_of_a_schedule_that_falls(small: Callable, tmp_path: Path):
    settings = {"pruning.schedule": "custom", "pruning.sparsities": [80, 20], "pruning.targets": {"3": 40}}
    result, _ = gradual(small, tmp_path, **settings)
    assert result.summary["levels"][0]["layers"] == {
        "0.weight": [round(0.2 * 108), 108],
        "3.weight": [round(0.1 * 288), 288],
    }


def test_the_first_target_that_fits_counts_and_is_in_the_name(small: Callable, tmp_path: Path):
    both = [{"3": 80, "*": 20}, {"*": 20, "3": 80}]
    results = [run(small("ticket", **{"pruning.steps": 1, "pruning.targets": targets}), tmp_path) for targets in both]
    removed = [result.summary["levels"][1]["layers"]["3.weight"][0] for result in results]
    assert removed == [round(0.8 * 288), round(0.2 * 288)]


def test_grasp_is_refused_where_torch_has_no_second_derivative(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from lthrun import models

    hard = lambda classes: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Hardsigmoid(), nn.Flatten(), nn.LazyLinear(classes))  # noqa: E731
    monkeypatch.setitem(models.MODELS, "resnet18", models.ModelEntry(lambda classes, *_: built(hard(classes)), ""))

    def built(model: nn.Module) -> nn.Module:
        model(torch.rand(1, 3, 16, 16))
        return model

    with pytest.raises(lthrun.UserError, match=r"pruning.criterion: found grasp; it needs second derivatives"):
        run(small("ticket", **{"pruning.criterion": "grasp"}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_edge_popup_refuses_to_empty_a_layer(small: Callable, tmp_path: Path):
    with pytest.raises(
        lthrun.UserError, match=r"pruning.sparsity: found 99; layer collapse, 8.weight would lose all its 16"
    ):
        run(small("supermask", **{"supermask.method": "edge-popup", "pruning.sparsity": 99}), tmp_path)


def test_layers_can_be_left_out_and_have_targets(small: Callable, tmp_path: Path):
    result = run(
        small("ticket", **{"pruning.first": False, "pruning.classifier": True, "pruning.targets": {"8": 25}}), tmp_path
    )
    assert result.summary["levels"][-1]["layers"] == {"3.weight": [144, 288], "8.weight": [4, 16]}
    assert result.summary["levels"][1]["layers"] == {"3.weight": [48, 288], "8.weight": [1, 16]}


def test_a_dense_level_that_is_taken_over_shows_the_layers_of_this_run(small: Callable, tmp_path: Path):
    run(small("baseline"), tmp_path)
    result = run(small("ticket", **{"pruning.first": False, "pruning.steps": 1}), tmp_path)
    assert result.summary["levels"][0]["reused"]
    assert [level["layers"] for level in result.summary["levels"]] == [{"3.weight": [0, 288]}, {"3.weight": [144, 288]}]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pruning.include": ["9*"]}, "pruning.include: found 9*; no layer has such a name, they are 0, 3, 8"),
        ({"pruning.exclude": ["0", "3"]}, "no layer is left to prune"),
        ({"pruning.targets": {"8": 20}}, "pruning.targets: found 8; no layer has such a name, they are 0, 3"),
        (
            {"pruning.granularity": "2:4", "pruning.steps": 1},
            "0.weight has 3 input channels, which is no multiple of 4",
        ),
        (
            {"pruning.targets": {"3": 99}, "pruning.granularity": "filter"},
            "layer collapse, 3.weight would lose all its 8",
        ),
        ({"pruning.granularity": "kernel", "pruning.classifier": True}, "found kernel; 8.weight is of a linear layer"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_before_training(
    small: Callable, tmp_path: Path, settings: dict[str, Any], message: str
):
    with pytest.raises(lthrun.UserError) as error:
        run(small("ticket", **settings), tmp_path)
    assert message in str(error.value) and not list(tmp_path.iterdir())


def test_dropout_draws_the_same_when_a_run_goes_on(small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from lthrun import models
    from tests.conftest import tiny

    def noisy(classes: int, *_: int) -> nn.Module:
        return nn.Sequential(*list(tiny(classes))[:-1], nn.Dropout(0.5), nn.Linear(8, classes))

    monkeypatch.setitem(models.MODELS, "resnet18", models.ModelEntry(noisy, ""))
    before = torch.random.get_rng_state()
    whole = run(small("baseline"), tmp_path / "whole")
    assert torch.equal(before, torch.random.get_rng_state()), "the caller's random numbers are left alone"

    def stop(kind: str, **facts: Any) -> None:
        if kind == "epoch":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(small("baseline"), tmp_path / "broken", emit=stop)
    torch.manual_seed(12345)
    rest = run(small("baseline"), tmp_path / "broken")
    file = "model.safetensors"
    assert (rest.run_dir / file).read_bytes() == (whole.run_dir / file).read_bytes()
