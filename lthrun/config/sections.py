"""The sections of an experiment as typed models. The defaults ARE the Oxford-IIIT Pet experiments of docs/protocol.md.

Nothing here imports torch, so that whatever can be refused is refused before torch is loaded. Which sections an
experiment has is in config.py.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from math import ceil, sqrt
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from lthrun.config.fields import (
    LARGEST_SEED,
    MOST,
    POINT,
    Section,
    decays,
    distinct,
    named_in,
    percent,
    refuse,
    shares,
    steps_of,
)
from lthrun.data import AUGMENTATIONS, DATASETS
from lthrun.models import MODELS
from lthrun.sparsity.criteria import CRITERIA
from lthrun.sparsity.granularities import GRANULARITIES, parse_n_of_m
from lthrun.sparsity.resets import PRUNED, RESETS
from lthrun.sparsity.schedules import SCHEDULES, ScheduleParams, sparsity_targets
from lthrun.training.learning_rates import LEARNING_RATES
from lthrun.training.optimizers import OPTIMIZERS


class Data(Section):
    dataset: named_in(DATASETS) = "pets"  # type: ignore[valid-type]
    """pets: Oxford-IIIT Pet. cifar10, mnist: with their own test images. folder: dir/<class>/<image>, or with its own
    split dir/train/<class>/<image> and dir/val, dir/test. synthetic: drawn faces, no download."""
    labels: Literal["species", "breed"] = "species"
    """Of pets: cats against dogs, or the breeds by file name (37 in the whole set)."""
    dir: Annotated[str, Field(min_length=1)] | None = None
    """An existing copy of the images (pets: DIR/images or DIR/oxford-iiit-pet/images; cifar10:
    DIR/cifar-10-batches-py; mnist: DIR/MNIST/raw or DIR/train/<digit>; folder: DIR/<class>); null: lthrun's own."""
    image_size: int = Field(64, ge=16, le=512)
    """Side of the square the model sees, in pixels."""
    validation: float = Field(20.0, gt=0, lt=100)
    """Share of the images held out for validation, in percent: of those that are not the data set's own test images.
    A data set's own validation images are kept instead."""
    test: float = Field(0.0, ge=0, lt=100)
    """Share of the images held out for the test, in percent. A data set's own test images are always held out."""
    split_seed: int = Field(42, ge=0, le=LARGEST_SEED)
    """Draws the validation and test images; separate from `seed`, so that replicates share one split."""
    augmentation: Annotated[
        tuple[named_in(AUGMENTATIONS), ...],  # type: ignore[valid-type]
        Field(strict=False, min_length=1),
        AfterValidator(distinct),
    ] = ("none",)
    """How training images are varied: [none], or some of flip, crop and resized_crop."""
    crop_padding: int = Field(4, ge=1, le=64)
    """crop: by how many pixels the square may lie outside the image."""
    crop_scale: Annotated[tuple[float, float], Field(strict=False), AfterValidator(shares)] = (0.35, 1.0)
    """resized_crop: the least and the largest share of the image; images are stored large enough for the least."""
    normalize: Literal["none", "dataset"] = "none"
    """none: values from 0 to 1. dataset: minus the mean of each channel over the training images, by its deviation."""
    skip_unreadable: bool = False
    """Leave out images that cannot be read, instead of stopping."""

    @model_validator(mode="after")
    def _leaves_training_images(self) -> Data:
        if self.validation + self.test >= 100:
            raise refuse("test", f"{self.test:g}", f"with validation: {self.validation:g} no training images are left")
        return self

    @model_validator(mode="after")
    def _augmentations_fit_together(self) -> Data:
        for one, other in (("none", None), ("crop", "resized_crop")):
            if one in self.augmentation and len(self.augmentation) > 1 and other in (None, *self.augmentation):
                raise refuse("augmentation", list(self.augmentation), f"{one} does not go with {other or 'others'}")
        return self

    @property
    def stored_size(self) -> int:
        """The shorter side of stored images in pixels: so that no crop has to be enlarged."""
        scale = self.crop_scale[0] if "resized_crop" in self.augmentation else 1.0
        return ceil(self.image_size / sqrt(scale))


def name_factory(model: Any) -> Any:
    """The place of a function or class that is given as a model; a name is returned as it is."""
    if not callable(model):
        return model
    place = f"{getattr(model, '__module__', None)}:{getattr(model, '__qualname__', '<instance>')}"
    if "<" in place:
        raise PydanticCustomError("factory", "must be a function or class at the top level of a module", {})
    return place


class Model(Section):
    name: Annotated[named_in(MODELS), BeforeValidator(name_factory)] = "resnet18"  # type: ignore[valid-type]
    """The architecture, randomly initialized; a model of your own is package.module:factory, a function or class that
    takes (classes, channels, image_size) and returns a torch.nn.Module."""


class Training(Section):
    """Weight decay acts on weights, never on biases and batch norm."""

    epochs: int = Field(5, ge=1, le=MOST)
    """Epochs of each level."""
    batch_size: int = Field(64, ge=2, le=MOST)
    """Images per step; the last incomplete batch of an epoch is dropped."""
    optimizer: named_in(OPTIMIZERS) = "adamw"  # type: ignore[valid-type]
    """adamw: Adam, weight decay apart from the gradient (Loshchilov & Hutter 2019). sgd: with momentum."""
    learning_rate: float = Field(1e-3, gt=0)
    """What the schedule multiplies."""
    schedule: named_in(LEARNING_RATES) = "constant"  # type: ignore[valid-type]
    """How the learning rate moves: constant, step, cosine, one_cycle."""
    warmup: str = Field("0ep", pattern=POINT)
    """The learning rate rises linearly until then: 2ep, 200it."""
    final: float = Field(0.01, gt=0, le=1)
    """cosine and one_cycle: the share of the learning rate they end at."""
    milestones: Annotated[tuple[float, ...], Field(strict=False)] = (50.0, 75.0)
    """step: percents of the training at which the learning rate falls."""
    gamma: float = Field(0.1, gt=0, lt=1)
    """step: the factor by which it falls."""
    betas: Annotated[tuple[float, float], Field(strict=False), AfterValidator(decays)] = (0.9, 0.99)
    """adamw: decay of the two moments, each at least 0 and below 1."""
    eps: float = Field(1e-5, gt=0)
    """adamw: added to the denominator."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """sgd: decay of the momentum."""
    weight_decay: float = Field(0.01, ge=0)
    """The pull of weights towards zero."""
    evaluate_every: int | None = Field(None, ge=1, le=MOST)
    """Also validate every so many steps of a level, and at its end; null: at the end of each epoch only."""
    evaluate_images: int | None = Field(None, ge=1, le=MOST)
    """On so many of the validation images, always the same; null: on all of them."""

    def warmup_steps(self, epoch_steps: int) -> int:
        return steps_of(self.warmup, epoch_steps)

    @model_validator(mode="after")
    def _fits_together(self) -> Training:
        if self.warmup.endswith("ep") and steps_of(self.warmup, 1) > self.epochs:
            raise refuse("warmup", self.warmup, f"must end within training.epochs, which is {self.epochs}")
        if self.evaluate_images and not self.evaluate_every:
            raise refuse("evaluate_images", self.evaluate_images, "of training.evaluate_every, which is not set")
        return self

    @property
    def anneals(self) -> bool:
        """Whether the learning rate depends on the clock."""
        flat = {"constant": True, "step": not self.milestones, "cosine": self.final == 1}.get(self.schedule, False)
        return not flat or int(self.warmup[:-2]) > 0


class LayerSelection(Section):
    """Which layers are pruned. Patterns are shell-style and fit the layers' names: `layer4.*`."""

    types: Annotated[tuple[Literal["conv", "linear"], ...], Field(strict=False, min_length=1)] = ("conv",)
    """Kinds of layers that are pruned: conv, linear. The classifier is set apart, below."""
    include: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = ("*",)
    """Only layers whose name fits one of these patterns."""
    exclude: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """And none whose name fits one of these."""
    first: bool = True
    """Whether the first convolution is pruned."""
    shortcuts: bool = True
    """Whether the convolutions on shortcuts are pruned."""
    classifier: bool = False
    """Whether the last linear layer is pruned."""


class MaskSettings(LayerSelection):
    """How masks are made, whatever the sparsity."""

    criterion: named_in(CRITERIA) = "large_final"  # type: ignore[valid-type]
    """Scores the weights; the lowest scores are pruned."""
    batches: int = Field(8, ge=1, le=MOST)
    """Training batches that a criterion which has to see images is measured on."""
    granularity: named_in(GRANULARITIES, or_n_of_m=True) = "weight"  # type: ignore[valid-type]
    """What is pruned as one; or n:m, n weights of every m along the input channels staying."""
    context: Literal["local", "global"] = "local"
    """local: each tensor reaches the sparsity by itself; global: all tensors are ranked together."""
    round_to: int = Field(1, ge=1, le=MOST)
    """Each tensor keeps a multiple of so many groups."""

    @model_validator(mode="after")
    def _can_be_ranked(self) -> MaskSettings:
        if self.granularity == "layer" and self.context == "local":
            raise refuse("granularity", "layer", "a layer by itself is all or nothing: use context: global")
        return self


class SparsitySettings(MaskSettings):
    """How masks are made, and how the sparsity moves."""

    sparsity: Annotated[float, AfterValidator(percent)] = 50.0
    """Percent of the prunable weights that are zero in the end."""
    initial_sparsity: Annotated[float, AfterValidator(percent)] = 0.0
    """Percent that the schedule starts from."""
    steps: int = Field(3, ge=1, le=1000)
    """Number of prunings; one_shot has one, custom as many as sparsities."""
    schedule: named_in(SCHEDULES) = "iterative"  # type: ignore[valid-type]
    """How the sparsity moves from pruning to pruning; `lthrun schedule NAME` draws it."""
    sparsities: Annotated[tuple[Annotated[float, AfterValidator(percent)], ...], Field(strict=False)] = ()
    """custom: the percent of each pruning, in place of sparsity and steps."""
    targets: dict[str, Annotated[float, AfterValidator(percent)]] = Field({})
    """Percent for the layers of a name pattern, where it differs from sparsity; the first pattern that fits counts."""

    @property
    def params(self) -> ScheduleParams:
        return ScheduleParams(self.initial_sparsity, self.final_sparsity, self.steps, self.sparsities)

    @property
    def final_sparsity(self) -> float:
        return self.sparsities[-1] if self.sparsities else self.sparsity

    @property
    def peak(self) -> float:
        """The highest sparsity of the schedule."""
        return max(self.sparsities) if self.sparsities else self.sparsity

    def target(self, layer: str, sparsity: float) -> float:
        """The percent a layer is pruned to, when those without a target of their own are pruned to `sparsity`."""
        for pattern, percent_at_the_peak in self.targets.items():
            if fnmatchcase(layer, pattern):
                return percent_at_the_peak * sparsity / self.peak
        return sparsity

    @model_validator(mode="after")
    def _keys_fit_together(self) -> SparsitySettings:
        if (self.schedule == "custom") != bool(self.sparsities):
            raise refuse(
                "sparsities", list(self.sparsities), "schedule: custom and a list like [20, 36, 50] go together"
            )
        if self.initial_sparsity > self.final_sparsity:
            raise refuse("initial_sparsity", f"{self.initial_sparsity:g}", "must not be above sparsity")
        if self.context == "global" and self.targets:
            raise refuse("targets", dict(self.targets), "context: global ranks all layers together: use local")
        if self.targets and not self.peak:
            raise refuse("targets", dict(self.targets), "they follow the schedule of sparsity, which is 0")
        self._check_n_of_m()
        return self

    def _check_n_of_m(self) -> None:
        pattern = parse_n_of_m(self.granularity)
        if pattern is None:
            return
        n, m = pattern
        if not 0 < n < m:
            raise refuse("granularity", self.granularity, "n of every m weights stay, so n must be from 1 to m - 1")
        if self.context == "global" or self.round_to > 1 or self.targets:
            raise refuse(
                "granularity", self.granularity, "it fixes every block: use context: local, no round_to and no targets"
            )
        if round(self.final_sparsity / 100 * m) != m - n or abs(self.final_sparsity - 100 * (m - n) / m) > 0.01:
            raise refuse(
                "sparsity",
                f"{self.final_sparsity:g}",
                f"granularity {self.granularity} prunes {100 * (m - n) / m:g} %, write that",
            )


class Pruning(SparsitySettings):
    """Between the levels of a ticket. Level k of n prunes to sparsity * k / n under the iterative schedule."""

    protocol: Literal["frankle", "fasterai"] = "frankle"
    """What exactly happens between two levels (docs/protocol.md)."""

    @model_validator(mode="after")
    def _moves_in_steps(self) -> Pruning:
        stepped = [name for name, entry in SCHEDULES.items() if entry.stepped]
        if self.schedule not in stepped:
            raise refuse(
                "schedule",
                self.schedule,
                f"a ticket rewinds at every change of sparsity, so it takes {', '.join(stepped)}; "
                "for this one use `lthrun prune`, which never rewinds",
            )
        if list(self.sparsities) != sorted(self.sparsities):
            raise refuse("sparsities", list(self.sparsities), "must not fall; `lthrun prune` can grow again")
        pattern = parse_n_of_m(self.granularity)
        if pattern:
            removed = [round(target / 100 * pattern[1]) for target in sparsity_targets(self.schedule, self.params)]
            if len(set(removed)) < len(removed):
                raise refuse(
                    "steps",
                    self.steps,
                    f"granularity {self.granularity} prunes whole weights of every {pattern[1]}, so that some levels "
                    f"would be the same: use {pattern[1] - pattern[0]} or less",
                )
        return self


class GradualPruning(SparsitySettings):
    """During one training, without rewinding. The prunings are evenly spaced from begin to end."""

    steps: int = Field(10, ge=1, le=1000)
    """Number of prunings; one_shot has one, custom as many as sparsities."""
    schedule: named_in(SCHEDULES) = "agp"  # type: ignore[valid-type]
    """How the sparsity moves from pruning to pruning; `lthrun schedule NAME` draws it."""
    begin: float = Field(20.0, ge=0, lt=100)
    """When the first pruning happens, in percent of the training."""
    end: float = Field(80.0, ge=0, lt=100)
    """When the last pruning happens, in percent of the training."""

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> GradualPruning:
        if self.end < self.begin:
            raise refuse("end", f"{self.end:g}", f"must not be before begin, which is {self.begin:g}")
        if self.schedule == "dsd" and self.steps < 2:
            raise refuse("steps", self.steps, "dsd prunes and grows again: use 2 or more")
        return self


class Rewind(Section):
    to: str = Field("0ep", pattern=POINT)
    """The training step that weights go back to: 0ep is initialisation, 1ep after one epoch, 200it after 200 steps."""
    train: Literal["full", "remaining"] = "full"
    """full: each level trains training.epochs; remaining: up to the step at which level 0 ended."""
    retrain: Literal["weights", "lr", "finetune"] = "weights"
    """What goes back to that step: weights and learning rate; the learning rate alone; neither, and training goes
    on at the last learning rate (Renda et al. 2020)."""
    kept: named_in(RESETS) = "rewind"  # type: ignore[valid-type]
    """What the kept weights go to (Zhou et al. 2019)."""
    pruned: named_in(PRUNED) = "zero"  # type: ignore[valid-type]
    """What the pruned weights go to (Zhou et al. 2019)."""

    def step(self, epoch_steps: int) -> int:
        """The rewind point in steps, `epoch_steps` being the steps of an epoch."""
        return steps_of(self.to, epoch_steps)


class Supermask(Section):
    method: Literal["lth", "edge-popup", "bernoulli"] = "lth"
    """lth: the ticket's mask; edge-popup (Ramanujan et al. 2020) and bernoulli (Zhou et al. 2019): learned masks."""
    weights: Literal["signed_constant", "kaiming_normal"] = "signed_constant"
    """Learned masks: the weights that are never trained. Of edge-popup both are scaled by the kept share."""
    batch_norm: Literal["recalibrate", "initial", "trained"] = "recalibrate"
    """The running statistics a mask is judged with: estimated for the masked untrained weights; mean 0 and
    variance 1; or those of the training."""


class Connectivity(Section):
    rewind_points: Annotated[
        tuple[Annotated[str, Field(pattern=POINT)], ...], Field(strict=False, min_length=1), AfterValidator(distinct)
    ] = ("0ep", "1ep", "2ep")
    """The training steps that two trainings start from, each with its own ticket: 0ep, 1ep, 200it."""
    points: int = Field(11, ge=3, le=1001)
    """Networks judged on the straight line between the two, its ends among them."""
