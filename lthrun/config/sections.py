"""The sections that every experiment has. The defaults ARE the Oxford-IIIT Pet experiments of docs/protocol.md.

Nothing here imports torch, so that what can be refused is refused before torch is loaded.
"""

from __future__ import annotations

from math import ceil, sqrt
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from lthrun.config.fields import (
    LARGEST_SEED,
    MOST,
    Point,
    Section,
    count_steps,
    decay,
    named_in,
    refuse,
    shares,
    unique,
)


class Data(Section):
    dataset: named_in("datasets") = "pets"  # type: ignore[valid-type]
    """Which images: `lthrun list datasets`. A folder is dir/<class>/<image>, or with its own split
    dir/train/<class>/<image> and dir/val, dir/test."""
    labels: Literal["species", "breed"] = "species"
    """Of pets: cats against dogs, or the breeds by file name (37 in the whole set)."""
    dir: Annotated[str, Field(min_length=1)] | None = None
    """An existing copy of the images (pets: DIR/images or DIR/oxford-iiit-pet/images; cifar10:
    DIR/cifar-10-batches-py or DIR/train/<class>; mnist: DIR/MNIST/raw or DIR/train/<class>; folder: DIR/<class>); null:
    lthrun's own."""
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
        tuple[named_in("augmentations"), ...],  # type: ignore[valid-type]
        Field(strict=False, min_length=1),
        AfterValidator(unique),
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
    name: Annotated[named_in("models"), BeforeValidator(name_factory)] = "resnet18"  # type: ignore[valid-type]
    """The architecture, randomly initialized: `lthrun list models`, or one of your own as package.module:factory, a
    function or class that takes (classes, channels, image_size) and returns a torch.nn.Module."""


class Training(Section):
    """Weight decay acts on weights, never on biases and batch norm."""

    epochs: int = Field(5, ge=1, le=MOST)
    """Epochs of each level."""
    batch_size: int = Field(64, ge=2, le=MOST)
    """Images per step; the last incomplete batch of an epoch is dropped."""
    optimizer: named_in("optimizers") = "adamw"  # type: ignore[valid-type]
    """What updates the weights: `lthrun list optimizers`."""
    learning_rate: float = Field(1e-3, gt=0)
    """What the schedule multiplies."""
    schedule: named_in("learning-rates") = "constant"  # type: ignore[valid-type]
    """How the learning rate changes: `lthrun list learning-rates`."""
    warmup: Point = "0ep"
    """The learning rate rises linearly until then: 2ep, 200it."""
    final: float = Field(0.01, gt=0, le=1)
    """cosine and one_cycle: the share of the learning rate they end at."""
    milestones: Annotated[tuple[float, ...], Field(strict=False)] = (50.0, 75.0)
    """step: percents of the training at which the learning rate falls."""
    gamma: float = Field(0.1, gt=0, lt=1)
    """step: the factor by which it falls."""
    betas: Annotated[tuple[float, float], Field(strict=False), AfterValidator(decay)] = (0.9, 0.99)
    """adamw and adam: decay of the two moments, each at least 0 and below 1."""
    eps: float = Field(1e-5, gt=0)
    """adamw and adam: added to the denominator."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """sgd: decay of the momentum."""
    nesterov: bool = False
    """sgd: Nesterov's momentum, which needs a momentum above 0."""
    weight_decay: float = Field(0.01, ge=0)
    """adamw and sgd: the pull of weights towards zero."""
    evaluate_every: int | None = Field(None, ge=1, le=MOST)
    """Also validate every so many steps of a level, and at its end; null: at the end of each epoch only."""
    evaluate_images: int | None = Field(None, ge=1, le=MOST)
    """On so many of the validation images, always the same; null: on all of them."""

    def warmup_steps(self, epoch_steps: int) -> int:
        return count_steps(self.warmup, epoch_steps)

    @model_validator(mode="after")
    def _fits_together(self) -> Training:
        if self.warmup.endswith("ep") and count_steps(self.warmup, 1) > self.epochs:
            raise refuse("warmup", self.warmup, f"must end within training.epochs, which is {self.epochs}")
        if self.nesterov and not self.momentum:
            raise refuse("nesterov", "true", "needs a training.momentum above 0")
        if self.evaluate_images and not self.evaluate_every:
            raise refuse("evaluate_images", self.evaluate_images, "needs training.evaluate_every, which is not set")
        return self

    @property
    def anneals(self) -> bool:
        """Whether the learning rate depends on the clock."""
        flat = {"constant": True, "step": not self.milestones, "cosine": self.final == 1}.get(self.schedule, False)
        return not flat or int(self.warmup[:-2]) > 0
