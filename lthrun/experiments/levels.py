"""The chain of levels: train, prune, rewind, repeat.

A level is named by the hash of what determines its numbers and nothing else: its parent's name and the
rules by which its mask and start state are made. So every name is known before anything is trained, and
a level that any run has finished is taken over by the next one that wants it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lthrun.config import Baseline, Ticket
from lthrun.sparsity import schedules
from lthrun.storage import FORMAT, KEPT_EPOCHS


@dataclass(frozen=True)
class Level:
    """One training from a start state under a mask.

    Attributes:
        index: place in the chain; level 0 is dense.
        sparsity: the target in percent.
        first, steps: the clock it starts at, and how many steps it trains.
        parent: the level whose trained weights make the mask; None without a mask.
        origin: the level that passes through the rewind point; None if that is initialisation.
        rewind_step: the rewind point in steps.
        continues: whether clock and optimizer go on from the parent (the fasterai protocol).
        key: its name.
    """

    index: int
    sparsity: float
    first: int
    steps: int
    parent: Level | None
    origin: Level | None
    rewind_step: int
    continues: bool
    key: str

    @property
    def end(self) -> int:
        return self.first + self.steps

    def epochs(self, epoch_steps: int) -> int:
        """How many epochs it takes; the last may be shorter than `epoch_steps`."""
        return -(-self.steps // epoch_steps)

    @property
    def keeps_optimizer(self) -> bool:
        """Whether a later level may go on with its optimizer."""
        return self.parent is None or self.continues


@dataclass(frozen=True)
class Ground:
    """What all levels of a run stand on.

    Attributes:
        data: identity of the images and their split.
        epoch_steps: steps of an epoch.
        device: its type, `cpu` or `cuda`.
        precision: resolved, `float32` or `bfloat16`.
    """

    data: dict[str, Any]
    epoch_steps: int
    device: str
    precision: str


def dense(config: Baseline, ground: Ground, steps: int | None = None) -> Level:
    """Level 0: from initialisation, without a mask, for `training.epochs` or a given number of steps."""
    steps = config.training.epochs * ground.epoch_steps if steps is None else steps
    key = name(config, ground, start="initialisation", mask=None, first=0, steps=steps)
    return Level(0, 0.0, 0, steps, None, None, 0, False, key)


def chain(config: Ticket, ground: Ground) -> list[Level]:
    """The levels of iterative magnitude pruning, level 0 first."""
    levels = [dense(config, ground)]
    rewind = config.rewind.step(ground.epoch_steps)
    origin = passes_through(config, ground, levels[0], rewind)
    continues = config.pruning.protocol == "fasterai"
    for index, sparsity in enumerate(schedules.iterative(config.pruning.sparsity, config.pruning.steps)[1:], 1):
        parent = levels[-1]
        first = parent.end if continues else rewind
        steps = levels[0].end - rewind if config.rewind.train == "remaining" else levels[0].steps
        mask = {"parent": parent.key, "index": index, "sparsity": sparsity} | {
            key: getattr(config.pruning, key) for key in ("criterion", "granularity", "context")
        }
        start: Any = {"level": origin.key, "step": rewind} if origin else "initialisation"
        if continues:
            start = {"weights": start, "batch_norm": "initial", "optimizer": parent.key}
        key = name(config, ground, start=start, mask=mask, first=first, steps=steps)
        levels.append(Level(index, sparsity, first, steps, parent, origin, rewind, continues, key))
    return levels


def passes_through(config: Baseline, ground: Ground, level: Level, step: int) -> Level | None:
    """The level whose files hold level 0's state at `step`: level 0 itself if it keeps that epoch, else a
    replay of level 0 up to there, which is a level of its own; None for initialisation."""
    if step == 0:
        return None
    epoch, within = divmod(step, ground.epoch_steps)
    return level if within == 0 and epoch <= KEPT_EPOCHS and step < level.end else dense(config, ground, step)


def name(config: Baseline, ground: Ground, **making: Any) -> str:
    """A level's key: what determines its numbers, hashed."""
    training = config.training.model_dump(mode="json", exclude={"epochs"})
    facts = {
        "format": FORMAT,
        "data": ground.data,
        "model": config.model.name,
        "training": training,
        "seed": config.seed,
        "precision": ground.precision,
        "device": ground.device,
        **making,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def replays(levels: list[Level]) -> list[Level]:
    """Levels that are trained only to reach the rewind point."""
    origins = {level.origin.key: level.origin for level in levels if level.origin}
    return [origin for key, origin in origins.items() if key != levels[0].key]


PLANS: dict[str, Callable[[Any, Ground], list[Level]]] = {
    "baseline": lambda config, ground: [dense(config, ground)],
    "ticket": chain,
    "supermask": chain,
}
