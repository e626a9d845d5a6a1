"""All experiments as typed models, by name: those that are one run, and the comparison, which is many.

Nothing here imports torch, so that whatever can be refused is refused before torch is loaded.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, TypeAdapter, field_validator, model_validator

from lthrun.config.comparison import ANNEALED, ComparedMaskSettings, Comparison, ladder
from lthrun.config.experiments import LEARNED, Baseline, ConnectivityConfig, Prune, SupermaskConfig, Ticket
from lthrun.config.fields import LARGEST_SEED, refuse, steps_of
from lthrun.config.sections import GradualPruning, Pruning, Rewind, Training

__all__ = [
    "CONFIGS", "LEARNED", "Baseline", "Compare", "Config", "ConnectivityConfig", "Prune", "SupermaskConfig",
    "Ticket", "schema",
]  # fmt: skip


class Compare(Baseline):
    """Does the ticket win? Train the arms, each for every seed, and say which does better, and how sure that is.

    `seed` is the first of the seeds. The primary question is always the same: `ticket` against `dense` at equal
    training time, accuracy, at the first of compare.sparsities.
    """

    experiment: Literal["compare"] = "compare"  # type: ignore[assignment]
    training: Training = Training(**ANNEALED)
    pruning: ComparedMaskSettings = ComparedMaskSettings()
    compare: Comparison = Comparison()
    rewind_key: ClassVar[str] = "compare.rewind"

    @field_validator("training", mode="before")
    @classmethod
    def _with_defaults_of_its_own(cls, tree: Any) -> Any:
        return {**ANNEALED, **tree} if isinstance(tree, dict) else tree

    @model_validator(mode="after")
    def _arms_are_possible(self) -> Compare:
        if "lr-rewind" in self.compare.arms and not self.training.anneals:
            raise refuse(
                "compare.arms",
                "lr-rewind",
                "at a constant learning rate there is none to rewind: leave it out, or use training.schedule: cosine",
            )
        if any(point.endswith("ep") and steps_of(point, 1) >= self.training.epochs for point in self.rewind_points):
            raise refuse(
                "compare.rewind",
                self.compare.rewind,
                "must lie before the end of level 0, which trains training.epochs = "
                f"{self.training.epochs} epochs: lower it, or leave out ticket-rewind",
            )
        if self.seed + self.compare.seeds - 1 > LARGEST_SEED:
            raise refuse("seed", self.seed, f"with {self.compare.seeds} seeds the last would be above {LARGEST_SEED}")
        return self

    @property
    def rewind_points(self) -> tuple[str, ...]:
        """Where the weights of ticket-rewind go back to, if it is compared."""
        return (self.compare.rewind,) if "ticket-rewind" in self.compare.arms else ()

    @property
    def seeds(self) -> range:
        return range(self.seed, self.seed + self.compare.seeds)

    @property
    def identity_extras(self) -> dict[str, Any]:
        return {"compare": self.compare.model_dump(), "pruning": self.pruning.model_dump()}

    def baseline(self, seed: int, epochs: int | None = None) -> Baseline:
        """The experiment `baseline` with a seed, under the study's rules."""
        training = self.training.model_copy(update={"epochs": epochs or self.training.epochs})
        return Baseline(**self._shared(seed) | {"training": training})

    def ticket(
        self,
        seed: int,
        sparsities: tuple[float, ...] | None = None,
        to: str = "0ep",
        train: str = "full",
        retrain: str = "weights",
    ) -> Ticket:
        """The experiment `ticket` with a seed: all levels of the study, or those of given sparsities."""
        steps = tuple(ladder(self.compare.sparsities, self.compare.prune_rate)) if sparsities is None else sparsities
        pruning = Pruning(**self.pruning.model_dump(), schedule="custom", sparsities=steps)
        rewind = Rewind.model_validate({"to": to, "train": train, "retrain": retrain})
        return Ticket(**self._shared(seed), pruning=pruning, rewind=rewind)

    def prune(self, seed: int, sparsity: float) -> Prune:
        """The experiment `prune` with a seed."""
        return Prune(**self._shared(seed), pruning=GradualPruning(**self.pruning.model_dump(), sparsity=sparsity))

    def _shared(self, seed: int) -> dict[str, Any]:
        keys = ("device", "precision", "data", "model", "training")
        return {"seed": seed, **{key: getattr(self, key) for key in keys}}


Config = Baseline | Ticket | Prune | SupermaskConfig | ConnectivityConfig | Compare
CONFIGS: dict[str, type[Baseline]] = {
    "baseline": Baseline,
    "ticket": Ticket,
    "prune": Prune,
    "supermask": SupermaskConfig,
    "compare": Compare,
    "connectivity": ConnectivityConfig,
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
