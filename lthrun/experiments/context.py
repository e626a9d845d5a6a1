"""A config brought to this machine: its images, their split, its device, its levels.

Everything that can be refused is refused here: cheap things first, torch only when it is needed, and
nothing is written but the images' store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lthrun.config import Compare, Config, SupermaskConfig, Ticket
from lthrun.config.fields import steps_of
from lthrun.config.sections import LayerSelection
from lthrun.data import DATASETS
from lthrun.data.split import Split
from lthrun.data.store import Store, open_store
from lthrun.errors import UserError
from lthrun.events import Decoding
from lthrun.experiments.arms import pieces
from lthrun.levels.plan import PLANS, Conditions, Level
from lthrun.sparsity import schedules

if TYPE_CHECKING:
    import torch

Emit = Callable[..., None]


@dataclass(frozen=True)
class RunContext:
    """What a run needs to know before it starts. `split` indexes the images of `store`."""

    config: Config
    store: Store
    split: Split
    device: torch.device
    conditions: Conditions
    levels: list[Level]

    @property
    def train(self) -> list[int]:
        return self.split.train

    @property
    def valid(self) -> list[int]:
        return self.split.valid

    @property
    def rewind_steps(self) -> dict[int, str]:
        """The rewind points by their step, for an experiment that has any."""
        points = self.config.rewind_points if isinstance(self.config, Ticket) else ()
        return {steps_of(point, self.conditions.epoch_steps): point for point in points}

    @property
    def where(self) -> LayerSelection:
        """Which layers are pruned; for an experiment that prunes none, which would be."""
        found: LayerSelection = getattr(self.config, "pruning", LayerSelection())
        return found

    @property
    def epochs(self) -> int:
        """How many rows the run's table will have."""
        return sum(level.epochs(self.conditions.epoch_steps) for level in self.levels)

    @property
    def resolved(self) -> Config:
        """The config with nothing left to find out: it runs again as it is."""
        folder = self.config.data.dir and str(Path(self.config.data.dir).expanduser().resolve())
        data = self.config.data.model_copy(update={"dir": folder})
        update = {"device": str(self.device), "precision": self.conditions.precision, "data": data}
        return self.config.model_copy(update=update)

    @property
    def run_name(self) -> str:
        facts = [self.config.experiment, self.levels[-1].key, self.config.identity_extras]
        settings = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:8]
        return f"{self.config.experiment}-s{self.config.seed}-{settings}"


def prepare(config: Config, emit: Emit) -> RunContext:
    """Everything that can be refused, checked; cheap things first, torch when it is needed."""
    asked_for_gpu = config.device.startswith("cuda")
    device = find_device(config.device) if asked_for_gpu else None
    emit("busy", doing=f"finding the images ({config.data.dataset})")
    images = DATASETS[config.data.dataset](config.data)
    emit("images", count=len(images.paths), folder=str(images.folder))
    emit("busy", doing="loading PyTorch")
    device = device or find_device(config.device)
    store = open_store(
        images,
        config.data.stored_size,
        config.data.skip_unreadable,
        lambda event: (
            emit("decoding", done=event.done, of=event.total)
            if isinstance(event, Decoding)
            else emit("waiting", store=str(images.folder))
        ),
    )
    split = store.split(config.data)
    check_split(config, store, split)
    check_masks(config, len(store.classes), store.channels)
    conditions = Conditions(
        store.key_facts(split, config.data),
        len(split.train) // config.training.batch_size,
        device.type,
        find_precision(config.precision, device),
        config.deterministic and device.type == "cuda",
    )
    check_rewinding(config, conditions.epoch_steps)
    return RunContext(config, store, split, device, conditions, plan(config, conditions))


def plan(config: Config, conditions: Conditions) -> list[Level]:
    """The levels whose results a run looks at, in order."""
    if isinstance(config, Compare):
        return [piece.level for found in pieces(config, conditions).values() for piece in found]
    return PLANS[config.experiment](config, conditions)


def check_rewinding(config: Config, epoch_steps: int) -> None:
    """Refuse rewind points that level 0 does not reach; how many steps an epoch has is known only now."""
    if not isinstance(config, Compare | Ticket):
        return
    end, steps = config.training.epochs * epoch_steps, set()
    for point in config.rewind_points:
        steps.add(steps_of(point, epoch_steps))
        if max(steps) >= end:
            raise UserError(
                f"{config.rewind_key}: found {point}; must lie before the end of level 0, which is step {end}"
            )
    if len(steps) < len(config.rewind_points):
        raise UserError(
            f"{config.rewind_key}: found {', '.join(config.rewind_points)}; an epoch has {epoch_steps} steps, so that "
            "some of them are the same step: name it once"
        )


def find_device(wanted: str) -> torch.device:
    """The device of that name; `auto` is cuda:0 if there is one.

    Raises:
        UserError: there is no such GPU here.
    """
    import torch

    if wanted == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    device = torch.device("cuda:0" if wanted == "cuda" else wanted)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        here = f"{torch.cuda.device_count()} of them here" if torch.cuda.is_available() else "none here"
        raise UserError(f"device: found {wanted}; no such GPU ({here}): use auto or cpu")
    return device


def find_precision(wanted: str, device: torch.device) -> str:
    """`auto` is bfloat16 on a GPU that has it, else float32."""
    import torch

    if wanted != "auto":
        return wanted
    on_gpu = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if on_gpu else "float32"


def check_split(config: Config, store: Store, split: Split) -> None:
    sides = [("training", "validation", split.train), ("validation", "validation", split.valid)]
    if split.test:
        sides.append(("test", "test", split.test))
    for side, key, ids in sides:
        missing = [name for c, name in enumerate(store.classes) if all(store.labels[i] != c for i in ids)]
        if missing:
            names = " and no ".join(missing[:3]) + (f" (and {len(missing) - 3} more classes)" if missing[3:] else "")
            raise UserError(
                f"data.{key}: found {getattr(config.data, key):g}; there is no {names} among "
                f"the {len(ids)} {side} images: give more images or another share"
            )
    size = config.training.batch_size
    if len(split.train) < size:
        raise UserError(
            f"training.batch_size: found {size}; must be at most the {len(split.train)} training images there are"
        )


def check_masks(config: Config, classes: int, channels: int) -> None:
    """Refuse layers, granularities and sparsities that do not fit the model, where that follows from its shapes."""
    if isinstance(config, Compare):
        config = config.ticket(config.seed)
    rules = getattr(config, "pruning", None)
    if rules is None:
        return
    import torch

    from lthrun import models
    from lthrun.sparsity import masks
    from lthrun.sparsity.layer_selection import check_patterns, select_prunable
    from lthrun.sparsity.measured_criteria import twice_differentiable

    with torch.device("meta"):
        model = models.MODELS[config.model.name](classes, channels, config.data.image_size)
    names = select_prunable(model, rules)
    check_patterns("pruning.targets", rules.targets, [name.removesuffix(".weight") for name in names])
    if isinstance(config, SupermaskConfig) and config.supermask.method != "lth":
        for name in names if config.supermask.method == "edge-popup" else []:
            masks.check_target(name, tuple(model.get_parameter(name).shape), rules.sparsity, "weight", 1)
        return
    shape = {"channels": channels, "image_size": config.data.image_size}
    if rules.criterion == "grasp" and not twice_differentiable(
        models.build_model(config.model.name, classes, config.seed, **shape), **shape
    ):
        raise UserError(
            f"pruning.criterion: found grasp; it needs second derivatives, which PyTorch has not for all operations of "
            f"{config.model.name}: use another criterion, or another model"
        )
    most = max(schedules.sparsity_targets(rules.schedule, rules.params))
    for name in names:
        target = rules.target(name.removesuffix(".weight"), most) if rules.context == "local" else 0.0
        masks.check_target(name, tuple(model.get_parameter(name).shape), target, rules.granularity, rules.round_to)
