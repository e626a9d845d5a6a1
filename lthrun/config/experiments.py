"""The experiments that are one run, as typed models: which sections each has, and what must fit together.

Nothing here imports torch, so that whatever can be refused is refused before torch is loaded.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_serializer, model_validator

from lthrun.config.fields import LARGEST_SEED, Section, refuse, steps_of
from lthrun.config.sections import (
    Connectivity,
    Data,
    GradualPruning,
    LayerSelection,
    Model,
    Pruning,
    Rewind,
    Supermask,
    Training,
)
from lthrun.models import MODELS
from lthrun.sparsity.granularities import is_structured


class Baseline(Section):
    """Train the dense network."""

    experiment: Literal["baseline"] = "baseline"
    seed: int = Field(0, ge=0, le=LARGEST_SEED)
    """Decides initialisation, data order, augmentation and random masks."""
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d{1,3})?)$")
    """auto: cuda:0 if there is one, else cpu."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 (autocast) on CUDA where the GPU has it, float32 elsewhere."""
    deterministic: bool = False
    """On CUDA: only kernels that give the same bits every time, so that a resumed run equals an undisturbed one."""
    data: Data = Data()
    model: Model = Model()
    training: Training = Training()

    @property
    def identity_extras(self) -> dict[str, Any] | None:
        """What sets a run apart beside the name of its last level."""
        return None

    @model_validator(mode="after")
    def _data_fit(self) -> Self:
        if self.data.labels == "breed" and self.data.dataset != "pets":
            raise refuse(
                "data.labels",
                "breed",
                f"the images of data.dataset: {self.data.dataset} have no breeds: use species (which other data sets "
                "pass over), or data.dataset: pets",
            )
        smallest = MODELS[self.model.name].smallest
        if self.data.image_size < smallest:
            raise refuse(
                "data.image_size",
                self.data.image_size,
                f"model.name: {self.model.name} needs {smallest} pixels or more",
            )
        return self


class Ticket(Baseline):
    """Train, prune, rewind, repeat: iterative magnitude pruning."""

    experiment: Literal["ticket"] = "ticket"  # type: ignore[assignment]
    pruning: Pruning = Pruning()
    rewind: Rewind = Rewind()

    rewind_key: ClassVar[str] = "rewind.to"

    @property
    def rewind_points(self) -> tuple[str, ...]:
        """Where weights go back to, as the key `rewind_key` says."""
        return (self.rewind.to,)

    @model_validator(mode="after")
    def _rewinding_is_possible(self) -> Ticket:
        rewind, training = self.rewind, self.training
        late = any(steps_of(point, 1) for point in self.rewind_points)
        for point in self.rewind_points:
            if point.endswith("ep") and steps_of(point, 1) >= training.epochs:
                raise refuse(
                    self.rewind_key,
                    point,
                    "must lie before the end of level 0, which trains "
                    f"training.epochs = {training.epochs} epochs: 0ep to {training.epochs - 1}ep",
                )
        if self.pruning.protocol == "fasterai":
            for key, plain in (("train", "full"), ("retrain", "weights"), ("kept", "rewind"), ("pruned", "zero")):
                if getattr(rewind, key) != plain:
                    raise refuse(
                        f"rewind.{key}",
                        getattr(rewind, key),
                        "the fasterai protocol's clock never goes back, its weights always do, and "
                        f"every level trains in full: use {plain}, or pruning.protocol: frankle",
                    )
        elif rewind.retrain != "finetune" and rewind.train == "full" and late and training.anneals:
            raise refuse(
                "rewind.train",
                "full",
                "a level rewound into the training would outlast the learning-rate schedule: use remaining",
            )
        if rewind.retrain == "lr" and not training.anneals:
            raise refuse(
                "rewind.retrain",
                "lr",
                "at a constant learning rate there is nothing to rewind, it is fine-tuning: use finetune, "
                "or training.schedule: step, cosine or one_cycle",
            )
        for key, plain in (("kept", "rewind"), ("pruned", "zero")):
            if getattr(rewind, key) != plain and (late or rewind.retrain != "weights"):
                raise refuse(
                    f"rewind.{key}",
                    getattr(rewind, key),
                    "the resets of Zhou et al. start from initialisation: "
                    f"use {self.rewind_key}: 0ep and retrain: weights",
                )
        if rewind.pruned == "frozen" and is_structured(self.pruning.granularity):
            raise refuse(
                "rewind.pruned", "frozen", f"granularity {self.pruning.granularity} removes channels: use zero"
            )
        return self


class Prune(Baseline):
    """Prune during one training, without rewinding: the practitioner's alternative to the ticket."""

    experiment: Literal["prune"] = "prune"  # type: ignore[assignment]
    pruning: GradualPruning = GradualPruning()


LEARNED: dict[str, dict[str, dict[str, Any]]] = {
    "edge-popup": {
        "training": {"optimizer": "sgd", "learning_rate": 0.1, "schedule": "cosine", "weight_decay": 1e-4},
        "pruning": {"classifier": True},
    },
    "bernoulli": {
        "training": {"optimizer": "adamw", "learning_rate": 0.3, "schedule": "cosine", "weight_decay": 0.0},
        "pruning": {"classifier": True},
    },
}
"""The defaults of the supermask methods that learn a mask, where they differ: scores are not weights."""


def of_lth_only(method: str) -> dict[str, set[str]]:
    """Keys that a method which learns its mask has no use for, by section."""
    use = set(LayerSelection.model_fields) | ({"sparsity"} if method == "edge-popup" else set())
    return {"pruning": set(Pruning.model_fields) - use, "rewind": set(Rewind.model_fields)}


class SupermaskConfig(Ticket):
    """Find a mask, by training a ticket or by learning it, and judge it on weights that were never trained."""

    experiment: Literal["supermask"] = "supermask"  # type: ignore[assignment]
    supermask: Supermask = Supermask()

    @property
    def identity_extras(self) -> dict[str, Any]:
        return self.supermask.model_dump()

    @model_validator(mode="before")
    @classmethod
    def _method_decides_keys_and_defaults(cls, tree: Any) -> Any:
        def section(name: str) -> dict[str, Any]:
            found = tree.get(name) if isinstance(tree, dict) else None
            return found if isinstance(found, dict) else {}

        method = section("supermask").get("method", "lth")
        if method == "lth" and "weights" in section("supermask"):
            raise refuse(
                "supermask.weights", section("supermask")["weights"], "of method lth, rewind.kept chooses the weights"
            )
        if not isinstance(method, str) or method not in LEARNED:
            return tree
        for name, keys in of_lth_only(method).items():
            for key in keys & set(section(name)):
                right = (
                    "the sparsity of a bernoulli mask is a result, not a setting: leave it out"
                    if key == "sparsity"
                    else f"method {method} learns its mask and has no use for it: leave it out"
                )
                raise refuse(f"{name}.{key}", section(name)[key], right)
        own = LEARNED[method]
        return tree | {name: {**own[name], **section(name)} for name in own if isinstance(tree.get(name, {}), dict)}

    @model_validator(mode="after")
    def _mask_matters(self) -> SupermaskConfig:
        if self.rewind.pruned == "frozen" and self.rewind.kept == "rewind":
            raise refuse(
                "rewind.pruned",
                "frozen",
                "with rewind.kept: rewind, kept and pruned weights would both be the initial ones, whatever the mask: "
                "use zero, or kept: sign_constant, shuffle or redraw",
            )
        return self

    @model_serializer(mode="wrap")
    def _without_keys_of_other_methods(self, plain: Any) -> dict[str, Any]:
        tree: dict[str, Any] = plain(self)
        if self.supermask.method == "lth":
            del tree["supermask"]["weights"]
            return tree
        for name, keys in of_lth_only(self.supermask.method).items():
            tree[name] = {key: value for key, value in tree[name].items() if key not in keys}
        return {name: section for name, section in tree.items() if section != {}}


class ConnectivityConfig(Ticket):
    """Train a ticket in two orders of the images, and measure the error between the two (Frankle et al. 2020)."""

    experiment: Literal["connectivity"] = "connectivity"  # type: ignore[assignment]
    connectivity: Connectivity = Connectivity()
    rewind_key: ClassVar[str] = "connectivity.rewind_points"

    @property
    def identity_extras(self) -> dict[str, Any]:
        return self.connectivity.model_dump()

    @property
    def rewind_points(self) -> tuple[str, ...]:
        return self.connectivity.rewind_points

    @model_validator(mode="before")
    @classmethod
    def _rewind_points_say_where(cls, tree: Any) -> Any:
        rewind = tree.get("rewind") if isinstance(tree, dict) else None
        if isinstance(rewind, dict) and "to" in rewind:
            raise refuse("rewind.to", rewind["to"], "connectivity.rewind_points says it here: leave it out")
        return tree

    @model_validator(mode="after")
    def _trainings_start_from_the_rewind_point(self) -> ConnectivityConfig:
        why = "the two trainings must start from the rewind point: use"
        if self.rewind.retrain != "weights":
            raise refuse("rewind.retrain", self.rewind.retrain, f"{why} weights")
        if self.pruning.protocol != "frankle":
            raise refuse("pruning.protocol", self.pruning.protocol, f"{why} frankle")
        return self

    @model_serializer(mode="wrap")
    def _without_rewind_to(self, plain: Any) -> dict[str, Any]:
        tree: dict[str, Any] = plain(self)
        del tree["rewind"]["to"]
        return tree
