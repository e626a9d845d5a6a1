"""The experiment as typed models. The defaults ARE the Oxford-IIIT Pet experiments of docs/protocol.md.

Nothing here imports torch, so that whatever can be refused is refused before torch is loaded.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    model_validator,
)
from pydantic_core import PydanticCustomError

from lthrun.data import DATASETS
from lthrun.models import MODELS, SMALLEST
from lthrun.sparsity.criteria import CRITERIA
from lthrun.sparsity.granularity import GRANULARITIES


def named_in(table: Mapping[str, Any]) -> Any:
    """The type of a name that must stand in `table`."""
    names = ", ".join(table)

    def known(name: str) -> str:
        if name in table:
            return name
        near = difflib.get_close_matches(name, table, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise PydanticCustomError("unknown_name", "must be one of {names}{hint}", {"names": names, "hint": hint})

    return Annotated[str, AfterValidator(known), Field(json_schema_extra={"enum": list(table)})]


def percent(value: float) -> float:
    if 0 < value < 1:
        raise PydanticCustomError(
            "percent",
            "sparsity is in percent, so write {percent} for this share",
            {"percent": f"{100 * value:g}"},
        )
    if not 0 <= value < 100:
        raise PydanticCustomError("percent", "must be in percent, at least 0 and below 100", {})
    return value


def decays(values: tuple[float, float]) -> tuple[float, float]:
    if not all(0 <= value < 1 for value in values):
        raise PydanticCustomError("decays", "must each be at least 0 and below 1", {})
    return values


class Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Data(Section):
    dataset: named_in(DATASETS) = "pets"  # type: ignore[valid-type]
    """pets: Oxford-IIIT Pet. cifar10: CIFAR-10 with its own split. folder: dir/<class>/<image>. synthetic: drawn
    faces, no download."""
    labels: Literal["species", "breed"] = "species"
    """Of pets: cats against dogs, or the breeds by file name (37 in the whole set)."""
    dir: str | None = None
    """An existing copy of the images (pets: DIR/images or DIR/oxford-iiit-pet/images; cifar10:
    DIR/cifar-10-batches-py; folder: DIR/<class>/<image>); null: lthrun's own."""
    image_size: int = Field(64, ge=16, le=512)
    """Side of the square the model sees, in pixels."""
    validation: float = Field(20.0, gt=0, lt=100)
    """Share of the images held out for validation, in percent; cifar10 holds out its own 10,000."""
    split_seed: int = Field(42, ge=0)
    """Draws the validation images; apart from `seed`, so that replicates share one split."""
    skip_unreadable: bool = False
    """Leave out images that cannot be read, rather than stop."""


class Model(Section):
    name: named_in(MODELS) = "resnet18"  # type: ignore[valid-type]
    """The architecture, randomly initialised."""


class Training(Section):
    """AdamW; weight decay acts on weights, never on biases and batch norm."""

    epochs: int = Field(5, ge=1)
    """Epochs of each level."""
    batch_size: int = Field(64, ge=2)
    """Images per step; the last incomplete batch of an epoch is dropped."""
    learning_rate: float = Field(1e-3, gt=0)
    """Constant."""
    betas: Annotated[tuple[float, float], Field(strict=False), AfterValidator(decays)] = (0.9, 0.99)
    """Decay of the two moments, each at least 0 and below 1."""
    eps: float = Field(1e-5, gt=0)
    """Added to the denominator."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled from the gradient (Loshchilov & Hutter 2019)."""


class Pruning(Section):
    sparsity: Annotated[float, AfterValidator(percent)] = 50.0
    """Percent of the prunable weights that are zero in the end; level k of n prunes to sparsity * k / n."""
    steps: int = Field(3, ge=1)
    """Number of prunings n; there are n + 1 levels, level 0 being dense."""
    criterion: named_in(CRITERIA) = "large_final"  # type: ignore[valid-type]
    """Scores the weights; the lowest scores are pruned."""
    granularity: named_in(GRANULARITIES) = "weight"  # type: ignore[valid-type]
    """What is pruned as one."""
    context: Literal["local", "global"] = "local"
    """local: each tensor reaches the sparsity by itself; global: all tensors are ranked together."""
    protocol: Literal["frankle", "fasterai"] = "frankle"
    """What exactly happens between two levels (docs/protocol.md)."""


class Rewind(Section):
    to: str = Field("0ep", pattern=r"^\d{1,9}(ep|it)$")
    """The training step that weights go back to: 0ep is initialisation, 1ep after one epoch, 200it after 200 steps."""
    train: Literal["full", "remaining"] = "full"
    """full: each level trains training.epochs; remaining: up to the step at which level 0 ended."""

    def step(self, epoch_steps: int) -> int:
        """The rewind point in steps, `epoch_steps` being the steps of an epoch."""
        return int(self.to[:-2]) * (epoch_steps if self.to.endswith("ep") else 1)


class Supermask(Section):
    batch_norm: Literal["recalibrate", "initial", "trained"] = "recalibrate"
    """The running statistics the mask is judged with: estimated for the masked untrained weights; mean 0 and
    variance 1; or those of the trained ticket."""


class Baseline(Section):
    """Train the dense network."""

    experiment: Literal["baseline"] = "baseline"
    seed: int = Field(0, ge=0)
    """Decides initialisation, data order, augmentation and random masks."""
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d{1,3})?)$")
    """auto: cuda:0 if there is one, else cpu."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 (autocast) on CUDA, float32 on the CPU."""
    data: Data = Data()
    model: Model = Model()
    training: Training = Training()

    @model_validator(mode="after")
    def _data_fit(self) -> Self:
        if self.data.labels == "breed" and self.data.dataset != "pets":
            raise PydanticCustomError(
                "labels",
                "data.labels: found breed; the images of data.dataset: {dataset} have no breeds: use species (which "
                "other data sets pass over), or data.dataset: pets",
                {"dataset": self.data.dataset},
            )
        smallest = SMALLEST.get(self.model.name, 16)
        if self.data.image_size < smallest:
            raise PydanticCustomError(
                "image_size",
                "data.image_size: found {size}; model.name: {model} needs {smallest} pixels or more",
                {"size": self.data.image_size, "model": self.model.name, "smallest": smallest},
            )
        return self


class Ticket(Baseline):
    """Train, prune, rewind, repeat: iterative magnitude pruning."""

    experiment: Literal["ticket"] = "ticket"  # type: ignore[assignment]
    pruning: Pruning = Pruning()
    rewind: Rewind = Rewind()

    @model_validator(mode="after")
    def _rewind_point_is_within_level_0(self) -> Ticket:
        if self.rewind.to.endswith("ep") and self.rewind.step(1) >= self.training.epochs:
            raise PydanticCustomError(
                "rewind",
                "rewind.to: found {to}; must lie before the end of level 0, which trains "
                "training.epochs = {epochs} epochs: 0ep to {last}ep",
                {"to": self.rewind.to, "epochs": self.training.epochs, "last": self.training.epochs - 1},
            )
        if self.pruning.protocol == "fasterai" and self.rewind.train == "remaining":
            raise PydanticCustomError(
                "rewind",
                "rewind.train: found remaining; the fasterai protocol's clock never goes back, "
                "so every level trains in full: use full, or pruning.protocol: frankle",
                {},
            )
        return self


class SupermaskExperiment(Ticket):
    """Find a ticket, then judge its mask on weights that were never trained."""

    experiment: Literal["supermask"] = "supermask"  # type: ignore[assignment]
    supermask: Supermask = Supermask()


Config = Baseline | Ticket | SupermaskExperiment
CONFIGS: dict[str, type[Baseline]] = {
    "baseline": Baseline,
    "ticket": Ticket,
    "supermask": SupermaskExperiment,
}


def schema() -> dict[str, Any]:
    """The JSON Schema by which editors complete and check the YAML."""
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[Config, Field(discriminator="experiment")])
    generated = adapter.json_schema()
    for kind in CONFIGS.values():
        generated["$defs"][kind.__name__]["required"] = ["experiment"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lthrun experiment",
        **generated,
    }
