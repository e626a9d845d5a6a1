"""An arm of a study as settings: what sets it apart from the ticket. Named arms and those of a config have one form.

Entries of `ARMS` are named arms. A config names them, and beside them spells out arms of its own, in `compare.arms`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_serializer, model_validator

from lthrun.analysis.arm_results import MAJORITY
from lthrun.config.fields import ARM_NAME, ARM_POINT, MOST, Section, check_name, named_in, point_text, refuse
from lthrun.registry import Entry, Table

MASKS = ("criterion", "batches", "granularity", "context", "round_to")
REWINDING = ("rewind", "retrain", "kept", "pruned", "control")
MEANINGLESS = {
    "at_init": REWINDING, "gradual": REWINDING, "dense": MASKS + REWINDING, "dense_budget": MASKS + REWINDING,
}  # fmt: skip
"""Keys that a schedule does not read."""
AT_INIT = ("large_init", "small_init", "random", "snip", "grasp", "synflow")
"""Criteria that say something about weights that were never trained."""


class Arm(Section):
    """Settings of an arm; by itself the ticket. What a key leaves out is as in the study's `pruning`."""

    name: str = Field(pattern=ARM_NAME)
    """Of small letters, digits and - . _, and of no other arm."""
    about: str = Field("", max_length=200)
    """One line on it; empty: its settings."""
    against: str = "dense"
    """The arm that it is compared with, or majority rate; with ticket it is a rival, and the ticket minus it counts."""
    schedule: Literal["chain", "one_shot", "at_init", "gradual", "dense", "dense_budget"] = "chain"
    """When it is pruned: level by level; once after dense training; once before any; during one training (agp); never,
    trained for training.epochs, or for as long as the search for the ticket took."""
    criterion: named_in("criteria") | None = None  # type: ignore[valid-type]
    """As pruning.criterion; null: the study's. So are the next four."""
    batches: int | None = Field(None, ge=1, le=MOST)
    granularity: named_in("granularities") | None = None  # type: ignore[valid-type]
    context: Literal["auto", "local", "global"] | None = None
    round_to: int | None = Field(None, ge=1, le=MOST)
    rewind: Annotated[str, Field(pattern=ARM_POINT), BeforeValidator(point_text)] = "0ep"
    """What weights go back to; from a later point than 0ep it trains what remains."""
    retrain: Literal["weights", "lr", "finetune"] = "weights"
    """As rewind.retrain, and the next two as the keys of rewind."""
    kept: named_in("resets") = "rewind"  # type: ignore[valid-type]
    pruned: named_in("pruned") = "zero"  # type: ignore[valid-type]
    control: Literal["random-mask", "random-init", "untrained"] | None = None
    """What is replaced: its mask by random positions, its start by another initialization, its training by nothing."""
    order: int = Field(0, ge=0, le=1000)
    """Which order of the images all of its levels are trained in; 0 is that of every other arm."""

    def __str__(self) -> str:
        return self.name

    @model_validator(mode="wrap")
    @classmethod
    def _find_named(cls, value: Any, validate: Any) -> Any:
        """A name stands for its entry."""
        return ARMS[check_name("arms", value)].make if isinstance(value, str) else validate(value)

    @model_validator(mode="after")
    def _keys_fit_together(self) -> Arm:
        if self.name in ARMS and not self.is_named:
            raise refuse("name", self.name, "an arm of that name exists: choose another")
        for key in MEANINGLESS.get(self.schedule, ()):
            if key in self.changes:
                raise refuse(key, self.changes[key], f"schedule: {self.schedule} does not use it")
        if self.schedule == "at_init" and self.criterion not in AT_INIT:
            expected = f"schedule: at_init needs one that says something before training: {', '.join(AT_INIT)}"
            raise refuse("criterion", self.criterion or "null", expected)
        if self.order and self.rewind != "0ep":
            raise refuse("order", self.order, "the states of level 0 are those of order 0: leave out rewind")
        return self

    @model_serializer(mode="wrap")
    def _write_short(self, write: Any) -> Any:
        """The name of a named arm; of others what differs from the ticket. It loads as the same arm."""
        return self.name if self.is_named else {key: value for key, value in write(self).items() if key in self.keys}

    @property
    def is_named(self) -> bool:
        return self.name in ARMS and ARMS[self.name].make == self

    @property
    def keys(self) -> list[str]:
        """The name, and the keys that differ from the ticket's."""
        return [key for key, field in type(self).model_fields.items() if getattr(self, key) != field.get_default()]

    @property
    def changes(self) -> dict[str, Any]:
        """What sets its training apart from the ticket's."""
        return {key: getattr(self, key) for key in self.keys if key not in ("name", "about", "against")}

    @property
    def pair(self) -> tuple[str, str]:
        """The arms that its question compares: the ticket minus a rival of the ticket."""
        return ("ticket", self.name) if self.against == "ticket" else (self.name, self.against)

    @property
    def is_reordered_ticket(self) -> bool:
        return list(self.changes) == ["order"]

    @property
    def description(self) -> str:
        settings = ", ".join(f"{key}: {value}" for key, value in self.changes.items())
        return self.about or f"The ticket with {settings or 'no change'}."

    @property
    def note(self) -> str:
        """How long it trains, where that is not training.epochs."""
        if self.control == "untrained":
            return f"{self.name} is never trained"
        if self.schedule == "dense_budget":
            return f"{self.name} trains as long as the search for the ticket took"
        return "" if self.rewind == "0ep" else f"{self.name} counts those before its rewind point"


ARMS: Table[Entry] = Table("arms", "compare.arms", Entry)
ARMS.like = "a mapping like {name: snip, criterion: snip}"


def add_arm(arm: Arm) -> None:
    """Enter an arm that configs can name."""
    ARMS.add(arm.name, arm.about, arm)


TICKET = Arm(name="ticket", about="Train, prune, weights back to initialization, repeat (Frankle & Carbin 2019).")
LARGE_INIT = Arm(
    name="large-init",
    about="The mask of the largest initial weights, which needs no training; trained once.",
    schedule="at_init",
    criterion="large_init",
)
for named in (
    Arm(name="dense", about="The dense network, trained for training.epochs.", schedule="dense"),
    Arm(
        name="dense-budget",
        about="The dense network, trained for as many epochs as the search for the ticket took.",
        schedule="dense_budget",
        against="ticket",
    ),
    TICKET,
    Arm(
        name="ticket-rewind",
        about="The same with weights back to compare.rewind, trained for what remains (Frankle et al. 2020).",
        rewind="compare.rewind",
    ),
    Arm(
        name="supermask",
        about="The ticket's mask on its initial weights, never trained (Zhou et al. 2019).",
        control="untrained",
        against=MAJORITY,
    ),
    Arm(
        name="random-mask",
        about="Masks of the ticket's per-layer sparsities at random positions, on its initial weights.",
        control="random-mask",
        against="ticket",
    ),
    Arm(
        name="random-init",
        about="The ticket's mask, on weights that are initialized again (Frankle & Carbin 2019, section 2).",
        control="random-init",
        against="ticket",
    ),
    LARGE_INIT,
    Arm(
        name="one-shot",
        about="Pruned once after dense training, weights back to initialization.",
        schedule="one_shot",
    ),
    Arm(
        name="prune",
        about="Pruned gradually during one training, without rewinding (Zhu & Gupta 2018).",
        schedule="gradual",
    ),
    Arm(
        name="lr-rewind",
        about="Weights stay, the learning rate is rewound (Renda et al. 2020).",
        retrain="lr",
    ),
):
    add_arm(named)
