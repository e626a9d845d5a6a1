"""Tickets of a tiny model: masks, rewinding, and what each level is trained from, bit-identical."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import lthrun
from lthrun.levels.keys import Conditions
from lthrun.levels.plan import plan_chain
from lthrun.models import build_model
from lthrun.storage.level_store import LevelStore
from lthrun.storage.tensor_files import read_tensors
from lthrun.training.engine import Engine
from tests.conftest import LAYOUT, run
from tests.experiments.levels import make_builder, read_level

pytestmark = pytest.mark.usefixtures("tiny_model")
LAYERS = {"0.weight": 108, "3.weight": 288}


def test_sparsity_is_the_rounded_target_in_every_level_and_layer(small: Callable, tmp_path: Path):
    result = run(small("ticket", **{"pruning.sparsity": 70}), tmp_path)
    assert len(result.summary.levels) == 4
    for k, level in enumerate(result.summary.levels):
        pruned = {name: round(70 * k / 3 / 100 * n) for name, n in LAYERS.items()}
        assert level.layers == {name: (pruned[name], n) for name, n in LAYERS.items()}
        weights, masks = read_level(tmp_path, result, k)
        for name in LAYERS:
            assert int((weights[name] == 0).sum()) == pruned[name]
            if k:
                assert not weights[name][~masks[name]].any()
        measured = 100 * sum(pruned.values()) / sum(LAYERS.values())
        assert level.sparsity == pytest.approx(measured)
        for line in result.metrics[2 * k : 2 * k + 2]:
            assert line["level"] == k and line["sparsity"] == pytest.approx(measured)


def test_a_level_prunes_the_smallest_trained_weights_that_the_one_before_kept(small: Callable, tmp_path: Path):
    result = run(small("ticket"), tmp_path)
    for k in (1, 2, 3):
        parent, before = read_level(tmp_path, result, k - 1)
        _, masks = read_level(tmp_path, result, k)
        for name, n in LAYERS.items():
            alive = before.get(name, torch.ones_like(masks[name]))
            assert not (masks[name] & ~alive).any()
            kept, pruned = parent[name][masks[name]].abs(), parent[name][alive & ~masks[name]].abs()
            assert pruned.max() <= kept.min()
            assert int((~masks[name]).sum()) == round(50 * k / 3 / 100 * n)


@pytest.mark.parametrize("point", ["0ep", "1ep", "3it"])
def test_parameters_and_buffers_are_rewound_bit_identical(small: Callable, tmp_path: Path, point: str):
    config = small("ticket", **{"rewind.to": point})
    result = run(config, tmp_path)
    ticket = lthrun.load_ticket(result.run_dir / "ticket.safetensors")
    if point == "0ep":
        rewound = build_model("resnet18", 2, 0).state_dict()
    elif point == "1ep":
        rewound, _ = read_level(tmp_path, result, 0, "epoch-1")
        one_epoch = run(small("baseline", **{"training.epochs": 1}), tmp_path / "other")
        ends, _ = read_level(tmp_path / "other", one_epoch, 0)
        assert ends.keys() == rewound.keys()
        assert all(torch.equal(value, rewound[name]) for name, value in ends.items())
    else:
        engine = Engine(build_model("resnet18", 2, 0), config.training, torch.device("cpu"), "float32", {})
        engine.model.train()
        batches = make_builder(config, tmp_path).batches
        for step in range(3):
            engine.step(batches.training_batch(step))
        rewound = engine.model.state_dict()
    assert ticket.state.keys() == rewound.keys()
    for name, value in rewound.items():
        kept = ticket.masks.get(name, torch.ones_like(value, dtype=torch.bool))
        assert torch.equal(ticket.state[name][kept], value[kept]), name
        assert not ticket.state[name][~kept].any()
    assert any("running_mean" in name for name in rewound)
    assert ticket.metadata["rewind_point"] == point and ticket.metadata["protocol"] == "frankle"
    assert float(ticket.metadata["sparsity"]) == ticket.sparsity == pytest.approx(result.summary.sparsity)


def test_a_level_is_the_training_of_its_start_state_on_the_batches_of_its_steps(small: Callable, tmp_path: Path):
    """The last level, trained again by a plain loop from the ticket alone, ends in the same weights."""
    config = small("ticket", **{"rewind.to": "1ep"})
    result = run(config, tmp_path)
    ticket = lthrun.load_ticket(result.run_dir / "ticket.safetensors")
    batches = make_builder(config, tmp_path).batches
    model = build_model("resnet18", 2, 99).to(memory_format=LAYOUT)
    ticket.apply(model)
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": weights, "weight_decay": 0.01}, {"params": others, "weight_decay": 0}],
        lr=1e-3, betas=(0.9, 0.99), eps=1e-5, fused=True,
    )  # fmt: skip
    ticket.hold(model, optimizer)
    model.train()
    for step in range(batches.epoch_steps, 3 * batches.epoch_steps):
        images, labels = batches.training_batch(step)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images.contiguous(memory_format=LAYOUT)), labels).backward()
        optimizer.step()
    trained = read_tensors(result.run_dir / "model.safetensors")[0]
    for name, value in model.state_dict().items():
        assert torch.equal(value, trained[name]), name


def test_two_arms_with_one_seed_see_the_same_batches(small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[float] = []
    step = Engine.step
    monkeypatch.setattr(
        Engine, "step", lambda self, batch, rate: (seen.append(float(batch[0].sum())), step(self, batch, rate))[1]
    )
    run(small("ticket", **{"pruning.steps": 1}), tmp_path / "a")
    half = len(seen) // 2
    assert half and seen[:half] == seen[half:], "level 1 sees the batches of level 0"
    first, seen[:] = list(seen), []
    run(small("ticket", **{"pruning.steps": 1, "pruning.criterion": "random", "pruning.sparsity": 90}), tmp_path / "b")
    assert seen == first, "whatever the mask"
    seen.clear()
    run(small("ticket", **{"pruning.steps": 1, "pruning.protocol": "fasterai"}), tmp_path / "c")
    assert seen[:half] == first[:half] and seen[half:] != first[half:], "fasterai's step count continues"


def test_fasterai_rewinds_with_initial_batch_norm_and_continues_with_its_optimizer(small: Callable, tmp_path: Path):
    result = run(small("ticket", **{"pruning.protocol": "fasterai", "rewind.to": "1ep"}), tmp_path)
    ticket = lthrun.load_ticket(result.run_dir / "ticket.safetensors")
    rewound, _ = read_level(tmp_path, result, 0, "epoch-1")
    for name, value in ticket.state.items():
        layer, _, what = name.rpartition(".")
        if layer in ("1", "4"):
            assert (value == (1 if what in ("weight", "running_var") else 0)).all()
        else:
            kept = ticket.masks.get(name, torch.ones_like(value, dtype=torch.bool))
            assert torch.equal(value[kept], rewound[name][kept])
    assert not torch.equal(rewound["1.running_mean"], ticket.state["1.running_mean"])
    for k in (0, 3):
        moments = LevelStore(tmp_path).read(result.summary.levels[k].key, "optimizer")
        assert moments["0.weight/step"] == 6 * 2 * (k + 1)


def test_remaining_trains_up_to_the_end_of_level_0(small: Callable, tmp_path: Path):
    config = small("ticket", **{"rewind.to": "8it", "rewind.train": "remaining", "pruning.steps": 1})
    assert [line["level"] for line in run(config, tmp_path).metrics] == [0, 0, 1]
    levels = plan_chain(config, config.pruning, config.rewind, Conditions({}, 6, "cpu", "float32"))
    assert [(level.first, level.end) for level in levels] == [(0, 12), (8, 12)]
