"""Levels, and how they follow from a config: train, prune, rewind, repeat."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from lthrun.config.base import ExperimentConfig
from lthrun.config.pruning import GradualPruning, Pruning, Rewind
from lthrun.levels.keys import Conditions, make_key, mask_facts
from lthrun.storage.level_store import KEPT_EPOCHS


@dataclass(frozen=True)
class Level:
    """One training from a start state under a mask.

    Attributes:
        index: place in the chain; level 0 is dense.
        sparsity: the target in percent, at the end of the level.
        first, steps: the training step it starts at, and how many steps it trains.
        span: steps of the learning-rate schedule.
        key: identifies it among the cached levels.
        parent: the level whose trained weights make the mask; None without a mask.
        origin: the level that passes through the rewind point; None if that is initialization.
        rewind_step: the rewind point in steps.
        continues: whether optimizer and step count continue from the parent (the fasterai protocol).
        retrain: what goes back to the rewind point: `weights` and rate, the rate alone (`lr`), or neither (`finetune`).
        prunings: (step, percent) of each pruning step during the level.
        learned: the supermask method that learns a mask instead of weights.
        control: what replaces its mask or its start: one of those of `plan_control`.
        order: which draw of the data order it sees; 0 is that of every run.
        twin: the level that it equals but for its order, where that is not 0.
    """

    index: int
    sparsity: float
    first: int
    steps: int
    span: int
    key: str
    parent: Level | None = None
    origin: Level | None = None
    rewind_step: int = 0
    continues: bool = False
    retrain: str = "weights"
    prunings: tuple[tuple[int, float], ...] = ()
    learned: str | None = None
    control: str | None = None
    order: int = 0
    twin: Level | None = None

    @property
    def end(self) -> int:
        return self.first + self.steps

    @property
    def needs(self) -> tuple[Level, ...]:
        """The levels that have to be finished first: the one through its rewind point, and its mask's parent."""
        return tuple(level for level in (self.origin, self.parent) if level)

    def epochs(self, epoch_steps: int) -> int:
        """How many epochs it takes; the last may be shorter than `epoch_steps`."""
        return -(-self.steps // epoch_steps)

    @property
    def is_dense(self) -> bool:
        """Whether it is level 0, or part of it: its states can become rewind points."""
        return not self.is_masked and not self.origin and not self.order

    @property
    def is_masked(self) -> bool:
        """Whether it has a mask, at its start or later."""
        return bool(self.parent or self.prunings or self.learned)

    @property
    def keeps_optimizer(self) -> bool:
        """Whether a later level may continue with its optimizer."""
        return self.is_dense or self.continues


def plan_dense(
    config: ExperimentConfig, conditions: Conditions, span: int | None = None, steps: int | None = None
) -> Level:
    """Level 0: from initialization, without a mask, for `training.epochs` or a given number of steps."""
    whole = config.training.epochs * conditions.epoch_steps
    span, steps = span or whole, steps or whole
    key = make_key(config, conditions, span, start="initialization", mask=None, first=0, steps=steps)
    return Level(0, 0.0, 0, steps, span, key)


def plan_chain(config: ExperimentConfig, pruning: Pruning, rewind: Rewind, conditions: Conditions) -> list[Level]:
    """The levels of iterative magnitude pruning, level 0 first."""
    rewind_step, continues = rewind.step(conditions.epoch_steps), pruning.protocol == "fasterai"
    whole = config.training.epochs * conditions.epoch_steps
    targets = pruning.level_targets()
    span = whole * len(targets) if continues else whole
    levels = [plan_dense(config, conditions, span)]
    origin = plan_origin(config, conditions, levels[0], rewind_step)
    point: Any = {"level": origin.key, "step": rewind_step} if origin else "initialization"
    for index, sparsity in enumerate(targets[1:], 1):
        parent = levels[-1]
        first = parent.end if continues or rewind.retrain == "finetune" else rewind_step
        steps = whole - rewind_step if rewind.train == "remaining" else whole
        mask = {"parent": parent.key, "index": index, "sparsity": sparsity, **mask_facts(pruning)}
        start: dict[str, Any] = {"from": point, **rewind.key_facts()}
        if continues:
            start |= {"batch_norm": "initial", "optimizer": parent.key}
        elif rewind.retrain != "weights":
            start |= {"retrain": rewind.retrain, "level": parent.key}
        key = make_key(config, conditions, span, start=start, mask=mask, first=first, steps=steps)
        level = Level(index, sparsity, first, steps, span, key, parent, origin, rewind_step, continues, rewind.retrain)
        levels.append(level)
    return levels


def plan_gradual(config: ExperimentConfig, pruning: GradualPruning, conditions: Conditions) -> Level:
    """The one level of gradual pruning; its pruning steps are evenly spaced from `begin` to `end`."""
    steps = config.training.epochs * conditions.epoch_steps
    targets = pruning.level_targets()[1:]
    gaps = max(1, len(targets) - 1)
    moments = [pruning.begin + (pruning.end - pruning.begin) * k / gaps for k in range(len(targets))]
    at = [min(round(moment / 100 * steps), steps - 1) for moment in moments]
    prunings = tuple(dict(zip(at, targets, strict=True)).items())  # where several fall on one step, the last
    mask = {"prunings": prunings, **mask_facts(pruning)}
    if pruning.rates:  # which also follow targets that share a step
        mask["sparsities"] = targets
    key = make_key(config, conditions, steps, start="initialization", mask=mask, first=0, steps=steps)
    return Level(0, targets[-1], 0, steps, steps, key, prunings=prunings)


def plan_control(level: Level, kind: str, config: ExperimentConfig, conditions: Conditions) -> Level:
    """A level of a ticket with one thing replaced.

    Args:
        kind: `random-mask`: as many weights of each tensor are kept, at random positions. `random-init`: the same mask,
            on weights that are initialized again. `untrained`: the same mask, on the weights of the rewind point,
            which are evaluated and never trained.
    """
    steps = 0 if kind == "untrained" else level.steps
    key = make_key(config, conditions, level.span, like=level.key, control=kind, first=level.first, steps=steps)
    return replace(level, key=key, control=kind, steps=steps)


def plan_in_order(level: Level, order: int, config: ExperimentConfig, conditions: Conditions) -> Level:
    """A level that goes back to initialization; it and all that it follows from are trained in another order.

    Level 0 in another order is the one that lthrun.experiments.connectivity trains, and has its key.
    """
    parent = plan_in_order(level.parent, order, config, conditions) if level.parent else None
    facts: dict[str, Any] = {"like": level.key, "order": order, **({"parent": parent.key} if parent else {})}
    key = make_key(config, conditions, level.span, first=level.first, steps=level.steps, **facts)
    return replace(level, key=key, order=order, parent=parent)


def plan_origin(config: ExperimentConfig, conditions: Conditions, level: Level, step: int) -> Level | None:
    """The level whose files hold level 0's state at `step`: level 0 itself if it keeps that epoch, else a replay of
    level 0 up to there, which is a level of its own; None for initialization."""
    if step == 0:
        return None
    epoch, within = divmod(step, conditions.epoch_steps)
    is_kept = within == 0 and epoch <= KEPT_EPOCHS and step < level.end
    return level if is_kept else plan_dense(config, conditions, level.span, step)
