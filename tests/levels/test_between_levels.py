"""What happens between levels: rewinding, learning rates, resets, filters with their batch norm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import lthrun
from lthrun import models
from lthrun.experiments import Result
from lthrun.models import build_model
from lthrun.sparsity.layer_selection import make_channel_masks
from lthrun.sparsity.masks import Tensors
from lthrun.storage.level_store import LevelStore
from lthrun.storage.tensor_files import read_tensors
from lthrun.training.engine import Engine
from tests.conftest import LAYOUT, prepare_levels, read_events, run

pytestmark = pytest.mark.usefixtures("tiny_module")
NAMES = ["0.weight", "3.weight"]
ANNEALED = {"training.schedule": "cosine", "training.epochs": 3}


def end(out: Path, result: Result, level: int) -> Tensors:
    return LevelStore(out).read(result.summary.levels[level].key, "end")


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rate of every step."""
    rates: list[float] = []
    step = Engine.step

    def record(self: Engine, batch: Any, rate: float | None = None) -> None:
        step(self, batch, rate)
        rates.append(self.optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(Engine, "step", record)
    return rates


@pytest.mark.parametrize("retrain", ["weights", "lr", "finetune"])
def test_what_is_rewound(small: Callable, tmp_path: Path, retrain: str, rates: list[float]):
    """Renda et al. 2020, section 2: weights and rate, the rate alone, or neither, for as many steps."""
    config = small(
        "ticket",
        **ANNEALED,
        **{"pruning.steps": 1, "rewind.to": "1ep", "rewind.retrain": retrain, "rewind.train": "remaining"},
    )
    result = run(config, tmp_path)
    ticket = lthrun.load_ticket(result.run_dir / "ticket.safetensors")
    dense = end(tmp_path, result, 0)
    start = LevelStore(tmp_path).read(result.summary.levels[0].key, "epoch-1") if retrain == "weights" else dense
    for name, value in ticket.state.items():
        kept = ticket.masks.get(name, torch.ones_like(value, dtype=torch.bool))
        assert torch.equal(value[kept], start[f"model/{name}"][kept]), name
    assert ticket.metadata["retrain"] == retrain
    saved = read_events(result.run_dir, "state_saved")
    assert bool(saved) == (retrain == "weights"), "a saved state is reported only where a level is rewound to it"
    assert len(rates) == 18 + 12
    expected = [rates[17]] * 12 if retrain == "finetune" else rates[6:18]
    assert rates[18:] == expected
    assert rates[0] == pytest.approx(1e-3) and rates[17] < 2e-5


def test_the_fasterai_protocols_rate_spans_the_whole_run(small: Callable, tmp_path: Path, rates: list[float]):
    run(small("ticket", **ANNEALED, **{"pruning.protocol": "fasterai", "pruning.steps": 2}), tmp_path)
    assert len(rates) == 54 and rates == sorted(rates, reverse=True) and rates[27] == pytest.approx(505e-6, rel=1e-6)


def test_sgd_trains_as_torchs_does(small: Callable, tmp_path: Path):
    config = small(
        "baseline", **{"training.optimizer": "sgd", "training.learning_rate": 0.05, "training.momentum": 0.8}
    )
    result = run(config, tmp_path)
    batches = prepare_levels(config, tmp_path)[1].batches
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
def test_kept_weights_are_reset_as_by_zhou(small: Callable, tmp_path: Path, kept: str):
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
    assert result.summary.sparsity == pytest.approx(50)
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
    assert result.summary.sparsity == pytest.approx(50), "batch norm is not counted"
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


def test_the_first_target_that_matches_counts_and_is_in_the_key(small: Callable, tmp_path: Path):
    both = [{"3": 80, "*": 20}, {"*": 20, "3": 80}]
    results = [run(small("ticket", **{"pruning.steps": 1, "pruning.targets": targets}), tmp_path) for targets in both]
    removed = [result.summary.levels[1].layers["3.weight"][0] for result in results]
    assert removed == [round(0.8 * 288), round(0.2 * 288)]


def test_grasp_is_refused_where_torch_has_no_second_derivative(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
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
    assert result.summary.levels[-1].layers == {"3.weight": (144, 288), "8.weight": (4, 16)}
    assert result.summary.levels[1].layers == {"3.weight": (48, 288), "8.weight": (1, 16)}


def test_a_layer_is_pruned_at_its_rate_from_level_to_level(small: Callable, tmp_path: Path):
    settings = {"pruning.schedule": "custom", "pruning.sparsities": [20, 36, 48.8]}
    result = run(small("ticket", **settings, **{"pruning.classifier": True, "pruning.rates": {"8": 0.5}}), tmp_path)
    assert [level.layers for level in result.summary.levels[1:]] == [
        {"0.weight": (round(s * 1.08), 108), "3.weight": (round(s * 2.88), 288), "8.weight": (round(own * 0.16), 16)}
        for s, own in ((20, 10), (36, 19), (48.8, 27.1))
    ]


def test_a_reused_dense_level_shows_the_layers_of_this_run(small: Callable, tmp_path: Path):
    run(small("baseline"), tmp_path)
    result = run(small("ticket", **{"pruning.first": False, "pruning.steps": 1}), tmp_path)
    assert result.summary.levels[0].reused
    assert [level.layers for level in result.summary.levels] == [{"3.weight": (0, 288)}, {"3.weight": (144, 288)}]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pruning.include": ["9*"]}, "pruning.include: found 9*; no layer has such a name, they are 0, 3, 8"),
        ({"pruning.exclude": ["0", "3"]}, "no layer is left to prune"),
        ({"pruning.targets": {"8": 20}}, "pruning.targets: found 8; no layer has such a name, they are 0, 3"),
        ({"pruning.rates": {"8": 0.5}}, "pruning.rates: found 8; no layer has such a name, they are 0, 3"),
        ({"pruning.rates": {"*": 0}}, "pruning.rates: found {'*': 0.0}; they leave every layer at 0 %: give one"),
        ({"pruning.targets": {"*": 0}}, "pruning.targets: found {'*': 0.0}; they leave every layer at 0 %: give one"),
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
