"""Makes masks from weights, as the settings of an experiment say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial

import torch
from torch import Tensor, nn

from lthrun.config.pruning import SparsitySettings
from lthrun.data.batches import Batches
from lthrun.levels.plan import Level
from lthrun.levels.states import NetworkStates
from lthrun.rng import make_generator
from lthrun.sparsity import masks as masking
from lthrun.sparsity.criteria import CRITERIA, Weights
from lthrun.sparsity.layer_selection import make_channel_masks
from lthrun.sparsity.masks import Tensors
from lthrun.sparsity.measured_criteria import ScoringContext
from lthrun.training import state
from lthrun.training.engine import Engine


class MaskMaker:
    """Makes masks by `settings`. Some criteria need the model and training batches."""

    def __init__(self, settings: SparsitySettings, states: NetworkStates, batches: Batches, device: torch.device):
        self.settings, self.states, self.batches, self.device = settings, states, batches, device
        self.names, self.seed = states.names, states.config.seed

    def make_level_masks(self, level: Level) -> Tensors:
        """The masks of a level, made from its parent's trained weights; none for a dense level."""
        if level.parent is None:
            return {}
        trained, previous = self.states.end(level.parent)
        start, before = cache(lambda: self.states.rewound(level)), level.parent.parent
        last = cache(lambda: self.states.end(before)[0]) if before else start
        masks = self.make_masks(level.index, level.sparsity, trained, start, last, previous)
        if level.control != "random-mask":
            return masks
        rng = make_generator(self.seed, "mask", level.index, 0)
        return masking.draw_random_masks({name: masks[name] for name in self.names}, rng, self.settings.granularity)

    def make_masks(
        self,
        position: int,
        sparsity: float,
        trained: Tensors,
        start: Callable[[], Tensors],
        last: Callable[[], Tensors],
        previous: Tensors,
        alive: Tensors | None = None,
    ) -> Tensors:
        """The masks at `sparsity` percent.

        Args:
            position: which pruning step this is, for the criteria that draw random numbers.
            trained: all parameters and buffers, now.
            start: gives those at the rewind point.
            last: gives at least the prunable tensors, at the previous pruning step.
            previous: the masks so far; empty before the first pruning step.
            alive: the prunable tensors as they were before they were pruned, which ranks the pruned ones where
                sparsity may fall.
        """
        alive, criterion = alive or trained, CRITERIA[self.settings.criterion]
        rng = make_generator(self.seed, "mask", position)
        if not criterion.measured:
            reads = {n: (partial(read, start, n), partial(read, last, n)) for n in self.names}
            scores = {n: criterion(Weights(alive[n], rng, *reads[n])) for n in self.names}
        else:
            if self.states.config.resets.pruned == "zero":
                masking.apply_masks(start(), previous)
            context = ScoringContext(
                self.names, trained, start(), previous, sparsity, self._load, self._measuring_batches, self._rank
            )
            scores = criterion(context)
            # A pruned weight cannot be measured; the pruned ones are ranked by magnitude.
            scores |= {n: torch.where(previous[n], scores[n], alive[n].abs()) for n in self.names if previous}
        masks = self._rank(scores, sparsity, previous or None)
        if self.settings.is_structured:
            masks |= make_channel_masks(self.states.model(), masks)
        return masks

    def prune(self, engine: Engine, position: int, sparsity: float, last: Tensors) -> Tensors:
        """Prune during training, and return the weights before pruning.

        A pruned weight is scored by the value it had when it was pruned. So where sparsity falls, the weights that
        were pruned last come back first.
        """
        trained = state.copy_model_state(engine.model)
        before = {
            name: torch.where(engine.masks[name], trained[name], last[name]) if engine.masks else trained[name]
            for name in self.names
        }
        start, previous = cache(self.states.initial), engine.masks
        masks = self.make_masks(position, sparsity, trained, start, lambda: last, previous, before)
        engine.prune(masks)
        if self.settings.is_structured and previous:
            # A channel that came back as zero would output zero and get no gradient, forever: it comes back with the
            # weights that it had, and with batch norm as initialized.
            for name, mask in masks.items():
                regrown = (mask & ~previous[name]).to(self.device)
                with torch.no_grad():
                    values = (before[name] if name in before else start()[name]).to(self.device)
                    engine.model.get_parameter(name)[regrown] = values[regrown]
        return before

    def _rank(self, scores: Tensors, sparsity: float, previous: Tensors | None) -> Tensors:
        settings = self.settings
        targets = {name: settings.layer_target(name.removesuffix(".weight"), sparsity) for name in scores}
        return masking.make_masks(
            scores, targets, settings.granularity, settings.context, previous, settings.round_to,
            CRITERIA[settings.criterion].may_empty,
        )  # fmt: skip

    def _load(self, weights: Tensors) -> nn.Module:
        model = self.states.model().to(self.device)
        state.load_model_state(model, weights)
        return model

    def _measuring_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The first training batches of the run."""
        return (self.batches.training_batch(step) for step in range(self.settings.batches))


def read(tensors: Callable[[], Tensors], name: str) -> Tensor:
    return tensors()[name]
