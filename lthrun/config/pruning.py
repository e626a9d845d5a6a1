"""What is pruned, by which scores, and how the sparsity changes: the sections `pruning` and `rewind`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from lthrun.config.fields import (
    MOST,
    Patterns,
    Percent,
    Percents,
    Point,
    Rate,
    Section,
    count_steps,
    named_in,
    parse_n_of_m,
    refuse,
)
from lthrun.registry import TABLES


@dataclass(frozen=True)
class ScheduleParams:
    """What a schedule of sparsity reads.

    Attributes:
        start, end: sparsity in percent, each at least 0 and below 100.
        steps: number of pruning steps, at least 1.
        sparsities: the percents of `custom`, in order.
    """

    start: float = 0.0
    end: float = 50.0
    steps: int = 3
    sparsities: tuple[float, ...] = ()


def count_pruning_steps(schedule: str, params: ScheduleParams) -> int:
    return {"one_shot": 1, "custom": len(params.sparsities)}.get(schedule, params.steps)


def sparsity_targets(schedule: str, params: ScheduleParams) -> list[float]:
    """The sparsity in percent before the first pruning step, which is 0, and after each."""
    n = count_pruning_steps(schedule, params)
    compute = TABLES["schedules"][schedule]
    return [0.0, *(float(compute(k / n, params)) for k in range(1, n + 1))]


def find_match(by_pattern: Mapping[str, float], layer: str) -> float | None:
    """The value of the first pattern that matches the name of a layer."""
    return next((value for pattern, value in by_pattern.items() if fnmatchcase(layer, pattern)), None)


class LayerSelection(Section):
    """Which layers are pruned. Patterns are shell-style and match layer names: `layer4.*`."""

    types: Annotated[tuple[Literal["conv", "linear"], ...], Field(strict=False, min_length=1)] = ("conv",)
    """Types of layers that are pruned: conv, linear; of a model without convolutions linear. The classifier has a key
    of its own."""
    include: Annotated[Patterns, Field(min_length=1)] = ("*",)
    """Only layers whose name matches one of these patterns."""
    exclude: Patterns = ()
    """No layer whose name matches one of these patterns."""
    first: bool = True
    """Whether the first convolution is pruned."""
    shortcuts: bool = True
    """Whether the convolutions on shortcuts are pruned."""
    classifier: bool = False
    """Whether the last linear layer is pruned."""


class MaskSettings(LayerSelection):
    """How masks are made, whatever the sparsity."""

    criterion: named_in("criteria") = "large_final"  # type: ignore[valid-type]
    """Scores the weights; the lowest scores are pruned."""
    batches: int = Field(8, ge=1, le=MOST)
    """Training batches that a criterion is measured on, if it needs images."""
    granularity: named_in("granularities", or_n_of_m=True) = "weight"  # type: ignore[valid-type]
    """What is pruned as one; or n:m, of every m weights along the input channels n are kept."""
    context: Literal["auto", "local", "global"] = "auto"
    """local: each tensor reaches the sparsity by itself; global: all tensors are ranked together; auto: global for
    snip, grasp and synflow, as their sources define them, and local for the others."""
    rates: dict[str, Rate] = Field({})
    """For layers that match a pattern, the share of the rate at which the others are pruned, from 0 to 1; the first
    match counts."""
    round_to: int = Field(1, ge=1, le=MOST)
    """Each tensor keeps a multiple of this many groups."""

    @model_validator(mode="before")
    @classmethod
    def _criterion_decides_context(cls, tree: Any) -> Any:
        """Replace `auto`, so that nothing is left to choose."""
        if not isinstance(tree, dict) or tree.get("context", "auto") != "auto":
            return tree
        criteria, name = TABLES["criteria"], tree.get("criterion", cls.model_fields["criterion"].default)
        return {**tree, "context": criteria[name].context} if isinstance(name, str) and name in criteria else tree

    @property
    def is_structured(self) -> bool:
        """Whether whole output channels are pruned, with their biases and batch norm."""
        entry = TABLES["granularities"].get(self.granularity)
        return entry is not None and bool(entry.structured)

    @model_validator(mode="after")
    def _can_be_ranked(self) -> MaskSettings:
        if self.granularity == "layer" and self.context == "local":
            raise refuse("granularity", "layer", "a layer by itself is all or nothing: use context: global")
        if self.rates and self.context == "global":
            raise refuse("rates", dict(self.rates), "context: global ranks all layers together: use local")
        return self


class SparsitySettings(MaskSettings):
    """How masks are made, and how the sparsity changes."""

    sparsity: Percent = 50.0
    """Percent of the prunable weights that are zero at the end."""
    initial_sparsity: Percent = 0.0
    """Percent that the schedule starts from."""
    steps: int = Field(3, ge=1, le=1000)
    """Number of pruning steps; one_shot has one, custom as many as sparsities."""
    schedule: named_in("schedules") = "iterative"  # type: ignore[valid-type]
    """How the sparsity changes from pruning step to pruning step; `lthrun schedule NAME` plots it."""
    sparsities: Percents = ()
    """custom: the percent after each pruning step, instead of sparsity and steps."""
    targets: dict[str, Percent] = Field({})
    """Percent for layers that match a pattern, where it differs from sparsity; the first match counts."""

    @property
    def params(self) -> ScheduleParams:
        return ScheduleParams(self.initial_sparsity, self.final_sparsity, self.steps, self.sparsities)

    @property
    def final_sparsity(self) -> float:
        return self.sparsities[-1] if self.sparsities else self.sparsity

    @property
    def peak(self) -> float:
        """The highest sparsity of the schedule, in percent."""
        return max(self.sparsities) if self.sparsities else self.sparsity

    def level_targets(self) -> list[float]:
        """The sparsity in percent before the first pruning step, which is 0, and after each."""
        return sparsity_targets(self.schedule, self.params)

    def layer_target(self, layer: str, sparsity: float) -> float:
        """The percent that `layer` is pruned to when layers without a target or a rate of their own are at `sparsity`.

        A pruning step that removes the share r of what the others keep removes rate · r of what `layer` keeps.
        """
        if (target := find_match(self.targets, layer)) is not None:
            return target * sparsity / self.peak
        rate = find_match(self.rates, layer)
        if rate is None or rate == 1:
            return sparsity
        kept = 1.0
        for before, after in pairwise([*(target for target in self.level_targets() if target < sparsity), sparsity]):
            kept *= 1 - rate * (after - before) / (100 - before)
        return 100 * (1 - kept)

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
        if self.rates and self.targets:
            raise refuse("rates", dict(self.rates), "targets say where layers end, rates how fast: use one of them")
        if self.rates and any(after < before - 1e-9 for before, after in pairwise(self.level_targets())):
            raise refuse("rates", dict(self.rates), "they say how fast layers are pruned, and this sparsity falls")
        self._check_n_of_m()
        return self

    def _check_n_of_m(self) -> None:
        pattern = parse_n_of_m(self.granularity)
        if pattern is None:
            return
        n, m = pattern
        if not 0 < n < m:
            raise refuse("granularity", self.granularity, "n of every m weights are kept, so n must be from 1 to m - 1")
        if self.context == "global" or self.round_to > 1 or self.targets or self.rates:
            expected = "it fixes every block: use context: local, and no round_to, targets and rates"
            raise refuse("granularity", self.granularity, expected)
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
    def _changes_in_steps(self) -> Pruning:
        stepped = [name for name, entry in TABLES["schedules"].items() if entry.stepped]
        if self.schedule not in stepped:
            raise refuse(
                "schedule",
                self.schedule,
                f"a ticket rewinds at every change of sparsity, so it takes {', '.join(stepped)}; "
                "for this one use `lthrun prune`, which never rewinds",
            )
        if list(self.sparsities) != sorted(self.sparsities):
            raise refuse("sparsities", list(self.sparsities), "must not fall; `lthrun prune` can regrow")
        pattern = parse_n_of_m(self.granularity)
        if pattern:
            removed = [round(target / 100 * pattern[1]) for target in self.level_targets()]
            if len(set(removed)) < len(removed):
                raise refuse(
                    "steps",
                    self.steps,
                    f"granularity {self.granularity} prunes whole weights of every {pattern[1]}, so that some levels "
                    f"would be equal: use {pattern[1] - pattern[0]} or less",
                )
        return self


class GradualPruning(SparsitySettings):
    """During one training, without rewinding. The pruning steps are evenly spaced from begin to end."""

    steps: int = Field(10, ge=1, le=1000)
    """Number of pruning steps; one_shot has one, custom as many as sparsities."""
    schedule: named_in("schedules") = "agp"  # type: ignore[valid-type]
    """How the sparsity changes from pruning step to pruning step; `lthrun schedule NAME` plots it."""
    begin: float = Field(20.0, ge=0, lt=100)
    """When the first pruning step happens, in percent of the training."""
    end: float = Field(80.0, ge=0, lt=100)
    """When the last pruning step happens, in percent of the training."""

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> GradualPruning:
        if self.end < self.begin:
            raise refuse("end", f"{self.end:g}", f"must not be before begin, which is {self.begin:g}")
        if self.schedule == "dsd" and self.steps < 2:
            raise refuse("steps", self.steps, "dsd prunes and regrows: use 2 or more")
        return self


class Rewind(Section):
    to: Point = "0ep"
    """The training step that weights go back to: 0ep is initialization, 1ep after one epoch, 200it after 200 steps."""
    train: Literal["full", "remaining"] = "full"
    """full: each level trains training.epochs; remaining: up to the step at which level 0 ended."""
    retrain: Literal["weights", "lr", "finetune"] = "weights"
    """What goes back to that step: weights and learning rate; the learning rate alone; neither, and training
    continues at the last learning rate (Renda et al. 2020)."""
    kept: named_in("resets") = "rewind"  # type: ignore[valid-type]
    """What the kept weights are reset to (Zhou et al. 2019)."""
    pruned: named_in("pruned") = "zero"  # type: ignore[valid-type]
    """What the pruned weights are set to (Zhou et al. 2019)."""

    def step(self, epoch_steps: int) -> int:
        """The rewind point in steps, at `epoch_steps` per epoch."""
        return count_steps(self.to, epoch_steps)

    def key_facts(self) -> dict[str, Any]:
        """What a level's key holds of the resets."""
        return {
            "kept": TABLES["resets"].key_facts(self.kept, self),
            "pruned": TABLES["pruned"].key_facts(self.pruned, self),
        }
