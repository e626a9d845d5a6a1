"""What every experiment's config has, and what the rest of the program may ask of any of them.

An experiment with sections of its own overrides the properties below, so that no other room asks for its class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lthrun.config.fields import DEVICE, LARGEST_SEED, Section, refuse
from lthrun.config.pruning import LayerSelection, Rewind, SparsitySettings
from lthrun.config.sections import Data, Model, Training
from lthrun.registry import TABLES


class LearnedMask(Section):
    """A mask that is learned: the method, the sparsity in percent (0 where it is a result), and the fixed weights."""

    method: str
    sparsity: float
    weights: str


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a tree of sections by key path; a mapping of patterns is a value."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and not prefix:
            flat |= flatten(value, f"{key}.")
        else:
            flat[prefix + key] = value
    return flat


class ExperimentConfig(Section):
    """The keys of every experiment."""

    experiment: str
    seed: int = Field(0, ge=0, le=LARGEST_SEED)
    """Decides initialization, data order, augmentation and random masks."""
    device: str = Field("auto", pattern=DEVICE)
    """auto: cuda:0 if there is one, else cpu; mps is Apple's GPU."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 (autocast) on a GPU that supports it, float32 elsewhere."""
    deterministic: bool = False
    """On CUDA: only deterministic kernels, so that a resumed run equals an uninterrupted one; slower."""
    data: Data = Data()
    model: Model = Model()
    training: Training = Training()

    rewind_key: ClassVar[str] = "rewind.to"
    """The key that names the rewind points, for messages."""

    @property
    def identity_extras(self) -> dict[str, Any] | None:
        """What identifies a run beside the key of its last level."""
        return None

    @property
    def split_seeds(self) -> tuple[int, ...]:
        """The values of `data.split_seed` that its levels have."""
        return (self.data.split_seed,)

    @property
    def rewind_points(self) -> tuple[str, ...]:
        """The rewind points of its levels, like 1ep."""
        return ()

    @property
    def mask_settings(self) -> SparsitySettings | None:
        """How the masks of its levels are made; None where it has none, or learns them."""
        return None

    @property
    def layer_selection(self) -> LayerSelection:
        """Which layers are pruned, or would be."""
        return self.mask_settings or LayerSelection()

    @property
    def resets(self) -> Rewind:
        """What weights are reset to at the start of a level."""
        return Rewind()

    @property
    def protocol(self) -> str:
        """What happens between two levels."""
        return "frankle"

    @property
    def learned_mask(self) -> LearnedMask | None:
        """The mask that is learned instead of weights."""
        return None

    def defaults(self) -> dict[str, Any]:
        """The default of every key, by key path."""
        return flatten(type(self).model_validate({"experiment": self.experiment}).model_dump(mode="json"))

    def largest(self) -> ExperimentConfig:
        """What it may grow to: for the dry run."""
        return self

    def differences(self) -> dict[str, Any]:
        """What sets it apart from its defaults, by key path; seed and machine are left out."""
        defaults, machine = self.defaults(), ("seed", "device", "precision", "data.dir")
        own = flatten(self.model_dump(mode="json"))
        return {key: value for key, value in own.items() if defaults.get(key) != value and key not in machine}

    @model_validator(mode="after")
    def _model_fits_data(self) -> Self:
        if self.data.labels == "breed" and self.data.dataset != "pets":
            raise refuse(
                "data.labels",
                "breed",
                f"the images of data.dataset: {self.data.dataset} have no breeds: use species (which other data sets "
                "ignore), or data.dataset: pets",
            )
        smallest = TABLES["models"][self.model.name].smallest
        if self.data.image_size < smallest:
            raise refuse(
                "data.image_size",
                self.data.image_size,
                f"model.name: {self.model.name} needs {smallest} pixels or more",
            )
        return self
