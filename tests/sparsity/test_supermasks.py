"""Learned masks: what they keep, how gradients reach the scores, and that weights never change."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lthrun.events import Evaluated, ignore
from lthrun.models import build_model
from lthrun.rng import make_generator
from lthrun.sparsity import supermasks
from lthrun.sparsity.masks import make_masks
from lthrun.sparsity.supermasks import Bernoulli, EdgePopup, StraightThrough
from lthrun.storage.tensor_files import read_tensors
from tests.conftest import LAYOUT, interrupt, run


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 99), st.sampled_from([1, 3, 10**6]))
def test_edge_popup_keeps_the_largest_scores_by_magnitude(out, inputs, seed, levels):
    """Also where few `levels` make many ties, of which the first by index are pruned."""
    weight = torch.ones(out, inputs, 2, 2)
    kept = max(1, weight.numel() // 3)
    popup = EdgePopup(weight, kept, torch.Generator().manual_seed(seed))
    popup.scores.data = (popup.scores.data * levels).round() / levels
    by_sort = make_masks({"w": popup.scores.detach().abs()}, 100 * (1 - kept / weight.numel()))["w"]
    assert torch.equal(popup.mask(), by_sort)
    mask, size = popup.mask(), popup.scores.detach().abs()
    assert int(mask.sum()) == kept
    assert kept == weight.numel() or size[~mask].max() <= size[mask].min()
    assert torch.equal(popup(weight) != 0, mask)


def test_gradients_pass_through_the_mask_and_the_magnitude():
    """d/ds of sum(w · m(|s|)) is w · sign(s), pruned or not."""
    weight = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    popup = EdgePopup(weight, 2, torch.Generator().manual_seed(0))
    popup.scores.data = torch.tensor([[0.1, -0.2, 0.3, -0.4]])
    popup(weight).sum().backward()
    assert popup.scores.grad.tolist() == [[1.0, -2.0, 3.0, -4.0]]
    scores = torch.tensor([1.0, 2.0], requires_grad=True)
    StraightThrough.apply(scores, torch.tensor([0.0, 1.0])).sum().backward()
    assert scores.grad.tolist() == [1.0, 1.0]


def test_bernoulli_draws_in_every_pass_and_its_mask_keeps_the_likelier_half():
    weight = torch.ones(1, 4000)
    popup = Bernoulli(weight, torch.Generator())
    popup.scores.data = torch.cat([torch.full((1, 2000), math.log(3)), torch.full((1, 2000), -math.log(3))], 1)
    torch.manual_seed(0)
    drawn = popup(weight)
    assert not torch.equal(drawn, popup(weight))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert drawn[:, :2000].mean().item() == pytest.approx(0.75, abs=0.05)
    assert drawn[:, 2000:].mean().item() == pytest.approx(0.25, abs=0.05)
    assert popup.mask()[:, :2000].all() and not popup.mask()[:, 2000:].any()
    sampled = supermasks.sample({"w": popup.scores.detach()}, torch.Generator().manual_seed(1))["w"]
    assert sampled.float()[:, :2000].mean().item() == pytest.approx(0.75, abs=0.05)


@pytest.mark.parametrize(("kind", "share"), [("signed_constant", 0.5), ("kaiming_normal", 0.3)])
def test_weights_have_the_papers_standard_deviation(kind, share):
    model = nn.Sequential(nn.Conv2d(16, 64, 3, bias=False))
    supermasks.draw_supermask_weights(model, ["0.weight"], kind, share, torch.Generator().manual_seed(0))
    sigma = math.sqrt(2 / (16 * 9) / share)
    weight = model[0].weight.detach()
    assert weight.std(correction=0).item() == pytest.approx(sigma, rel=0.03)
    if kind == "signed_constant":
        assert torch.allclose(weight.abs(), torch.full_like(weight, sigma)) and abs(weight.sign().mean().item()) < 0.05


pytestmark_runs = pytest.mark.usefixtures("tiny_model")


@pytestmark_runs
@pytest.mark.parametrize("method", ["edge-popup", "bernoulli"])
@pytest.mark.parametrize("classifier", [True, False])
def test_no_weight_moves_and_the_mask_is_what_it_says(small: Callable, tmp_path: Path, method: str, classifier: bool):
    settings = {"supermask.method": method, "pruning.classifier": classifier}
    result = run(small("supermask", **settings), tmp_path)
    found = result.summary.supermask
    assert found.weights_unchanged is True
    initial = build_model("resnet18", 2, 0)
    names = ["0.weight", "3.weight", *(["8.weight"] if classifier else [])]
    share = 0.5 if method == "edge-popup" else 1.0
    supermasks.draw_supermask_weights(initial, names, "signed_constant", share, make_generator(0, "init", 1))
    trained = read_tensors(result.run_dir / "model.safetensors")[0]
    for name, parameter in initial.named_parameters():
        assert torch.equal(trained[name], parameter), name
    layers = result.summary.levels[0].layers
    assert list(layers) == names
    if method == "edge-popup":
        assert layers == {n: (initial.get_parameter(n).numel() // 2, initial.get_parameter(n).numel()) for n in names}
        assert found.sampled is None
    else:
        assert found.sampled.n == 20
    level = tmp_path / "levels" / result.summary.levels[0].key
    masks = {n: t for n, t in read_tensors(level / "end.safetensors")[0].items() if n.startswith("mask/")}
    assert {n.removeprefix("mask/"): (int((~t).sum()), t.numel()) for n, t in masks.items()} == layers


@pytestmark_runs
@pytest.mark.parametrize("method", ["edge-popup", "bernoulli", "lth"])
def test_a_mask_is_evaluated_beside_the_dense_network_and_twenty_random_masks(
    small: Callable, tmp_path: Path, method: str
):
    found = run(small("supermask", **{"supermask.method": method}), tmp_path).summary.supermask
    assert found.random.n == 20
    for spread in (found.random.accuracy, found.random.balanced_accuracy):
        assert spread.lowest <= spread.mean <= spread.highest
    assert 0 <= found.dense.balanced_accuracy_interval[0] <= found.dense.balanced_accuracy
    if method == "lth":
        assert [level.level for level in found.levels] == [1, 2, 3]
        assert found.levels[-1].accuracy == found.accuracy
    low, beaten = found.balanced_accuracy_interval[0], found.random.balanced_accuracy.highest
    assert found.better_than_chance == (low > 0.5 and found.balanced_accuracy > beaten)


@pytestmark_runs
@pytest.mark.parametrize("method", ["edge-popup", "bernoulli"])
@pytest.mark.parametrize("moment", [3, 9])
def test_learning_a_mask_resumes_to_the_same_end(small: Callable, tmp_path: Path, method: str, moment: int):
    """Also where masks are drawn in every step."""
    config = small("supermask", **{"supermask.method": method})
    whole = run(config, tmp_path / "whole")
    interrupt(config, tmp_path / "broken", moment, checkpoint_every="2it")
    rest = run(config, tmp_path / "broken")
    assert rest.summary.supermask == whole.summary.supermask
    ends = [
        (tmp_path / place / "levels" / whole.summary.levels[0].key / "end.safetensors").read_bytes()
        for place in ("whole", "broken")
    ]
    assert ends[0] == ends[1]


@pytestmark_runs
def test_what_was_evaluated_is_not_evaluated_again(small: Callable, tmp_path: Path):
    config = small("supermask")
    interrupt(config, tmp_path, 9, Evaluated)
    (file,) = tmp_path.glob("supermask-*/evaluations.jsonl")
    with file.open("a") as torn:
        torn.write('{"name": "random-7", "corr')
    first = file.read_text().splitlines()[:8]
    result = run(config, tmp_path)
    lines = file.read_text().splitlines()
    assert lines[:8] == first and result.summary.supermask.random.n == 20
    names = [json.loads(line)["name"] for line in lines if line.endswith("}")]
    assert len(names) == len(set(names)) == 1 + 2 + 1 + 20 and len(lines) == len(names) + 1, "the torn line"


@pytestmark_runs
def test_a_masks_evaluation_is_that_of_a_plain_network(small: Callable, tmp_path: Path):
    """The dense control again by plain PyTorch: batch norm's statistics as cumulative averages of center crops."""
    from lthrun.levels.builder import LevelBuilder
    from lthrun.levels.context import prepare
    from lthrun.storage.level_store import LevelStore

    config = small("supermask", **{"pruning.steps": 1})
    result = run(config, tmp_path)
    batches = LevelBuilder(prepare(config, ignore), LevelStore(tmp_path), ignore).batches
    model = build_model("resnet18", 2, 0).to(memory_format=LAYOUT)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        model.train()
        for images, _ in batches.center_crops("train", 8):
            model(images.contiguous(memory_format=LAYOUT))
        model.eval()
        right = sum(
            int((model(images.contiguous(memory_format=LAYOUT)).argmax(1) == labels).sum())
            for images, labels in batches.validation_batches()
        )
    assert result.summary.supermask.dense.accuracy == pytest.approx(right / 12)
