"""The pruner: makes a run's masks from weights, by the rules of its config."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lthrun.data.batches import Batches
from lthrun.rng import make_generator
from lthrun.sparsity import masks as masking
from lthrun.sparsity.criteria import CRITERIA, Weights
from lthrun.sparsity.granularities import is_structured
from lthrun.sparsity.layer_selection import make_channel_masks
from lthrun.sparsity.masks import Tensors
from lthrun.sparsity.measured_criteria import ScoringContext
from lthrun.training import state
from lthrun.training.engine import Engine


class Pruner:
    """What is pruned (`names`), and the model and images that some criteria have to see."""

    def __init__(
        self,
        config: Any,
        names: Sequence[str],
        model: Callable[[], nn.Module],
        batches: Batches,
        device: torch.device,
    ):
        self.rules: Any = getattr(config, "pruning", None)
        self.seed = config.seed
        self.freezes = getattr(getattr(config, "rewind", None), "pruned", "zero") == "frozen"
        self.names, self.model, self.batches, self.device = names, model, batches, device

    def masks(
        self,
        position: int,
        sparsity: float,
        trained: Tensors,
        start: Tensors,
        last: Tensors,
        previous: Tensors,
        alive: Tensors | None = None,
    ) -> Tensors:
        """The masks at `sparsity` percent.

        Args:
            position: which pruning this is, for the criteria that draw.
            trained, start: all parameters and buffers, now and at the rewind point.
            last: at least the prunable tensors, at the last pruning.
            previous: the masks so far; empty before the first.
            alive: the prunable tensors as they were when last alive, by which the pruned are ranked, where sparsity
                may fall.
        """
        alive, name = alive or trained, self.rules.criterion
        draw = make_generator(self.seed, "mask", position)
        if not CRITERIA[name].measured:
            scores = {n: CRITERIA[name](Weights(alive[n], start[n], last[n], draw)) for n in self.names}
        else:
            if not self.freezes:
                masking.apply_masks(start, previous)
            case = ScoringContext(
                self.names, trained, start, previous, sparsity, self._holding, self._measured_on, self._make
            )
            scores = CRITERIA[name](case)
            # What is pruned cannot be measured; among themselves the pruned are ranked by magnitude.
            scores |= {n: torch.where(previous[n], scores[n], alive[n].abs()) for n in self.names if previous}
        masks = self._make(scores, sparsity, previous or None)
        if is_structured(self.rules.granularity):
            masks |= make_channel_masks(self.model(), masks)
        return masks

    def prune(self, engine: Engine, position: int, sparsity: float, last: Tensors) -> Tensors:
        """Prune during training, and return the weights that were pruned from.

        A pruned weight is scored by the value it had when it was pruned: so where sparsity falls, those
        pruned last come back first.
        """
        trained = state.copy_model_state(engine.model)
        before = {
            name: torch.where(engine.masks[name], trained[name], last[name]) if engine.masks else trained[name]
            for name in self.names
        }
        start = state.copy_model_state(self.model())
        gone = engine.masks
        masks = self.masks(position, sparsity, trained, start, last, gone, before)
        engine.prune(masks)
        if is_structured(self.rules.granularity) and gone:
            # A channel that comes back as zero would put out zero and get no gradient, for ever: it comes back with the
            # weights that it had, and with batch norm as initialised.
            for name, mask in masks.items():
                back = (mask & ~gone[name]).to(self.device)
                with torch.no_grad():
                    engine.model.get_parameter(name)[back] = before.get(name, start[name]).to(self.device)[back]
        return before

    def _make(self, scores: Tensors, sparsity: float, previous: Tensors | None) -> Tensors:
        rules = self.rules
        targets = {name: rules.target(name.removesuffix(".weight"), sparsity) for name in scores}
        may_empty = CRITERIA[rules.criterion].may_empty
        return masking.make_masks(
            scores, targets, rules.granularity, rules.context, previous, rules.round_to, may_empty
        )

    def _holding(self, weights: Tensors) -> nn.Module:
        model = self.model().to(self.device)
        state.load_model_state(model, weights)
        return model

    def _measured_on(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The first training batches of the run."""
        return (self.batches.training_batch(step) for step in range(self.rules.batches))
