"""Criteria against independent formulas in numpy, or worked by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lthrun.errors import UserError
from lthrun.sparsity import masks
from lthrun.sparsity.criteria import CRITERIA, Weights
from lthrun.sparsity.measured_criteria import PASSES, ScoringContext

FORMULAS = {
    "large_final": lambda w, w0, wl: np.abs(w),
    "squared_final": lambda w, w0, wl: w * w,
    "small_final": lambda w, w0, wl: -np.abs(w),
    "large_init": lambda w, w0, wl: np.abs(w0),
    "small_init": lambda w, w0, wl: -np.abs(w0),
    "large_init_large_final": lambda w, w0, wl: np.minimum(np.abs(w), np.abs(w0)),
    "small_init_small_final": lambda w, w0, wl: -np.maximum(np.abs(w), np.abs(w0)),
    "large_final_same_sign": lambda w, w0, wl: w * np.sign(w0),
    "magnitude_increase": lambda w, w0, wl: np.abs(w) - np.abs(w0),
    "movement": lambda w, w0, wl: np.abs(w - w0),
    "movmag": lambda w, w0, wl: np.abs(w * (w - w0)),
    "updating_magnitude_increase": lambda w, w0, wl: np.abs(w) - np.abs(wl),
    "updating_movement": lambda w, w0, wl: np.abs(w - wl),
    "updating_movmag": lambda w, w0, wl: np.abs(w * (w - wl)),
}
tensors = st.lists(st.tuples(*[st.floats(-9, 9, width=32)] * 3), min_size=1, max_size=20)


def test_every_criterion_but_random_has_a_formula_here():
    assert set(FORMULAS) | {"random"} == {name for name, entry in CRITERIA.items() if not entry.measured}


@given(st.sampled_from(sorted(FORMULAS)), tensors)
def test_criteria_equal_their_formulas_and_do_not_change_the_weights(name, values):
    now, start, last = (torch.tensor(column) for column in zip(*values, strict=True))
    before = [t.clone() for t in (now, start, last)]
    scores = CRITERIA[name](Weights(now, torch.Generator(), lambda: start, lambda: last))
    assert np.allclose(scores, FORMULAS[name](*(t.numpy() for t in before)), rtol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip((now, start, last), before, strict=True))


def test_random_is_drawn_from_its_generator():
    ones = torch.ones(50)
    first, again, other = (
        CRITERIA["random"](Weights(ones, torch.Generator().manual_seed(seed), lambda: ones, lambda: ones))
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def net() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3, groups=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2),
    )  # fmt: skip


NAMES = ["0.weight", "3.weight", "7.weight"]


def batches() -> Iterator[tuple[Tensor, Tensor]]:
    rng = torch.Generator().manual_seed(5)
    for _ in range(3):
        yield torch.rand(4, 3, 8, 8, generator=rng), torch.randint(0, 2, (4,), generator=rng)


def build(state: dict[str, Tensor]) -> nn.Module:
    model = net()
    model.load_state_dict(state)
    return model


def scoring_context(
    sparsity: float = 60.0, previous: dict[str, Tensor] | None = None, ranking: str = "global"
) -> ScoringContext:
    start = net().state_dict()
    rng = torch.Generator().manual_seed(9)
    trained = {
        n: t + 0.1 * torch.randn(t.shape, generator=rng) if t.is_floating_point() else t for n, t in start.items()
    }
    trained["1.running_var"] = trained["1.running_var"].abs()
    earlier = previous or {}
    for state in (start, trained):
        masks.apply_masks(state, earlier)
    return ScoringContext(
        NAMES, trained, start, earlier, sparsity, build, batches,
        lambda scores, percent, before: masks.make_masks(scores, percent, "weight", ranking, before),
    )  # fmt: skip


def loss(model: nn.Module, temperature: float = 1.0) -> Tensor:
    """The mean over the batches, batch norm on batch statistics."""
    model.train()
    return torch.stack([cross_entropy(model(images) / temperature, labels) for images, labels in batches()]).mean()


def connection_gradients(state: dict[str, Tensor]) -> list[list[Tensor]]:
    """Per batch the derivatives of the loss to masks that multiply the weights, at 1: what a weight's removal does to
    first order, as SNIP defines it."""
    model = build(state).train()
    derivatives = []
    for images, labels in batches():
        connections = {n: torch.ones_like(model.get_parameter(n), requires_grad=True) for n in NAMES}
        masked = {n: connections[n] * p if n in connections else p for n, p in model.named_parameters()}
        batch_loss = cross_entropy(torch.func.functional_call(model, masked, images), labels)
        derivatives.append(list(torch.autograd.grad(batch_loss, list(connections.values()))))
    return derivatives


def test_snip_is_the_magnitude_of_the_mean_derivative_to_the_connection():
    scores = CRITERIA["snip"](scoring_context())
    per_batch = connection_gradients(scoring_context().start)
    for n, *derivatives in zip(NAMES, *per_batch, strict=True):
        assert torch.allclose(scores[n], torch.stack(derivatives).mean(0).abs(), rtol=1e-4, atol=1e-7), n


def test_taylor_is_the_mean_over_the_batches_of_the_squared_derivative():
    scores = CRITERIA["taylor"](scoring_context())
    per_batch = connection_gradients(scoring_context().trained)
    for n, *derivatives in zip(NAMES, *per_batch, strict=True):
        assert torch.allclose(scores[n], torch.stack(derivatives).square().mean(0), rtol=1e-3, atol=1e-9), n
    assert CRITERIA["taylor"].version == 2, "it once averaged before it squared"


def test_taylor_by_hand_does_not_let_batches_cancel():
    """Logits (w x, 0), one image of class 0 per batch: dL/dw is −x · sigmoid(−w x); at w = 0 that is −x / 2 and the
    product 0, so w = ln 3: −x / (1 + 3^x). Images 1 and −1: −1/4 and 3/4; the mean of squares is 0.3125 · ln² 3."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 1, bias=False), nn.ConstantPad1d((0, 1), 0.0))
    state = {"1.weight": torch.full((1, 1), 3.0).log()}

    def restore(values: dict[str, Tensor]) -> nn.Module:
        model.load_state_dict(values)
        return model

    images = [(torch.full((1, 1, 1, 1), value), torch.zeros(1, dtype=torch.int64)) for value in (1.0, -1.0)]
    context = ScoringContext(["1.weight"], state, state, {}, 10.0, restore, lambda: images, lambda *_: {})
    expected = (1 / 16 + 9 / 16) / 2 * math.log(3) ** 2
    assert CRITERIA["taylor"](context)["1.weight"].item() == pytest.approx(expected, rel=1e-5)


def test_grasp_is_the_change_of_the_gradient_flow():
    """w · Hg, with Hg as a central difference of the gradient along the gradient, in float64."""
    from dataclasses import replace

    doubled = replace(
        scoring_context(),
        model=lambda state: build(state).double(),
        batches=lambda: ((images.double(), labels) for images, labels in batches()),
    )
    scores = CRITERIA["grasp"](doubled)

    def gradient(shift: dict[str, Tensor], size: float) -> list[Tensor]:
        model = build(scoring_context().start).double().train()
        with torch.no_grad():
            for n, direction in shift.items():
                model.get_parameter(n).add_(direction, alpha=size)
        total = sum(cross_entropy(model(images.double()) / 200, labels) for images, labels in batches())
        return list(torch.autograd.grad(total, [model.get_parameter(n) for n in NAMES]))

    flow = dict(zip(NAMES, gradient({}, 0), strict=True))
    ahead, behind = gradient(flow, 1e-1), gradient(flow, -1e-1)
    for n, a, b in zip(NAMES, ahead, behind, strict=True):
        hessian_product = (a - b) / 0.2
        assert torch.allclose(
            scores[n], scoring_context().start[n].double() * hessian_product, rtol=1e-3, atol=1e-11
        ), n


def test_a_single_synflow_pass_is_the_flow_of_magnitudes_through_each_weight():
    """Two linear layers by hand: R = 1ᵀ|A||B|1, and w · ∂R/∂w is the sum over the paths through w."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False), nn.Linear(2, 2, bias=False))
    first, second = torch.tensor([[1.0, -2, 3], [4, 5, -6]]), torch.tensor([[1.0, -1], [2, 3]])
    state = {"1.weight": first, "2.weight": second}

    def hold(values: dict[str, Tensor]) -> nn.Module:
        model.float().load_state_dict(values)
        return model

    context = ScoringContext(
        list(state), state, state, {}, 10.0, hold, lambda: [(torch.rand(1, 3, 1, 1), torch.zeros(1))],
        lambda scores, percent, before: {n: torch.ones_like(s, dtype=torch.bool) for n, s in scores.items()},
    )  # fmt: skip
    scores = CRITERIA["synflow"](context)
    assert scores["1.weight"].tolist() == [[3.0, 6, 9], [16, 20, 24]]  # |a| times the column sums 3 and 4 of |second|
    assert scores["2.weight"].tolist() == [[6.0, 15], [12, 45]]  # |b| times the row sums 6 and 15 of |first|


@settings(max_examples=25)  # each of a hundred passes
@given(st.floats(10, 97), st.integers(0, 1))
def test_synflow_scores_give_the_mask_of_its_last_pass_and_empty_no_layer(sparsity, seed):
    context = scoring_context(sparsity)
    scores = CRITERIA["synflow"](context)
    result = context.prune(scores, sparsity, None)
    removed = sum(int((~mask).sum()) for mask in result.values())
    total = sum(mask.numel() for mask in result.values())
    assert removed == round(sparsity / 100 * total) and all(mask.any() for mask in result.values())
    assert sum(int((score == -1).sum()) for score in scores.values()) == removed
    assert PASSES == 100


class Residual(nn.Module):
    """A block whose branch is wide and whose convolution on the shortcut is faint."""

    def __init__(self, shortcut: float, branch: float):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.downsample = nn.Conv2d(3, 4, 1, bias=False)
        self.head = nn.Linear(4, 2, bias=False)
        for layer, scale in ((self.conv, branch), (self.downsample, shortcut)):
            nn.init.uniform_(layer.weight, scale / 2, scale, generator=torch.Generator().manual_seed(0))

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.conv(x) + self.downsample(x)).mean((2, 3)))


def residual_context(shortcut: float, branch: float, sparsity: float, names: list[str]) -> ScoringContext:
    torch.manual_seed(0)
    model = Residual(shortcut, branch)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def restore(values: dict[str, Tensor]) -> nn.Module:
        copy = Residual(1.0, 1.0)
        copy.load_state_dict(values)
        return copy

    return ScoringContext(
        names, state, state, {}, sparsity, restore, lambda: [(torch.rand(1, 3, 6, 6), torch.zeros(1))],
        lambda scores, percent, before: masks.make_masks(
            scores, percent, context="global", previous=before, may_empty=CRITERIA["synflow"].may_empty
        ),
    )  # fmt: skip


@pytest.mark.parametrize(("shortcut", "branch", "empty"), [(1e-3, 1, "downsample"), (1, 1e-3, "conv")])
def test_synflow_may_empty_a_layer_that_another_path_bypasses(shortcut: float, branch: float, empty: str):
    names = ["conv.weight", "downsample.weight"]
    sparsity = 50.0 if empty == "downsample" else 95.0
    context = residual_context(shortcut, branch, sparsity, names)
    result = context.prune(CRITERIA["synflow"](context), sparsity, None)
    assert [name for name, mask in result.items() if not mask.any()] == [f"{empty}.weight"]
    assert sum(int((~mask).sum()) for mask in result.values()) == round(sparsity / 100 * 120)


def test_synflow_refuses_what_disconnects_the_output_and_names_the_sparsity_asked_for():
    """The head's 8 weights are fainter than all others, and the only way to the output."""
    context = residual_context(1.0, 1.0, 90.0, ["conv.weight", "downsample.weight", "head.weight"])
    context.start["head.weight"].fill_(0)
    with pytest.raises(UserError, match=r"found 90; layer collapse, no path of kept weights leads from the input"):
        CRITERIA["synflow"](context)


def test_other_criteria_empty_no_tensor():
    assert [name for name, entry in CRITERIA.items() if entry.may_empty] == ["synflow"]
    scores = {"a": torch.zeros(2, 2), "b": torch.ones(2, 2)}
    with pytest.raises(UserError, match="a would lose all its 4 weights"):
        masks.make_masks(scores, 50, context="global")
    assert not masks.make_masks(scores, 50, context="global", may_empty=True)["a"].any()
    with pytest.raises(UserError, match="all layers would be pruned"):
        masks.make_masks(scores, 99, context="global", may_empty=True)


def test_synflow_continues_from_an_earlier_mask():
    first = scoring_context(30).prune(CRITERIA["synflow"](scoring_context(30)), 30, None)
    context = scoring_context(60, first)
    second = context.prune(CRITERIA["synflow"](context), 60, first)
    assert not any((second[n] & ~first[n]).any() for n in NAMES)


def test_wanda_is_magnitude_times_the_norm_of_the_weights_input():
    scores = CRITERIA["wanda"](scoring_context())
    model = build(scoring_context().trained).eval()
    images = torch.cat([images for images, _ in batches()])
    with torch.no_grad():
        hidden = model[2](model[1](model[0](images)))
        features = model[6](model[5](model[4](model[3](hidden))))
    weight = scoring_context().trained
    assert torch.allclose(
        scores["0.weight"], weight["0.weight"].abs() * images.square().sum((0, 2, 3)).sqrt().view(1, 3, 1, 1)
    )
    norms = hidden.square().sum((0, 2, 3)).sqrt()
    for out in range(6):  # filters 0 to 2 see inputs 0 and 1, filters 3 to 5 inputs 2 and 3
        seen = norms[2 * (out // 3) : 2 * (out // 3) + 2].view(2, 1, 1)
        assert torch.allclose(scores["3.weight"][out], weight["3.weight"][out].abs() * seen, rtol=1e-5)
    assert torch.allclose(scores["7.weight"], weight["7.weight"].abs() * features.square().sum(0).sqrt(), rtol=1e-5)


def test_wanda_of_a_linear_layer_with_spatial_inputs():
    """ConvNeXt's linear layers read [batch, height, width, features]."""
    model = nn.Sequential(nn.Linear(3, 2, bias=False))
    images = torch.rand(4, 5, 6, 3)
    context = ScoringContext(
        ["0.weight"], model.state_dict(), {}, {}, 50.0, lambda state: model, lambda: [(images, images)], lambda *_: {}
    )  # fmt: skip
    expected = model[0].weight.abs() * images.reshape(-1, 3).square().sum(0).sqrt()
    assert torch.allclose(CRITERIA["wanda"](context)["0.weight"], expected)


@pytest.mark.parametrize("name", [name for name, entry in CRITERIA.items() if entry.measured])
def test_measured_criteria_change_neither_state(name):
    context = scoring_context()
    before = {n: t.clone() for n, t in context.trained.items()}, {n: t.clone() for n, t in context.start.items()}
    scores = CRITERIA[name](context)
    assert {n: s.shape for n, s in scores.items()} == {n: before[0][n].shape for n in NAMES}
    for state, old in zip((context.trained, context.start), before, strict=True):
        assert all(torch.equal(state[n], old[n]) for n in old)


class Partial(nn.Module):
    """A network that does not train its first layer, and has a layer that takes no part in its output."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.body, self.aside = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3), nn.Conv2d(4, 6, 3, groups=2)
        self.first.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.first(x).relu()).mean((2, 3))


@pytest.mark.parametrize("name", [name for name, entry in CRITERIA.items() if entry.measured])
def test_a_layer_without_part_in_the_output_scores_lowest_and_an_untrained_one_is_scored(name: str):
    state = Partial().state_dict()
    context = ScoringContext(
        ["first.weight", "body.weight", "aside.weight"], state, state, {}, 50.0,
        lambda weights: Partial(), batches, lambda scores, percent, before: masks.make_masks(
            scores, percent, "weight", "global", before, may_empty=True
        ),
    )  # fmt: skip
    scores = CRITERIA[name](context)
    assert (scores["aside.weight"] <= 0).all() and scores["first.weight"].any() and scores["body.weight"].any()
