"""lthrun's masks compared with those of fasterai 0.4.1: where they agree, and where not, which one is correct.

`make test-peers` installs fasterai and runs this; docs/peers.md tabulates the results. Three implementations are
compared: fasterai's `Sparsifier`, lthrun's, and a brute-force ranking in plain Python that shares no code with either.

fasterai keeps every score that reaches the int(s · n)-th lowest, that element included, so of n groups it removes
int(s · n) - 1 where lthrun removes round(s · n). "The same" means: fasterai's mask is lthrun's and, in addition, just
those groups by which the two counts differ, which are the next in rank.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lthrun.config.pruning import ScheduleParams
from lthrun.errors import UserError
from lthrun.sparsity import masks
from lthrun.sparsity.criteria import CRITERIA, Weights
from lthrun.sparsity.granularities import GRANULARITIES
from lthrun.sparsity.layer_selection import make_channel_masks
from lthrun.sparsity.measured_criteria import ScoringContext
from lthrun.sparsity.schedules import SCHEDULES

pytest.importorskip("fasterai")
fasterai = pytest.importorskip("fasterai.sparse.all")
from fasterai.core import schedule as fasterai_schedules  # noqa: E402
from fasterai.core.criteria import grad_crit  # noqa: E402

pytestmark = pytest.mark.peers

Tensors = dict[str, Tensor]

# What a group spans of [out, in, height, width] or of [out, in]
SPANS: dict[int, dict[str, tuple[int, ...]]] = {
    4: {
        "weight": (), "shared_weight": (0,), "channel": (1,), "column": (2,), "row": (3,),
        "kernel": (2, 3), "filter": (1, 2, 3), "vertical_slice": (1, 2), "horizontal_slice": (1, 3),
        "shared_channel": (0, 1), "shared_column": (0, 2), "shared_row": (0, 3), "shared_kernel": (0, 2, 3),
        "shared_vertical_slice": (0, 1, 2), "shared_horizontal_slice": (0, 1, 3), "layer": (0, 1, 2, 3),
    },
    2: {"weight": (), "column": (0,), "row": (1,), "layer": (0, 1)},
}  # fmt: skip

# Of the weights at the end, at the rewind point and at the last pruning
FORMULAS: dict[str, Callable[[float, float, float], float]] = {
    "large_final": lambda now, start, last: abs(now),
    "squared_final": lambda now, start, last: now * now,
    "small_final": lambda now, start, last: -abs(now),
    "large_init": lambda now, start, last: abs(start),
    "small_init": lambda now, start, last: -abs(start),
    "large_init_large_final": lambda now, start, last: min(abs(now), abs(start)),
    "small_init_small_final": lambda now, start, last: -max(abs(now), abs(start)),
    "magnitude_increase": lambda now, start, last: abs(now) - abs(start),
    "movement": lambda now, start, last: abs(now - start),
    "movmag": lambda now, start, last: abs(now * (now - start)),
    "updating_magnitude_increase": lambda now, start, last: abs(now) - abs(last),
    "updating_movement": lambda now, start, last: abs(now - last),
    "updating_movmag": lambda now, start, last: abs(now * (now - last)),
}
# lthrun's schedules as fasterai calls them
THEIR_NAMES = {n: n for n in ("one_shot", "iterative", "agp", "one_cycle", "dsd")} | {"cosine": "cos", "linear": "lin"}


def members(shape: Sequence[int], group_dims: Sequence[int]) -> list[list[int]]:
    """The flat indices of each group's members, groups in the order of their first members."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for flat, place in enumerate(itertools.product(*map(range, shape))):
        groups.setdefault(tuple(0 if d in group_dims else i for d, i in enumerate(place)), []).append(flat)
    return list(groups.values())


def brute_masks(
    scores: Tensors, sparsity: float, granularity: str = "weight", context: str = "local", alive: Tensors | None = None
) -> Tensors:
    """The lowest round(sparsity / 100 · n) groups go, pruned ones first, by sorting tuples; of equals the first."""
    ranked = []
    for index, (name, score) in enumerate(scores.items()):
        values = score.double().flatten().tolist()
        living = alive[name].flatten().tolist() if alive else [True] * len(values)
        for group in members(score.shape, SPANS[score.dim()][granularity]):
            mean = math.fsum(values[i] for i in group) / len(group)
            ranked.append((any(living[i] for i in group), mean, index, group[0], name, group))
    keep = {name: torch.ones(score.numel(), dtype=torch.bool) for name, score in scores.items()}
    for pool in [list(scores)] if context == "global" else [[name] for name in scores]:
        order = sorted(entry for entry in ranked if entry[4] in pool)
        for *_, name, group in order[: round(sparsity / 100 * len(order))]:
            keep[name][group] = False
    return {name: kept.view(scores[name].shape) for name, kept in keep.items()}


class Peer:
    """A model of bare layers under fasterai's `Sparsifier`."""

    def __init__(self, start: Tensors, criterion: str, granularity: str, context: str, nm: bool = False):
        """`start` are the weights at the rewind point, four-dimensional for a Conv2d."""
        self.layers: dict[str, nn.Module] = {}
        for name, weights in start.items():
            out, into, *kernel = weights.shape
            self.layers[name] = nn.Conv2d(into, out, kernel, bias=False) if kernel else nn.Linear(into, out, bias=False)
            self.layers[name].weight.data.copy_(weights)
        # `movmag`, which fasterai lists and has not, is `updating_movmag` at the first pruning
        criteria = getattr(fasterai, "updating_movmag" if criterion == "movmag" else criterion)
        model = nn.Sequential(*self.layers.values())
        self.sparsifier = fasterai.Sparsifier(model, granularity, context, criteria, nm, (nn.Conv2d, nn.Linear))

    def train_to(self, weights: Tensors) -> Peer:
        for name, layer in self.layers.items():
            layer.weight.data.copy_(weights[name])
        self.sparsifier._apply_masks()
        return self

    def prune(self, sparsity: float | dict[str, float], round_to: int | None = None) -> Tensors:
        """Prune to `sparsity` percent, of all or by name; the masks, in the shape of the weights."""
        each = sparsity.items() if isinstance(sparsity, dict) else ()
        by_name = {name.removesuffix(".weight"): part / 100 for name, part in each}
        self.sparsifier.sparsify_model(by_name or sparsity / 100, round_to)
        return {name: layer._mask.bool().expand_as(layer.weight).clone() for name, layer in self.layers.items()}

    def held(self, what: str = "weight") -> Tensors:
        """The weights, or those at the last pruning, of criteria that need them: `_old_weights`."""
        return {name: getattr(layer, what).detach().clone() for name, layer in self.layers.items()}


SHAPES = {"conv": [(8, 4, 3, 3), (6, 3, 5, 5), (16, 8, 1, 1), (7, 5, 3, 1)], "linear": [(10, 24), (5, 7)]}
SPARSITIES = (10.0, 100 / 3, 50.0, 80.0)
CASES = [
    (kind, granularity, context)
    for kind, granularities in (("conv", SPANS[4]), ("linear", SPANS[2]), ("both", SPANS[2]))
    for granularity in granularities
    for context in ("local", "global")
    if granularity != "layer"  # fasterai never removes one: test_fasterai_never_removes_a_layer
    # Ranked together, groups are of one size here; test_global_groups_of_different_sizes has the others
    and (kind != "both" or granularity == "weight" or context == "local")
]


def draw(shapes: Sequence[Sequence[int]], seed: int) -> tuple[Tensors, Tensors]:
    """Initial weights of as many layers as there are shapes, of different scales, and trained ones."""
    generator = torch.Generator().manual_seed(seed)
    start, trained = {}, {}
    for index, shape in enumerate(shapes):
        start[f"{index}.weight"] = torch.randn(*shape, generator=generator) * 0.05 * (index + 1)
        trained[f"{index}.weight"] = start[f"{index}.weight"] + torch.randn(*shape, generator=generator) * 0.03
    return start, trained


def models(kind: str, context: str) -> Iterator[tuple[Tensors, Tensors]]:
    """One- and two-layer models."""
    if kind == "both":
        yield draw([(8, 4, 3, 3), (10, 24)], seed=3)
    for seed, shape in enumerate(SHAPES.get(kind, [])):
        yield draw([shape], seed)
        yield draw([shape, shape], seed + 100)
        if context == "local":
            yield draw([shape, (9, *shape[1:])], seed + 200)


def scored(criterion: str, now: Tensors, start: Tensors, last: Tensors | None = None) -> tuple[Tensors, Tensors]:
    """lthrun's scores, and those of the formulas, one Python float at a time."""
    last = start if last is None else last
    ours, brute = {}, {}
    for name in now:
        reads = partial(start.get, name), partial(last.get, name)
        ours[name] = CRITERIA[criterion](Weights(now[name], torch.Generator(), *reads))
        values = zip(*(weights[name].flatten().tolist() for weights in (now, start, last)), strict=True)
        scores = [FORMULAS[criterion](*each) for each in values]
        brute[name] = torch.tensor(scores, dtype=torch.float64).view(now[name].shape)
    return ours, brute


def differing(ones: Tensors, others: Tensors) -> int:
    return sum(int((ones[name] != others[name]).sum()) for name in ones)


def groups(kept: Tensors, granularity: str) -> list[np.ndarray]:
    """Of each tensor, which of its groups are kept."""
    return [mask.numpy().any(axis=SPANS[mask.dim()][granularity]) for mask in kept.values()]


def removed(kept: Tensors, granularity: str = "weight") -> int:
    """How many groups the masks remove."""
    return sum(int((~stay).sum()) for stay in groups(kept, granularity))


def percent(kept: Tensors) -> list[float]:
    """Of each tensor."""
    return [round(100 * float((~mask).float().mean()), 1) for mask in kept.values()]


def same_but_for_the_threshold(theirs: Tensors, ours: Tensors, sparsity: float, granularity: str, context: str) -> None:
    """fasterai keeps all that lthrun keeps, and exactly as many groups more as its rule says."""
    for name in ours:
        assert not (ours[name] & ~theirs[name]).any(), f"{name}: fasterai pruned what lthrun keeps"
    counts = [stay.size for stay in groups(ours, granularity)]
    pools = [sum(counts)] if context == "global" else counts
    assert removed(theirs, granularity) == sum(max(1, int(sparsity / 100 * n)) - 1 for n in pools)
    assert removed(ours, granularity) == sum(round(sparsity / 100 * n) for n in pools)


def compare(theirs: Tensors, ours: Tensors, brute: Tensors, *rule: Any) -> None:
    """By sparsity, granularity, context and previous masks, lthrun's masks are the brute-force ones, and fasterai's
    the same but for the threshold; where that would empty a tensor, lthrun refuses and fasterai does not empty it.
    Negative scores ranked globally are the exception: fasterai's masks are then the brute-force ones of scores
    shifted by each tensor's minimum."""
    right = brute_masks(brute, *rule)
    if all(mask.any() for mask in right.values()):
        assert differing(masks.make_masks(ours, *rule), right) == 0
    else:
        with pytest.raises(UserError, match="layer collapse"):
            masks.make_masks(ours, *rule)
    if rule[2] == "global":
        right = brute_masks({name: score - score.min().clamp(max=0) for name, score in brute.items()}, *rule)
    if all(mask.any() for mask in right.values()):
        same_but_for_the_threshold(theirs, right, *rule[:3])
    else:
        assert all(mask.any() for mask in theirs.values())


def test_names_and_granularities_are_fasterais() -> None:
    assert (
        {*fasterai.available_criterias()}
        == {"random", *FORMULAS}
        == {name for name, entry in CRITERIA.items() if not entry.measured} - {"large_final_same_sign"}
    )
    assert [name for name in fasterai.available_criterias() if not hasattr(fasterai, name)] == ["movmag"]
    assert {*fasterai_schedules.available_schedules()} == {*THEIR_NAMES.values()}
    assert {*SCHEDULES} == {*THEIR_NAMES, "geometric", "custom"}
    ours = {4: {name: g.conv for name, g in GRANULARITIES.items()}}
    ours[2] = {name: g.linear for name, g in GRANULARITIES.items() if g.linear is not None}
    for dims, layer in ((4, nn.Conv2d(1, 1, 1)), (2, nn.Linear(1, 1))):
        # fasterai counts dimensions after a leading one of its own, which alone "weight" spans
        table = fasterai.Granularities.allowed_granularities(layer)
        theirs = {name: tuple(d - 1 for d in fasterai.Granularities.get_dim(layer, name) if d) for name in table}
        assert theirs == ours[dims] == SPANS[dims]


@pytest.mark.parametrize(("kind", "granularity", "context"), CASES)
@pytest.mark.parametrize("criterion", FORMULAS)
def test_same_mask(criterion: str, kind: str, granularity: str, context: str) -> None:
    """At a first pruning, and at a second, of weights rewound and retrained; `updating_…` then uses those of
    the first."""
    for start, trained in models(kind, context):
        for first, second in zip(SPARSITIES, (30.0, 50.0, 75.0, 90.0), strict=True):
            peer = Peer(start, criterion, granularity, context).train_to(trained)
            previous = peer.prune(first)
            compare(previous, *scored(criterion, trained, start), first, granularity, context)
            if criterion == "movmag":
                continue
            last = peer.held("_old_weights") if criterion.startswith("updating") else start
            peer.sparsifier._reset_weights()
            peer.train_to(draw([weights.shape for weights in start.values()], seed=7)[1])
            ours, brute = scored(criterion, peer.held(), start, last)
            theirs = peer.prune(second)
            compare(theirs, ours, brute, second, granularity, context, previous)
            assert not any((theirs[name] & ~previous[name]).any() for name in theirs)


@pytest.mark.parametrize("granularity", [name for name in SPANS[4] if name != "layer"])
def test_random_local_is_the_ranking_of_one_draw(granularity: str) -> None:
    start, _ = draw([(8, 4, 3, 3)], seed=0)
    for sparsity in SPARSITIES:
        peer = Peer(start, "random", granularity, "local")
        torch.manual_seed(5)
        theirs = peer.prune(sparsity)
        torch.manual_seed(5)
        scores = {"0.weight": torch.randn_like(start["0.weight"])}
        compare(theirs, scores, scores, sparsity, granularity, "local")


@pytest.mark.parametrize(("context", "kept_in_addition"), [("local", 20), ("global", 1)])
def test_resnet18(context: str, kept_in_addition: int) -> None:
    """All 11,166,912 weights of its convolutions, at 50 %."""
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=2)
    scores = {name: m.weight.detach().abs() for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    fasterai.Sparsifier(model, "weight", context, fasterai.large_final).sparsify_model(0.5)
    theirs = {name: model.get_submodule(name)._mask.bool() for name in scores}
    result = masks.make_masks(scores, 50.0, context=context)
    assert removed(result) == 5_583_456
    assert removed(theirs) == 5_583_456 - kept_in_addition
    assert not any((result[name] & ~theirs[name]).any() for name in result)


@pytest.mark.parametrize("granularity", ["weight", "filter", "kernel"])
def test_same_mask_with_a_target_per_layer(granularity: str) -> None:
    start, trained = draw(SHAPES["conv"][:3], seed=0)
    targets = dict(zip(start, (20.0, 50.0, 75.0), strict=True))
    ours, brute = scored("large_final", trained, start)
    theirs = Peer(start, "large_final", granularity, "local").train_to(trained).prune(targets)
    result = masks.make_masks(ours, targets, granularity)
    for name, sparsity in targets.items():
        assert differing({name: result[name]}, brute_masks({name: brute[name]}, sparsity, granularity)) == 0
        same_but_for_the_threshold({name: theirs[name]}, {name: result[name]}, sparsity, granularity, "local")


def two_of_four(score: Tensor) -> Tensor:
    """Of every four consecutive input channels at one position the two best are kept; of equal scores the last."""
    keep = torch.zeros_like(score, dtype=torch.bool)
    out, into, *kernel = map(range, score.shape)
    for o, block, *place in itertools.product(out, into[::4], *kernel):
        best = sorted(range(block, block + 4), key=lambda i: (float(score[(o, i, *place)]), i))[2:]
        keep[(o, best, *place)] = True
    return keep


@pytest.mark.parametrize("criterion", FORMULAS)
def test_same_mask_two_of_four(criterion: str) -> None:
    start, trained = draw([(8, 16, 3, 3), (16, 16, 1, 1), (5, 8, 2, 3)], seed=0)
    ours, brute = scored(criterion, trained, start)
    right = {name: two_of_four(score) for name, score in brute.items()}
    theirs = Peer(start, criterion, "weight", "local", nm=True).train_to(trained).prune(50.0)
    assert differing(masks.make_masks(ours, 50.0, "2:4"), right) == differing(theirs, right) == 0


def test_two_of_four_that_fasterai_leaves_out() -> None:
    """It skips weights that are no multiple of 16 per output, keeps all of equal scores, fails on a linear layer."""
    _, odd = draw([(6, 4, 3, 3)], seed=0)
    equal = {"0.weight": torch.ones(8, 16, 1, 1)}
    _, linear = draw([(10, 24)], seed=0)
    for weights in (odd, equal, linear):
        ours, brute = scored("large_final", weights, weights)
        result = masks.make_masks(ours, 50.0, "2:4")
        assert torch.equal(result["0.weight"], two_of_four(brute["0.weight"])) and percent(result) == [50.0]
    for weights in (odd, equal):
        assert removed(Peer(weights, "large_final", "weight", "local", nm=True).prune(50.0)) == 0
    with pytest.raises(ValueError, match="not enough values to unpack"):
        Peer(linear, "large_final", "weight", "local", nm=True).prune(50.0)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 5))


def measured(criterion: str, batches: list[tuple[Tensor, Tensor]]) -> Tensors:
    """lthrun's scores of `net()`."""
    state = {name: tensor.detach() for name, tensor in net().named_parameters()}
    names = [name for name in state if name.endswith("weight")]
    return CRITERIA[criterion](
        ScoringContext(names, state, state, {}, 50.0, lambda _: net(), lambda: batches, masks.make_masks)
    )


BATCHES = [(torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(n)), torch.arange(n) % 5) for n in (8, 5)]


@pytest.mark.parametrize("context", ["local", "global"])
def test_same_mask_by_wanda(context: str) -> None:
    """fasterai's norms are lthrun's over the root of the number of images, the same in all layers."""
    ours = measured("wanda", BATCHES)
    for sparsity in SPARSITIES:
        model, kinds = net(), (nn.Conv2d, nn.Linear)
        peer = fasterai.Sparsifier(model, "weight", context, fasterai.wanda, layer_type=kinds, data=BATCHES)
        peer.sparsify_model(sparsity / 100)
        theirs = {name: model.get_submodule(name.removesuffix(".weight"))._mask.bool() for name in ours}
        compare(theirs, ours, ours, sparsity, "weight", context)


def test_fasterais_wanda_cannot_take_a_grouped_convolution() -> None:
    with pytest.raises(RuntimeError, match="must match the size"):
        model = nn.Sequential(nn.Conv2d(6, 6, 3, groups=3))
        fasterai.Sparsifier(model, "weight", "local", fasterai.wanda, data=torch.randn(2, 6, 8, 8))


def test_taylor_of_one_batch_is_fasterais_grad_crit() -> None:
    """By weight; fasterai's `Sparsifier` cannot use it."""
    ours = measured("taylor", BATCHES[:1])
    model = net()
    images, labels = BATCHES[0]
    cross_entropy(model(images), labels).backward()
    for name, scores in ours.items():
        theirs = grad_crit(model.get_submodule(name.removesuffix(".weight")), "weight").detach()
        assert torch.allclose(theirs, scores, rtol=1e-5, atol=1e-12)
    with pytest.raises(AttributeError, match="update_weights"):
        fasterai.Sparsifier(model, "weight", "local", grad_crit).sparsify_model(0.5)


@pytest.mark.parametrize(("sizes", "sparsity", "theirs", "ours"), [([40] * 10, 50.0, 190, 200), ([100], 29.0, 27, 29)])
def test_counts(sizes: list[int], sparsity: float, theirs: int, ours: int) -> None:
    """50 % of ten layers of 40 weights; and 29 % of 100, where 0.29 · 100 is 28.999… and cut off."""
    start, trained = draw([(4, size // 4) for size in sizes], seed=0)
    assert removed(Peer(start, "large_final", "weight", "local").train_to(trained).prune(sparsity)) == theirs
    assert removed(masks.make_masks(scored("large_final", trained, start)[0], sparsity)) == ours


@pytest.mark.parametrize("criterion", ["large_final", "movement", "squared_final"])
def test_fasterai_prunes_nothing_of_equal_scores(criterion: str) -> None:
    """Signed constants, weights that have not moved, and squares of weights near 1e-8, which become equal as fasterai
    adds 1.2e-7 to every score in single precision: fasterai prunes nothing at any sparsity."""
    start, _ = draw([(8, 4, 3, 3)], seed=0)
    start["0.weight"] = start["0.weight"] * 2e-7 if criterion == "squared_final" else start["0.weight"].sign() * 0.1
    ours, brute = scored(criterion, start, start)
    for sparsity in SPARSITIES:
        assert removed(Peer(start, criterion, "weight", "local").prune(sparsity)) == 0
        result = masks.make_masks(ours, sparsity)
        assert removed(result) == round(sparsity / 100 * 288)
        assert differing(result, brute_masks(brute, sparsity)) == 0


@pytest.mark.parametrize(
    ("criterion", "theirs_percent", "ours_percent"),
    [
        ("small_final", [83.2, 16.7], [38.1, 61.9]),
        ("small_init", [96.8, 3.1], [36.5, 63.5]),
        ("small_init_small_final", [92.4, 7.5], [37.9, 62.1]),
        ("magnitude_increase", [58.3, 41.6], [49.3, 50.7]),
    ],
)
def test_global_negative_scores(criterion: str, theirs_percent: list[float], ours_percent: list[float]) -> None:
    """Half of two layers: fasterai shifts each by its own minimum before it ranks both together; `compare` has it
    that this, and nothing else, is the difference."""
    start, trained = draw([(16, 8, 3, 3)] * 2, seed=0)
    theirs = Peer(start, criterion, "weight", "global").train_to(trained).prune(50.0)
    ours, brute = scored(criterion, trained, start)
    result = masks.make_masks(ours, 50.0, context="global")
    assert (percent(theirs), percent(result)) == (theirs_percent, ours_percent)
    compare(theirs, ours, brute, 50.0, "weight", "global")


@pytest.mark.parametrize("seed", range(5))
def test_global_random_is_not_random(seed: int) -> None:
    """fasterai shifts each layer's noise by its own minimum, so a small layer is pruned more, and draws again
    between threshold and mask, so the count is not even its own rule's."""
    start, _ = draw([(10, 10), (400, 250)], seed=0)
    torch.manual_seed(seed)
    theirs = Peer(start, "random", "weight", "global").prune(50.0)
    assert percent(theirs)[0] > 80
    assert removed(theirs) != 50_049
    generator = torch.Generator().manual_seed(seed)
    scores = {name: CRITERIA["random"](Weights(w, generator, w.clone, w.clone)) for name, w in start.items()}
    result = masks.make_masks(scores, 50.0, context="global")
    assert abs(percent(result)[0] - 50) < 20  # four standard deviations
    assert removed(result) == 50_050


@pytest.mark.parametrize(
    ("sparsity", "theirs_percent", "ours_percent"), [(30.0, 25.0, 30.3), (40.0, 36.5, 41.8), (50.0, 53.3, 48.0)]
)
def test_global_groups_of_different_sizes(sparsity: float, theirs_percent: float, ours_percent: float) -> None:
    """fasterai counts filters, lthrun the weights in them. The ranking is the same, where it stops is not;
    32 filters of 27 or 144 weights can be no nearer to the target than lthrun comes."""
    start, trained = draw([(16, 3, 3, 3), (16, 16, 3, 3)], seed=0)
    for weights in (start, trained):
        weights["0.weight"] *= 1.8
    theirs = Peer(start, "large_final", "filter", "global").train_to(trained).prune(sparsity)
    ours, brute = scored("large_final", trained, start)
    result = masks.make_masks(ours, sparsity, "filter", "global")
    same_but_for_the_threshold(theirs, brute_masks(brute, sparsity, "filter", "global"), sparsity, "filter", "global")
    total = sum(mask.numel() for mask in result.values())
    assert round(100 * removed(theirs) / total, 1) == theirs_percent
    assert round(100 * removed(result) / total, 1) == ours_percent
    reachable = [brute_masks(brute, 100 * count / 32, "filter", "global") for count in range(33)]
    nearest = min(reachable, key=lambda kept: abs(removed(kept) / total - sparsity / 100))
    assert differing(result, nearest) == 0


def test_global_never_empties_a_layer() -> None:
    """A layer that ranks last as a whole: fasterai keeps one weight of it in silence, lthrun refuses."""
    start, _ = draw([(4, 4, 3, 3), (4, 4, 3, 3)], seed=0)
    start["0.weight"] *= 1e-3
    theirs = Peer(start, "large_final", "weight", "global").prune(60.0)
    # 288 · 0.6 = 172.8: 171 should be pruned, of which one is kept
    assert {name: int(mask.sum()) for name, mask in theirs.items()} == {"0.weight": 1, "1.weight": 117}
    with pytest.raises(UserError, match=r"layer collapse, 0\.weight would lose all its 144 weights"):
        masks.make_masks(scored("large_final", start, start)[0], 60.0, context="global")


@pytest.mark.parametrize("kind", SHAPES)
def test_fasterai_never_removes_a_layer(kind: str) -> None:
    """Granularity `layer` does nothing in fasterai: the best group of each layer is kept, here the only one."""
    start, _ = draw([SHAPES[kind][0]] * 4, seed=0)
    ours, brute = scored("large_final", start, start)
    for context, sparsity in itertools.product(("local", "global"), (*SPARSITIES, 99.0)):
        assert removed(Peer(start, "large_final", "layer", context).prune(sparsity)) == 0
        right = brute_masks(brute, sparsity, "layer", context)
        if any(mask.any() for mask in right.values()):
            assert differing(masks.make_masks(ours, sparsity, "layer", context), right) == 0
        else:
            with pytest.raises(UserError, match="all layers would be pruned"):
                masks.make_masks(ours, sparsity, "layer", context)


@pytest.mark.parametrize(("stay", "theirs_stay", "ours_stay"), [(8, 16, 8), (12, 16, 16), (10, 16, 8), (1, 8, 8)])
def test_round_to(stay: int, theirs_stay: int, ours_stay: int) -> None:
    """Of 24 filters in multiples of 8: fasterai rounds up, after it has kept the threshold's, lthrun to the nearest."""
    start, trained = draw([(24, 4, 3, 3)], seed=0)
    ours, brute = scored("large_final", trained, start)
    sparsity = 100 * (24 - stay) / 24
    theirs = Peer(start, "large_final", "filter", "local").train_to(trained).prune(sparsity, round_to=8)
    result = masks.make_masks(ours, sparsity, "filter", round_to=8)
    assert differing(theirs, brute_masks(brute, 100 * (24 - theirs_stay) / 24, "filter")) == 0
    assert differing(result, brute_masks(brute, 100 * (24 - ours_stay) / 24, "filter")) == 0


def test_fasterais_round_to_leaks_between_layers() -> None:
    """Global 30 % of 8 large and 32 small filters: right are the 12 lowest, all of the second layer, which leaves 20
    of its filters, a multiple of 4. In fasterai the first layer's smallest becomes the threshold of all layers."""
    start, _ = draw([(8, 4, 3, 3), (32, 4, 3, 3)], seed=0)
    start["0.weight"] *= 10
    ours, brute = scored("large_final", start, start)
    theirs = Peer(start, "large_final", "filter", "global").prune(30.0, round_to=4)
    result = masks.make_masks(ours, 30.0, "filter", "global", round_to=4)
    assert differing(result, brute_masks(brute, 30.0, "filter", "global")) == 0
    assert (removed(theirs, "filter"), removed(result, "filter")) == (28, 12)  # 70 %, and 30 %


def test_round_to_fails_in_fasterai() -> None:
    """By weight, where scores are no single row, and where all 10 filters stay, which are no multiple of 8."""
    start, _ = draw([(10, 4, 3, 3)], seed=0)
    ours, _ = scored("large_final", start, start)
    with pytest.raises(RuntimeError, match="ambiguous"):
        Peer(start, "large_final", "weight", "local").prune(50.0, round_to=8)
    with pytest.raises(RuntimeError, match="out of range"):
        Peer(start, "large_final", "filter", "local").prune(5.0, round_to=8)
    assert removed(masks.make_masks(ours, 50.0, round_to=8)) == 360 - 184  # 180 lies between 176 and 184
    assert removed(masks.make_masks(ours, 5.0, "filter", round_to=8)) == 0


class Behind(nn.Sequential):
    """The batch norm is registered behind the convolution and used before it."""

    def forward(self, x: Tensor) -> Tensor:
        return self[0](self[1](x))


@pytest.mark.parametrize("kind", [nn.Sequential, Behind])
def test_filters_are_pruned_with_bias_and_batch_norm(kind: type[nn.Sequential]) -> None:
    """Both zero a pruned filter's bias and the batch norm after it; which that is, fasterai guesses from the order
    of registration, and its zeros of batch norm are in no mask."""
    model = kind(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
    layer, norm = model
    nn.init.ones_(norm.bias)
    fasterai.Sparsifier(model, "filter", "local", fasterai.large_final).sparsify_model(0.5)
    kept = layer._mask.flatten().bool()
    assert int(kept.sum()) == 5
    assert all(torch.equal(tensor.bool(), kept) for tensor in (layer.bias, norm.weight, norm.bias))
    assert "_mask" not in dict(norm.named_buffers())
    result = make_channel_masks(model, {"0.weight": layer._mask.bool().expand_as(layer.weight)})
    assert [*result] == (["0.bias"] if kind is Behind else ["0.bias", "1.weight", "1.bias"])
    assert all(torch.equal(mask, kept) for mask in result.values())


def test_old_weights_outlive_the_sparsifier() -> None:
    """`updating_…` of a second fit starts from the first fit's last pruning, masks and start do not."""
    peer = Peer(draw([(8, 4, 3, 3)], seed=0)[0], "updating_movement", "weight", "local")
    peer.prune(50.0)
    peer.sparsifier._clean_buffers()
    assert [*dict(peer.layers["0.weight"].named_buffers())] == ["_old_weights"]


@pytest.mark.parametrize(("start", "end"), [(0.0, 50.0), (10.0, 80.0)])
@pytest.mark.parametrize("name", THEIR_NAMES)
def test_same_schedule(name: str, start: float, end: float) -> None:
    """At 1,000 positions and the start, by the formula and through fasterai's `Schedule`, whose
    `one_shot` alone is at its end at the start already."""
    theirs = getattr(fasterai_schedules, THEIR_NAMES[name])
    schedule = fasterai_schedules.Schedule(theirs.sched_func, start_pct=0.25)
    for index in range(name == "one_shot", 1001):
        ours = SCHEDULES[name](index / 1000, ScheduleParams(start, end))
        assert ours == pytest.approx(theirs.sched_func(start, end, index / 1000), abs=1e-9)
        through = schedule.progress(0.25 + 0.75 * index / 1000)
        assert ours == pytest.approx(start + (end - start) * through, abs=1e-9)


def test_iterative_overshoots_in_floating_point() -> None:
    """The 7th of 25 equal steps: 7/25 · 25 is 7.000000000000001, and its ceiling 8."""
    assert fasterai_schedules.sched_iterative(0.0, 50.0, 7 / 25, 25) == pytest.approx(16.0)
    assert SCHEDULES["iterative"](7 / 25, ScheduleParams(0.0, 50.0, steps=25)) == pytest.approx(14.0)


def test_dense_sparse_dense_flickers() -> None:
    """Down the second half, fasterai's masks become dense at once, for pruned scores tie at zero and all
    reach the threshold; if training then moves the weights, the next pruning is sparse again, and so on.
    lthrun restores exactly as many as the schedule says, the best first."""
    start, trained = draw([(16, 8, 3, 3)], seed=0)
    peer = Peer(start, "large_final", "weight", "local").train_to(trained)
    previous = peer.prune(50.0)
    generator = torch.Generator().manual_seed(0)
    wished, theirs = [], []
    for step in range(11, 21):
        sparsity = SCHEDULES["dsd"](step / 20, ScheduleParams(0.0, 50.0))
        wished.append(round(sparsity, 1))
        theirs += percent(peer.prune(50 * fasterai_schedules.sched_dsd(0.0, 1.0, step / 20)))
        moved = {name: w + torch.randn(w.shape, generator=generator) * 0.01 for name, w in peer.held().items()}
        ours, brute = scored("large_final", peer.train_to(moved).held(), start)
        result = masks.make_masks(ours, sparsity, previous=previous)
        assert differing(result, brute_masks(brute, sparsity, alive=previous)) == 0
        assert removed(result) == round(sparsity / 100 * 1152)
        assert not (previous["0.weight"] & ~result["0.weight"]).any(), "pruned while the sparsity falls"
        previous = result
    assert wished == [48.8, 45.2, 39.7, 32.7, 25.0, 17.3, 10.3, 4.8, 1.2, 0.0]
    assert theirs == [0.0, 45.1, 0.0, 32.6, 0.0, 17.2, 0.0, 4.7, 0.0, 0.0]
