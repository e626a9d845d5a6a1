"""What the levels of one config are built from: model, batches, masks, engines."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from lthrun.analysis.intervals import accuracy, balanced_accuracy
from lthrun.config.fields import CHECKPOINT_EVERY, parse_interval
from lthrun.config.pruning import SparsitySettings
from lthrun.data.batches import Batches
from lthrun.events import Damaged, Emit, EpochFinished, StateSaved
from lthrun.levels.context import RunContext
from lthrun.levels.mask_maker import MaskMaker
from lthrun.levels.plan import Level
from lthrun.levels.states import NetworkStates
from lthrun.records import EpochRecord, FinalEvaluation, LevelTest
from lthrun.rng import make_generator
from lthrun.sparsity import supermasks
from lthrun.sparsity.masks import Tensors
from lthrun.storage.level_store import LevelStore
from lthrun.training import state
from lthrun.training.engine import Engine, Evaluation, recalibrate_batch_norm


class LevelBuilder:
    """Model, batches, device and cached levels for the levels of one config.

    The images are put on the device when the first batch is needed, not before.
    """

    def __init__(
        self,
        context: RunContext,
        levels: LevelStore,
        emit: Emit,
        fresh: bool = False,
        checkpoint_every: str = CHECKPOINT_EVERY,
        stop: threading.Event | None = None,
    ):
        self.context, self.config, self.levels, self.emit = context, context.config, levels, emit
        self.fresh, self.checkpoint_every = fresh, parse_interval(checkpoint_every)
        self.stop = stop or threading.Event()
        self.device, self.precision = context.device, context.conditions.precision
        self.classes = len(context.store.classes)
        self.epoch_steps = context.conditions.epoch_steps
        self.states = NetworkStates(self.config, self.classes, context.store.channels, self.epoch_steps, levels)
        self.names = self.states.names
        # A saved state is reported only where a level will go back to it.
        self.reported_steps = set(context.rewind_steps) if self.config.resets.retrain == "weights" else set()
        self._evaluator: Engine | None = None

    @cached_property
    def batches(self) -> Batches:
        context = self.context
        training, seed = self.config.training, self.config.seed
        return Batches(context.store, context.split, self.config.data, training.batch_size, seed, self.device)

    @cached_property
    def mask_maker(self) -> MaskMaker:
        settings = self.config.mask_settings or SparsitySettings()
        return MaskMaker(settings, self.states, self.batches, self.device)

    def evaluate(self, masks: Tensors, weights: Tensors, batch_norm: str = "recalibrate") -> Evaluation:
        """Validate weights that were not trained as they are, under masks."""
        engine = self.load_untrained(masks, weights, batch_norm)
        return engine.evaluate(self.batches.validation_batches(), self.classes)

    def load_untrained(self, masks: Tensors, weights: Tensors, batch_norm: str = "recalibrate") -> Engine:
        """An engine, the same each time, with weights that were not trained as they are, under masks.

        Batch norm's statistics belong to the weights they are used with, so `recalibrate` estimates them by one pass of
        center crops over the training set.
        """
        if self._evaluator is None:
            self._evaluator = self.make_engine(masks, weights, {})
        else:  # what the engine recorded, it replays for the next mask
            self._evaluator.load(weights, masks, self.states.frozen(masks))
        engine = self._evaluator
        if batch_norm == "recalibrate":
            recalibrate_batch_norm(engine, self.batches.center_crops("train", self.batches.batch_size))
        return engine

    def evaluate_test(self, engine: Engine, step: int) -> FinalEvaluation:
        """Evaluate on the test images the network after training step `step`, which the engine holds."""
        result, counts = engine.evaluate(self.batches.test_batches(), self.classes), self.batches.test_counts
        shares = accuracy(result.correct, counts), balanced_accuracy(result.correct, counts)
        return FinalEvaluation(step, result.loss, *shares, result.correct)

    def make_engine(self, masks: Tensors, weights: Tensors, moments: Tensors, level: Level | None = None) -> Engine:
        """An engine in a given state, its pruned weights held; it trains scores where a mask is learned."""
        model = self.states.model()
        if level and level.learned:
            rng = make_generator(self.config.seed, "mask")
            supermasks.make_learnable(model, self.names, level.learned, level.sparsity, rng)
            weights = state.copy_model_state(model) | weights
        state.load_model_state(model, weights)
        frozen = self.states.frozen(masks)
        engine = Engine(model, self.config.training, self.device, self.precision, masks, frozen, self.emit)
        state.load_optimizer_state(engine, moments)
        return engine

    def emit_epochs(self, level: Level, records: list[EpochRecord], emit: Emit, test: LevelTest | None = None) -> None:
        """Emit epochs, the last with the level's test if that is known, and that the state was saved where one ends at
        the run's rewind point."""
        for record in records:
            emit(EpochFinished(level.index, record, test if record is records[-1] else None))
            self.emit_saved(level, record.step, emit)

    def emit_saved(self, level: Level, step: int, emit: Emit) -> None:
        """Emit that a state is saved, if a level will go back to it."""
        if level.is_dense and step in self.reported_steps:
            emit(StateSaved(step, self.epoch_steps))

    def report_damage(self, level: Level, what: str) -> Callable[[Path], None]:
        return lambda aside: self.emit(Damaged(level.index, what, str(aside)))
