"""The chain of levels: train, prune, rewind, repeat.

A level is named by the hash of what determines its numbers and nothing else: its parent's name and the
rules by which its mask and start state are made. So every name is known before anything is trained, and
a level that any run has finished is taken over by the next one that wants it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from lthrun.config import Baseline, ConnectivityConfig, Prune, SupermaskConfig, Ticket
from lthrun.config.sections import LayerSelection, SparsitySettings, Training
from lthrun.models import MODELS
from lthrun.sparsity import schedules
from lthrun.sparsity.criteria import CRITERIA
from lthrun.sparsity.granularities import GRANULARITIES
from lthrun.sparsity.resets import PRUNED, RESETS
from lthrun.storage.files import FORMAT
from lthrun.storage.level_store import KEPT_EPOCHS
from lthrun.training.learning_rates import LEARNING_RATES
from lthrun.training.optimizers import OPTIMIZERS


@dataclass(frozen=True)
class Level:
    """One training from a start state under a mask.

    Attributes:
        index: place in the chain; level 0 is dense.
        sparsity: the target in percent, at the end of the level.
        first, steps: the clock it starts at, and how many steps it trains.
        span: steps of the learning-rate schedule.
        key: its name.
        parent: the level whose trained weights make the mask; None without a mask.
        origin: the level that passes through the rewind point; None if that is initialisation.
        rewind_step: the rewind point in steps.
        continues: whether clock and optimizer go on from the parent (the fasterai protocol).
        retrain: what goes back to the rewind point: `weights` and rate, the rate alone (`lr`), or neither (`finetune`).
        prunings: (step, percent) of each pruning during the level.
        learned: the supermask method that learns a mask instead of weights.
        control: what it has in place of its mask or its start: one of `CONTROLS`.
        order: which draw of the data order it sees; 0 is that of every run.
        twin: the level that it is like but for its order, where that is not 0.
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

    def epochs(self, epoch_steps: int) -> int:
        """How many epochs it takes; the last may be shorter than `epoch_steps`."""
        return -(-self.steps // epoch_steps)

    @property
    def is_dense(self) -> bool:
        """Whether it is level 0, or part of it: its states can become rewind points."""
        return not self.masked and not self.origin and not self.order

    @property
    def masked(self) -> bool:
        """Whether it has a mask, at its start or later."""
        return bool(self.parent or self.prunings or self.learned)

    @property
    def keeps_optimizer(self) -> bool:
        """Whether a later level may go on with its optimizer."""
        return self.is_dense or self.continues


@dataclass(frozen=True)
class Conditions:
    """What all levels of a run stand on.

    Attributes:
        data: identity of the images and their split.
        epoch_steps: steps of an epoch.
        device: its type, `cpu` or `cuda`.
        precision: resolved, `float32` or `bfloat16`.
        deterministic: whether it is asked for, where it makes a difference.
    """

    data: dict[str, Any]
    epoch_steps: int
    device: str
    precision: str
    deterministic: bool = False


def dense(config: Baseline, conditions: Conditions, span: int | None = None, steps: int | None = None) -> Level:
    """Level 0: from initialisation, without a mask, for `training.epochs` or a given number of steps."""
    whole = config.training.epochs * conditions.epoch_steps
    span, steps = span or whole, steps or whole
    key = name(config, conditions, span, start="initialisation", mask=None, first=0, steps=steps)
    return Level(0, 0.0, 0, steps, span, key)


def chain(config: Ticket, conditions: Conditions) -> list[Level]:
    """The levels of iterative magnitude pruning, level 0 first."""
    rules, rewinding = config.pruning, config.rewind
    rewind = rewinding.step(conditions.epoch_steps)
    targets = schedules.sparsity_targets(rules.schedule, rules.params)
    continues = rules.protocol == "fasterai"
    whole = config.training.epochs * conditions.epoch_steps
    span = whole * len(targets) if continues else whole
    levels = [dense(config, conditions, span)]
    origin = passes_through(config, conditions, levels[0], rewind)
    for index, sparsity in enumerate(targets[1:], 1):
        parent = levels[-1]
        first = parent.end if continues or rewinding.retrain == "finetune" else rewind
        steps = whole - rewind if rewinding.train == "remaining" else whole
        mask = {"parent": parent.key, "index": index, "sparsity": sparsity, **mask_rules(rules)}
        start: Any = {"level": origin.key, "step": rewind} if origin else "initialisation"
        if continues:
            start = {"weights": start, "batch_norm": "initial", "optimizer": parent.key}
        elif rewinding.retrain != "weights":
            start = {"retrain": rewinding.retrain, "level": parent.key, "reference": start}
        resets = {key: table.key_facts(getattr(rewinding, key), rewinding) for key, table in ROLES.items()}
        start = {"from": start, **resets}
        key = name(config, conditions, span, start=start, mask=mask, first=first, steps=steps)
        levels.append(
            Level(index, sparsity, first, steps, span, key, parent, origin, rewind, continues, rewinding.retrain)
        )
    return levels


def gradual(config: Prune, conditions: Conditions) -> list[Level]:
    """The one level of gradual pruning; its prunings are evenly spaced from `begin` to `end`."""
    rules = config.pruning
    steps = config.training.epochs * conditions.epoch_steps
    targets = schedules.sparsity_targets(rules.schedule, rules.params)[1:]
    gaps = max(1, len(targets) - 1)
    moments = [rules.begin + (rules.end - rules.begin) * k / gaps for k in range(len(targets))]
    at = [min(round(moment / 100 * steps), steps - 1) for moment in moments]
    prunings = tuple(dict(zip(at, targets, strict=True)).items())  # of those that fall on one step, the last
    mask = {"prunings": prunings, **mask_rules(rules)}
    key = name(config, conditions, steps, start="initialisation", mask=mask, first=0, steps=steps)
    return [Level(0, targets[-1], 0, steps, steps, key, prunings=prunings)]


def learned(config: SupermaskConfig, conditions: Conditions) -> list[Level]:
    """The one level in which a mask is learned, for weights that stay as they were drawn."""
    method, rules = config.supermask.method, config.pruning
    steps = config.training.epochs * conditions.epoch_steps
    sparsity = rules.sparsity if method == "edge-popup" else 0.0
    mask = {"method": method, "sparsity": sparsity, "where": where(rules)}
    key = name(config, conditions, steps, start=config.supermask.weights, mask=mask, first=0, steps=steps)
    return [Level(0, sparsity, 0, steps, steps, key, learned=method)]


def connected(config: ConnectivityConfig, conditions: Conditions) -> list[Level]:
    """Of each rewind point, the dense network and the ticket in two orders each, and the levels that lead there.

    Each level stands once, a twin right after its level, but for the last one: it ends the list.
    """
    levels: dict[str, Level] = {}
    for point in config.rewind_points:
        rewind = config.rewind.model_copy(update={"to": point})
        *earlier, last = chain(config.model_copy(update={"rewind": rewind}), conditions)
        whole = from_rewind_point(config, conditions, last, last.origin) if last.origin else earlier[0]
        twins = [reordered(level, 1, config, conditions) for level in (whole, last)]
        levels |= {level.key: level for level in (earlier[0], whole, twins[0], *earlier[1:], twins[1], last)}
    return list(levels.values())


def from_rewind_point(config: Ticket, conditions: Conditions, level: Level, origin: Level) -> Level:
    """The dense network, trained as `level` is: from the rewind point that `origin` passes through, optimizer fresh."""
    start = {"level": origin.key, "step": level.rewind_step}
    key = name(config, conditions, level.span, start=start, mask=None, first=level.first, steps=level.steps)
    return replace(level, index=0, sparsity=0.0, key=key, parent=None)


ROLES = {"kept": RESETS, "pruned": PRUNED}
CONTROLS = {
    "random-mask": "as many weights of each tensor stay, at places drawn at random",
    "random-init": "the same mask, on weights drawn anew",
    "untrained": "the same mask, on the weights of the rewind point: judged, never trained",
}


def control(level: Level, kind: str, config: Ticket, conditions: Conditions) -> Level:
    """A level like another of a ticket, but for one thing: one of `CONTROLS`."""
    steps = 0 if kind == "untrained" else level.steps
    key = name(config, conditions, level.span, like=level.key, control=kind, first=level.first, steps=steps)
    return replace(level, key=key, control=kind, steps=steps)


def reordered(level: Level, order: int, config: Baseline, conditions: Conditions) -> Level:
    """The same level, but that it sees its images in another order."""
    key = name(config, conditions, level.span, like=level.key, order=order, first=level.first, steps=level.steps)
    return replace(level, key=key, order=order, twin=level)


def mask_rules(rules: SparsitySettings) -> dict[str, Any]:
    """By which rules a mask is made, as far as they decide it."""
    facts = {"context": rules.context, "criterion": CRITERIA.key_facts(rules.criterion, rules), **where(rules)}
    named = rules.granularity in GRANULARITIES  # n:m is not
    facts["granularity"] = GRANULARITIES.key_facts(rules.granularity, rules) if named else rules.granularity
    if rules.round_to > 1:
        facts["round_to"] = rules.round_to
    if rules.targets:
        facts |= {"targets": list(rules.targets.items()), "of": rules.peak}  # in order: the first that fits counts
    return facts


def where(rules: LayerSelection) -> dict[str, Any]:
    """Which layers are pruned, as far as that is not the default."""
    chosen = rules.model_dump(mode="json", include=set(LayerSelection.model_fields), exclude_defaults=True)
    return {key: sorted(value) if isinstance(value, list) else value for key, value in chosen.items()}


def passes_through(config: Baseline, conditions: Conditions, level: Level, step: int) -> Level | None:
    """The level whose files hold level 0's state at `step`: level 0 itself if it keeps that epoch, else a
    replay of level 0 up to there, which is a level of its own; None for initialisation."""
    if step == 0:
        return None
    epoch, within = divmod(step, conditions.epoch_steps)
    kept = within == 0 and epoch <= KEPT_EPOCHS and step < level.end
    return level if kept else dense(config, conditions, level.span, step)


def name(config: Baseline, conditions: Conditions, span: int, **making: Any) -> str:
    """A level's key: what determines its numbers, hashed."""
    facts = {
        "format": FORMAT,
        "data": conditions.data,
        "model": MODELS.key_facts(config.model.name, config.model),
        "training": training_rules(config.training, span),
        "seed": config.seed,
        "precision": conditions.precision,
        "device": conditions.device,
        **({"deterministic": True} if conditions.deterministic else {}),
        **making,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def training_rules(training: Training, span: int) -> dict[str, Any]:
    """How a step is trained, as far as the settings decide it; the number of epochs is not part of it."""
    facts: dict[str, Any] = {"batch_size": training.batch_size, "learning_rate": training.learning_rate}
    facts["optimizer"] = OPTIMIZERS.key_facts(training.optimizer, training)
    if training.anneals:
        schedule = LEARNING_RATES.key_facts(training.schedule, training)
        facts["rate"] = {"span": span, "warmup": training.warmup, "schedule": schedule}
    if training.evaluate_every:
        facts["looks"] = [training.evaluate_every, training.evaluate_images]
    return facts


def replays(levels: list[Level]) -> list[Level]:
    """Levels that are trained only to reach the rewind point."""
    origins = {level.origin.key: level.origin for level in levels if level.origin}
    return [origin for key, origin in origins.items() if key != levels[0].key]


PLANS: dict[str, Callable[[Any, Conditions], list[Level]]] = {
    "baseline": lambda config, conditions: [dense(config, conditions)],
    "ticket": chain,
    "prune": gradual,
    "supermask": lambda config, conditions: (chain if config.supermask.method == "lth" else learned)(
        config, conditions
    ),
    "connectivity": connected,
}
