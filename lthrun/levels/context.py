"""A config on this machine: its images, their split, its device, and what follows from them.

What can be refused is refused here: cheap checks first, torch only when it is needed, and nothing is written but the
store of the images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lthrun.config.base import ExperimentConfig
from lthrun.config.fields import count_steps
from lthrun.data import DATASETS
from lthrun.data.split import Split
from lthrun.errors import UserError, shorten
from lthrun.events import Busy, Emit, ImagesFound
from lthrun.levels.keys import Conditions

if TYPE_CHECKING:
    import torch

    from lthrun.data.store import Store


@dataclass(frozen=True)
class RunContext:
    """What a run needs to know before it starts.

    Attributes:
        config: with nothing left to choose: it means the same on every machine of a cluster, and loads as it is.
        splits: indices of the images of `store`, by `data.split_seed`: a study may have a split per seed.
    """

    config: ExperimentConfig
    store: Store
    splits: Mapping[int, Split]
    device: torch.device
    conditions: Conditions

    @property
    def split(self) -> Split:
        return self.splits[self.config.data.split_seed]

    @property
    def rewind_steps(self) -> dict[int, str]:
        """The rewind points by their step."""
        return {count_steps(point, self.conditions.epoch_steps): point for point in self.config.rewind_points}

    @cached_property
    def valid_counts(self) -> list[int]:
        """Validation images of each class."""
        return self.store.count_classes(self.split.valid)

    @cached_property
    def test_counts(self) -> list[int]:
        """Test images of each class."""
        return self.store.count_classes(self.split.test)

    @property
    def held_out(self) -> dict[int, dict[str, list[str]]]:
        """By split seed, the names of the validation and test images."""
        names = self.store.names
        return {
            seed: {"validation": [names[i] for i in split.valid], "test": [names[i] for i in split.test]}
            for seed, split in self.splits.items()
        }

    @property
    def facts(self) -> dict[str, Any]:
        """What is shown when a run starts."""
        return {
            "device": str(self.device),
            "precision": self.conditions.precision,
            "n_train": len(self.split.train),
            "n_valid": len(self.split.valid),
        }


def prepare(config: ExperimentConfig, emit: Emit) -> RunContext:
    """Find the images and the device, and check that they fit the config.

    Raises:
        UserError: they do not; the message says what would.
    """
    from lthrun.data.store import open_store

    is_given = config.device.startswith(("cuda", "mps"))
    device = find_device(config.device) if is_given else None  # a missing GPU is known early
    emit(Busy(f"finding the images ({config.data.dataset})"))
    images = DATASETS[config.data.dataset](config.data)
    emit(ImagesFound(len(images.paths), str(images.folder)))
    emit(Busy("loading PyTorch"))
    device = device or find_device(config.device)
    check_mps(config, device)
    store = open_store(images, config.data.stored_size, config.data.skip_unreadable, emit)
    splits = {seed: store.split(config.data.model_copy(update={"split_seed": seed})) for seed in config.split_seeds}
    for split in splits.values():
        check_split(config, store, split)
    if len(splits) > 1 and len(set(map(str, splits.values()))) == 1:
        raise UserError(
            "compare.splits: found per-seed; nothing is drawn, as the data set has its own validation and test images: "
            "use shared"
        )
    check_own_model(config, store)
    check_masks(config, store)
    found = {
        seed: Conditions(
            store.key_facts(split, config.data),
            len(split.train) // config.training.batch_size,
            device.type,
            find_precision(config.precision, device),
            config.deterministic and device.type == "cuda",
        )
        for seed, split in splits.items()
    }
    conditions = replace(found[config.data.split_seed], others=found)
    check_rewinding(config, conditions.epoch_steps)
    folder = config.data.dir and str(Path(config.data.dir).expanduser().resolve())
    data = config.data.model_copy(update={"dir": folder})
    resolved = {"device": str(device), "precision": conditions.precision, "data": data}
    return RunContext(config.model_copy(update=resolved), store, splits, device, conditions)


def share_images(one: ExperimentConfig, other: ExperimentConfig) -> bool:
    """Whether two configs use the same images, split, device and batches, so that one context serves both."""
    first, second = (
        (config.data, config.device, config.precision, config.deterministic, config.training.batch_size)
        for config in (one, other)
    )
    return first == second


def find_device(name: str) -> torch.device:
    """The device of that name; `auto` is cuda:0 if there is one.

    Raises:
        UserError: there is no such GPU.
    """
    import torch

    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    device = torch.device("cuda:0" if name == "cuda" else name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        there = (
            f"this machine has {torch.cuda.device_count()}" if torch.cuda.is_available() else "this machine has none"
        )
        raise UserError(f"device: found {name}; no such GPU ({there}): use auto or cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("device: found mps; PyTorch finds no GPU of Apple on this machine: use auto or cpu")
    return device


def check_mps(config: ExperimentConfig, device: torch.device) -> None:
    """Refuse what Apple's GPU lacks: bfloat16, and the float64 of synflow."""
    if device.type != "mps":
        return
    if config.precision == "bfloat16":
        raise UserError("precision: found bfloat16; device: mps trains in float32: use auto")
    if config.mask_settings is not None and config.mask_settings.criterion == "synflow":
        raise UserError("pruning.criterion: found synflow; it needs float64, which device: mps lacks: use device: cpu")


def find_precision(name: str, device: torch.device) -> str:
    """`auto` is bfloat16 on a GPU that supports it, else float32."""
    import torch

    if name != "auto":
        return name
    on_gpu = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if on_gpu else "float32"


def check_rewinding(config: ExperimentConfig, epoch_steps: int) -> None:
    """Refuse rewind points that level 0 does not reach; the steps of an epoch are known only now."""
    end, steps = config.training.epochs * epoch_steps, set()
    for point in config.rewind_points:
        steps.add(count_steps(point, epoch_steps))
        if max(steps) >= end:
            raise UserError(
                f"{config.rewind_key}: found {point}; must lie before the end of level 0, which is step {end}"
            )
    if len(steps) < len(config.rewind_points):
        raise UserError(
            f"{config.rewind_key}: found {', '.join(config.rewind_points)}; an epoch has {epoch_steps} steps, so that "
            "some of them are the same step: name it once"
        )


def check_split(config: ExperimentConfig, store: Store, split: Split) -> None:
    sides = [("training", "validation", split.train, None), ("validation", "validation", split.valid, store.valid)]
    if config.data.test and not split.test:
        raise UserError(
            f"data.test: found {config.data.test:g}; that percentage of {len(store.labels):,} images is not one image: "
            "raise it, or use 0"
        )
    if split.test:
        sides.append(("test", "test", split.test, store.test))
    for side, key, ids, own in sides:
        present = {store.labels[i] for i in ids}
        missing = [name for c, name in enumerate(store.classes) if c not in present]
        if missing:
            names = " and no ".join(missing[:3]) + (f" (and {len(missing) - 3} more classes)" if missing[3:] else "")
            where = f"there is no {names} among the {len(ids)} {side} images"
            if own is not None:
                raise UserError(f"data.dir: {where} of the data set's own: add some, or leave that folder out")
            share = f"{getattr(config.data, key):g}"
            raise UserError(f"data.{key}: found {share}; {where}: give more images or another share")
    size = config.training.batch_size
    if len(split.train) < size:
        raise UserError(
            f"training.batch_size: found {size}; must be at most the {len(split.train)} training images there are"
        )


def check_own_model(config: ExperimentConfig, store: Store) -> None:
    """Refuse a model of the user's own that does not give logits for two black images."""
    if ":" not in config.model.name:
        return
    import torch

    from lthrun.models import build_model

    name, size, classes = config.model.name, config.data.image_size, len(store.classes)
    model = build_model(name, classes, config.seed, channels=store.channels, image_size=size).eval()
    images = torch.zeros(2, store.channels, size, size, dtype=torch.float32, device="cpu")
    try:
        with torch.no_grad():
            logits = model(images)
    except Exception as error:
        reason = f"{type(error).__name__}: {shorten(str(error))}"
        raise UserError(f"model.name: found {name}; it fails on images {list(images.shape)}: {reason}") from error
    found = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if found != [2, classes]:
        raise UserError(f"model.name: found {name}; it must return logits {[2, classes]} for two images, not {found}")


def check_masks(config: ExperimentConfig, store: Store) -> None:
    """Refuse layers, granularities and sparsities that do not fit the model, where that follows from its shapes."""
    settings, learned = config.mask_settings, config.learned_mask
    if settings is None and learned is None:
        return
    from lthrun.models import build_meta_model, build_model
    from lthrun.sparsity import masks
    from lthrun.sparsity.layer_selection import check_patterns, select_prunable
    from lthrun.sparsity.measured_criteria import twice_differentiable

    classes, channels, size = len(store.classes), store.channels, config.data.image_size
    model = build_meta_model(config.model.name, classes, channels, size)
    names = select_prunable(model, config.layer_selection)
    shapes = {name: tuple(model.get_parameter(name).shape) for name in names}
    if settings is None:
        for name, shape in shapes.items():
            masks.check_target(name, shape, learned.sparsity if learned else 0.0, "weight", 1)
        return
    layers = [name.removesuffix(".weight") for name in names]
    check_patterns("pruning.targets", settings.targets, layers)
    check_patterns("pruning.rates", settings.rates, layers)
    if settings.criterion == "grasp" and not twice_differentiable(
        build_model(config.model.name, classes, config.seed, channels=channels, image_size=size), channels, size
    ):
        raise UserError(
            f"pruning.criterion: found grasp; it needs second derivatives, which PyTorch lacks for some operations of "
            f"{config.model.name}: use another criterion, or another model"
        )
    peak, is_local = max(settings.level_targets()), settings.context == "local"
    targets = {name: settings.layer_target(name.removesuffix(".weight"), peak) if is_local else 0.0 for name in names}
    if peak and is_local and not any(targets.values()):
        key, found = ("rates", settings.rates) if settings.rates else ("targets", settings.targets)
        raise UserError(
            f"pruning.{key}: found {shorten(dict(found))}; they leave every layer at 0 %: give one of them more"
        )
    for name, shape in shapes.items():
        masks.check_target(name, shape, targets[name], settings.granularity, settings.round_to)
