"""The sections of a study as typed models: which arms are compared, at which sparsities, for which seeds."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from lthrun.config.fields import POINT, Section, percent, refuse
from lthrun.config.sections import MaskSettings
from lthrun.sparsity.granularities import parse_n_of_m


def sparse(value: float) -> float:
    if percent(value) == 0:
        raise PydanticCustomError("percent", "must be in percent, above 0 and below 100", {})
    return value


def known_arms(names: tuple[str, ...]) -> tuple[str, ...]:
    from lthrun.experiments.arms import ARMS

    for name in names:
        if name not in ARMS:
            raise PydanticCustomError("unknown_name", "there is no arm {name}; {names}", {
                "name": name, "names": f"must be among {', '.join(ARMS)}"})  # fmt: skip
    if len(set(names)) < len(names):
        raise PydanticCustomError("twice", "an arm stands twice", {})
    return names


def name_arms(schema: dict[str, Any]) -> None:
    """For editors: which arms there are."""
    from lthrun.experiments.arms import ARMS

    schema["items"] = {"enum": list(ARMS)}


ALL = (
    "dense", "dense-budget", "ticket", "ticket-rewind", "supermask", "random-mask", "random-init", "one-shot", "prune",
    "lr-rewind",
)  # fmt: skip


ANNEALED: dict[str, Any] = {"schedule": "cosine", "evaluate_every": 23, "evaluate_images": 500}
"""The defaults of a study's training, where they differ. At a constant rate accuracies swing by several points from
epoch to epoch, and no number of seeds decides anything; looks within epochs say how soon an arm is where it gets."""


class Comparison(Section):
    seeds: int = Field(5, ge=1, le=1000)
    """How many seeds each arm is trained with, counted from seed; below 3 there is no verdict."""
    arms: Annotated[
        tuple[str, ...], Field(strict=False, min_length=1, json_schema_extra=name_arms), AfterValidator(known_arms)
    ] = ALL
    """What is compared: `lthrun list arms`."""
    sparsities: Annotated[tuple[Annotated[float, AfterValidator(sparse)], ...], Field(strict=False, min_length=1)] = (
        50.0,
        80.0,
        90.0,
        95.0,
        98.0,
    )
    """Percents at which the arms are compared, rising; the primary question is asked at the first."""
    prune_rate: float = Field(20.0, gt=0, lt=100)
    """Percent of the remaining weights that one level prunes, at most."""
    rewind: str = Field("1ep", pattern=POINT)
    """The rewind point of ticket-rewind."""
    margin: float = Field(1.0, ge=0, le=100)
    """Up to how many points of accuracy, either way, two arms match."""

    @model_validator(mode="after")
    def _rises(self) -> Comparison:
        if list(self.sparsities) != sorted(set(self.sparsities)):
            raise refuse("sparsities", list(self.sparsities), "must rise, like [50, 80, 90]")
        steps = ladder(self.sparsities, self.prune_rate)
        if steps[0] < 1:
            raise refuse(
                "prune_rate",
                f"{self.prune_rate:g}",
                f"the first level would prune {steps[0]:.2g} %, must be 1 % or more",
            )
        if len(steps) > MOST_LEVELS:
            raise refuse(
                "prune_rate", f"{self.prune_rate:g}", f"would take more than {MOST_LEVELS} levels: prune more at a time"
            )
        return self


MOST_LEVELS = 1000


def ladder(sparsities: tuple[float, ...], prune_rate: float) -> list[float]:
    """The sparsity in percent of each level after the dense one.

    It meets each of `sparsities` exactly; between two of them every level prunes the same share of what remains,
    which is `prune_rate` percent or less, in as few levels as that allows.
    """
    found: list[float] = []
    left = 100.0
    for sparsity in sparsities:
        share = (100 - sparsity) / left
        steps = max(1, math.ceil(math.log(share) / math.log(1 - prune_rate / 100) - 1e-9))
        if len(found) + steps > MOST_LEVELS:
            return [*found, *[sparsity] * steps][: MOST_LEVELS + 1]
        found += [100 - left * share ** (k / steps) for k in range(1, steps)] + [sparsity]
        left = 100 - sparsity
    return found


class ComparedMaskSettings(MaskSettings):
    """How the masks of all arms are made."""

    @model_validator(mode="after")
    def _takes_every_sparsity(self) -> ComparedMaskSettings:
        if parse_n_of_m(self.granularity):
            raise refuse("granularity", self.granularity, "it has one sparsity only, and a chain of levels has many")
        return self
