"""The config of a study: which arms are compared, at which sparsities, for which seeds."""

from __future__ import annotations

import math
from collections import Counter
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from lthrun.analysis.arm_results import MAJORITY
from lthrun.analysis.seed_means import FEWEST_SEEDS
from lthrun.config.base import ExperimentConfig
from lthrun.config.fields import (
    LARGEST_SEED,
    Point,
    Section,
    count_steps,
    parse_n_of_m,
    positive_percent,
    refuse,
)
from lthrun.config.pruning import GradualPruning, MaskSettings, Pruning, Rewind, SparsitySettings
from lthrun.config.sections import Data, Training
from lthrun.experiments.arm_settings import ARMS, TICKET, Arm
from lthrun.experiments.baseline import BaselineConfig
from lthrun.experiments.prune import PruneConfig
from lthrun.experiments.ticket import TicketConfig
from lthrun.registry import TABLES

MOST_LEVELS = 1000
ANNEALED: dict[str, Any] = {"schedule": "cosine", "evaluate_every": 23, "evaluate_images": 500}
"""The defaults of a study's training, where they differ. At a constant rate accuracies swing by several points from
epoch to epoch, and no number of seeds decides anything. Interim evaluations show how soon an accuracy is reached."""

HELD_OUT: dict[str, Any] = {"test": 20.0}
"""The defaults of a study's data, where they differ. The verdict is about images that no choice has seen. As many are
held out for it as for validation, so that both accuracies are equally sure; validation images stay those of a run."""

PRIMARY = 90.0
"""The primary sparsity by default: below it random masks do nearly as well as tickets, and no arm can fail."""


def named_once(arms: tuple[Arm, ...]) -> tuple[Arm, ...]:
    twice = [name for name, n in Counter(arm.name for arm in arms).items() if n > 1]
    if twice:
        raise PydanticCustomError("unique", "two arms are named {name}", {"name": twice[0]})
    return arms


def list_arms(schema: dict[str, Any]) -> None:
    """In the JSON Schema an arm is a name or settings."""
    schema["items"] = {"anyOf": [{"enum": list(ARMS)}, schema["items"]]}


class Comparison(Section):
    seeds: int = Field(5, ge=1, le=1000)
    """How many seeds each arm is trained with, counted from seed; with fewer than 3 there is no verdict."""
    most_seeds: int | None = Field(None, ge=1, le=1000)
    """The most seeds that the study may grow to, declared when it begins (null: seeds). The intervals of every look
    on the way are wide enough that all looks together err in 5 % of studies."""
    until_decided: bool = False
    """Add as many seeds again, until the primary question has a verdict or most_seeds is reached."""
    arms: Annotated[
        tuple[Arm, ...],
        Field(strict=False, min_length=1, json_schema_extra=list_arms),
        AfterValidator(named_once),
    ] = tuple(entry.make for entry in ARMS.values())
    """What is compared: names of `lthrun list arms`, and arms spelled out, like {name: snip, criterion: snip,
    schedule: at_init} (docs/protocol.md)."""
    sparsities: Annotated[
        tuple[Annotated[float, AfterValidator(positive_percent)], ...], Field(strict=False, min_length=1)
    ] = (50.0, 80.0, 90.0, 95.0, 98.0)
    """Percents at which the arms are compared, rising."""
    primary: Annotated[float, AfterValidator(positive_percent)] | None = None
    """The sparsity of the primary question; null: 90 if it is one of sparsities, else the first."""
    prune_rate: float = Field(20.0, gt=0, lt=100)
    """Percent of the remaining weights that one level prunes, at most."""
    rewind: Point = "1ep"
    """The rewind point of ticket-rewind."""
    splits: Literal["shared", "per-seed"] = "shared"
    """shared: all seeds have the split of data.split_seed. per-seed: each seed has the next one, so that intervals
    cover the draw of the images; a data set's own validation and test images stay the same."""
    margin: float = Field(1.0, ge=0, le=100)
    """Points of accuracy, either way, within which two arms match."""

    @model_validator(mode="after")
    def _rises(self) -> Comparison:
        if list(self.sparsities) != sorted(set(self.sparsities)):
            raise refuse("sparsities", list(self.sparsities), "must rise, like [50, 80, 90]")
        if self.most_seeds is not None and self.most_seeds < self.seeds:
            raise refuse("most_seeds", self.most_seeds, f"must be at least compare.seeds, which is {self.seeds}")
        if self.until_decided and self.most_seeds is None:
            raise refuse("until_decided", "true", "needs compare.most_seeds, the most seeds it may use")
        if self.until_decided and not {"ticket", "dense"} <= set(self.names):
            raise refuse("until_decided", "true", "needs the arms ticket and dense, which the question is about")
        if self.primary is not None and self.primary not in self.sparsities:
            known = ", ".join(f"{sparsity:g}" for sparsity in self.sparsities)
            raise refuse("primary", f"{self.primary:g}", f"must be one of compare.sparsities, [{known}]")
        for arm in self.arms:
            if not arm.is_named and arm.against not in {*self.names, "dense", MAJORITY} - {arm.name}:
                raise refuse("arms", f"{arm.name} against {arm.against}", "must be another arm of compare.arms")
        steps = plan_sparsities(self.sparsities, self.prune_rate)
        found = f"{self.prune_rate:g}"
        if steps[0] < 1:
            raise refuse("prune_rate", found, f"the first level would prune {steps[0]:.2g} %, must be 1 % or more")
        if len(steps) > MOST_LEVELS:
            raise refuse("prune_rate", found, f"would take more than {MOST_LEVELS} levels: prune more at a time")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Of the arms."""
        return tuple(arm.name for arm in self.arms)

    @property
    def no_verdict(self) -> str | None:
        """Why there will be no verdict; None where there can be one."""
        if absent := [name for name in ("ticket", "dense") if name not in self.names]:
            return f"the question compares ticket with dense, and compare.arms lacks {' and '.join(absent)}"
        most = self.final_seeds
        return f"it needs {FEWEST_SEEDS} seeds, and compare.seeds is {most}" if most < FEWEST_SEEDS else None

    @property
    def final_seeds(self) -> int:
        """The most that it grows to by itself."""
        return self.most_seeds if self.until_decided and self.most_seeds else self.seeds

    @property
    def looks(self) -> list[int]:
        """The numbers of seeds at which it will be answered, if nothing is decided before."""
        return [*range(self.seeds, self.final_seeds, self.seeds), self.final_seeds]

    @property
    def primary_sparsity(self) -> float:
        return self.primary or (PRIMARY if PRIMARY in self.sparsities else self.sparsities[0])


def plan_sparsities(sparsities: tuple[float, ...], prune_rate: float) -> list[float]:
    """The sparsity in percent of each level after the dense one.

    It meets each of `sparsities` exactly. Between two of them every level prunes the same share of what remains, which
    is `prune_rate` percent or less, in as few levels as possible.
    """
    levels: list[float] = []
    left = 100.0
    for sparsity in sparsities:
        share = (100 - sparsity) / left
        steps = max(1, math.ceil(math.log(share) / math.log(1 - prune_rate / 100) - 1e-9))
        if len(levels) + steps > MOST_LEVELS:
            return [*levels, *[sparsity] * steps][: MOST_LEVELS + 1]
        levels += [100 - left * share ** (k / steps) for k in range(1, steps)] + [sparsity]
        left = 100 - sparsity
    return levels


class ComparedMaskSettings(MaskSettings):
    """How the masks of all arms are made."""

    @model_validator(mode="after")
    def _takes_every_sparsity(self) -> ComparedMaskSettings:
        if parse_n_of_m(self.granularity):
            raise refuse("granularity", self.granularity, "it has one sparsity only, and a chain of levels has many")
        return self


class CompareConfig(ExperimentConfig):
    """Does the ticket win? Train the arms, each for every seed, and say which does better, and how sure that is.

    `seed` is the first of the seeds. The primary question is always the same: `ticket` against `dense` after the
    same training, accuracy, at compare.primary.
    """

    experiment: Literal["compare"] = "compare"
    data: Data = Data(**HELD_OUT)
    training: Training = Training(**ANNEALED)
    pruning: ComparedMaskSettings = ComparedMaskSettings()
    compare: Comparison = Comparison()

    rewind_key: ClassVar[str] = "compare.rewind"

    @field_validator("data", "training", mode="before")
    @classmethod
    def _with_own_defaults(cls, tree: Any, info: ValidationInfo) -> Any:
        own = HELD_OUT if info.field_name == "data" else ANNEALED
        return {**own, **tree} if isinstance(tree, dict) else tree

    @model_validator(mode="after")
    def _arms_are_possible(self) -> CompareConfig:
        for arm in self.compare.arms:
            if arm.retrain == "lr" and not self.training.anneals:
                raise refuse(
                    "compare.arms",
                    arm.name,
                    "a constant learning rate cannot be rewound: leave it out, or use training.schedule: cosine",
                )
            point = self.find_rewind_point(arm)
            if point.endswith("ep") and count_steps(point, 1) >= self.training.epochs:
                is_shared = arm.rewind == "compare.rewind"
                raise refuse(
                    "compare.rewind" if is_shared else "compare.arms",
                    point if is_shared else f"{arm.name} with rewind {point}",
                    "must lie before the end of level 0, which trains training.epochs = "
                    f"{self.training.epochs} epochs: lower it, or leave out {arm.name}",
                )
            try:
                self.ticket(self.seed, arm)
            except ValidationError as error:
                raise refuse("compare.arms", arm.name, error.errors()[0]["msg"]) from None
        seeds = max(self.compare.seeds, self.compare.most_seeds or 0)
        last, splits = self.seed + seeds - 1, self.data.split_seed
        for key, first, end in (("seed", self.seed, last), ("data.split_seed", splits, self.split_seed(last))):
            if end > LARGEST_SEED:
                raise refuse(key, first, f"with {seeds} seeds the last would be above {LARGEST_SEED}")
        return self

    @property
    def rewind_points(self) -> tuple[str, ...]:
        points = (self.find_rewind_point(arm) for arm in self.compare.arms)
        return tuple(dict.fromkeys(point for point in points if point != "0ep"))

    @property
    def mask_settings(self) -> SparsitySettings:
        return self.ticket(self.seed).pruning

    @property
    def seeds(self) -> range:
        return range(self.seed, self.seed + self.compare.seeds)

    def split_seed(self, seed: int) -> int:
        """The `data.split_seed` of the levels of a seed."""
        return self.data.split_seed + (seed - self.seed if self.compare.splits == "per-seed" else 0)

    @property
    def split_seeds(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(map(self.split_seed, self.seeds)))

    @property
    def identity_extras(self) -> dict[str, Any]:
        compare = self.compare.model_dump(exclude={"seeds", "most_seeds", "until_decided", "primary"})
        if self.compare.primary_sparsity != self.compare.sparsities[0]:
            compare["primary"] = self.compare.primary_sparsity
        pruning = self.pruning.model_dump(exclude=set() if self.pruning.rates else {"rates"})
        return {"compare": compare, "pruning": pruning}

    def largest(self) -> CompareConfig:
        compare = self.compare.model_copy(update={"seeds": self.compare.final_seeds})
        return self.model_copy(update={"compare": compare})

    def baseline(self, seed: int, epochs: int | None = None) -> BaselineConfig:
        """The experiment `baseline` with a seed, under the study's settings."""
        training = self.training.model_copy(update={"epochs": epochs or self.training.epochs})
        return BaselineConfig(**self._shared(seed) | {"training": training})

    def ticket(self, seed: int, arm: Arm = TICKET, sparsities: tuple[float, ...] | None = None) -> TicketConfig:
        """The experiment `ticket` with a seed, as an arm has it: all levels of the study, or those of given
        sparsities."""
        steps = tuple(plan_sparsities(self.compare.sparsities, self.compare.prune_rate))
        pruning = Pruning(**self._masks(arm), schedule="custom", sparsities=sparsities or steps)
        point = self.find_rewind_point(arm)
        rewind = {"to": point, "train": "full" if point == "0ep" else "remaining"}
        rewind |= {key: getattr(arm, key) for key in ("retrain", "kept", "pruned")}
        return TicketConfig(**self._shared(seed), pruning=pruning, rewind=Rewind.model_validate(rewind))

    def prune(self, seed: int, arm: Arm, sparsity: float) -> PruneConfig:
        """The experiment `prune` with a seed, as an arm has it: gradually, or all before the first step."""
        at_init: dict[str, Any] = (
            {"schedule": "one_shot", "begin": 0.0, "end": 0.0} if arm.schedule == "at_init" else {}
        )
        pruning = GradualPruning(**self._masks(arm), **at_init, sparsity=sparsity)
        return PruneConfig(**self._shared(seed), pruning=pruning)

    def find_rewind_point(self, arm: Arm) -> str:
        return self.compare.rewind if arm.rewind == "compare.rewind" else arm.rewind

    def _masks(self, arm: Arm) -> dict[str, Any]:
        """The study's mask settings, with those of an arm. Where the study leaves the context to its criterion, so does
        an arm with another one."""
        is_auto = self.pruning.context == TABLES["criteria"][self.pruning.criterion].context
        own: dict[str, Any] = {"context": "auto"} if is_auto and arm.criterion else {}
        own |= {key: value for key, value in arm.changes.items() if key in MaskSettings.model_fields}
        return ComparedMaskSettings(**self.pruning.model_dump() | own).model_dump()

    def _shared(self, seed: int) -> dict[str, Any]:
        keys = ("device", "precision", "deterministic", "model", "training")
        data = self.data.model_copy(update={"split_seed": self.split_seed(seed)})
        return {"seed": seed, "data": data, **{key: getattr(self, key) for key in keys}}
