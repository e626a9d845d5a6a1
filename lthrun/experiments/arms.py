"""The arms of a study: what is trained for one seed, and at which level each sparsity is read.

Arms with one seed share split, initialization and data order, and every level they have in common, so their differences
are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lthrun.config.base import ExperimentConfig
from lthrun.experiments.experiment import PlannedResult
from lthrun.experiments.study_config import CompareConfig
from lthrun.experiments.ticket import TicketConfig
from lthrun.levels.keys import Conditions
from lthrun.levels.plan import Level, plan_chain, plan_control, plan_dense, plan_gradual
from lthrun.registry import Entry, Table


@dataclass(frozen=True)
class PlannedArmResult(PlannedResult):
    """The result of an arm for a seed. `sparsity` is the study's, in percent; None for an arm compared at all of
    them."""

    arm: str
    seed: int
    sparsity: float | None

    @property
    def group(self) -> str:
        return self.arm


@dataclass(frozen=True)
class ArmEntry(Entry):
    """An arm; `make(study, seed, conditions)` lists (sparsity, config, level) of its results.

    Attributes:
        against: the arm that it is compared with.
        is_rival: whether the ticket is compared with this arm, instead of this arm with `against`.
        note: how long it trains, where that is not training.epochs.
    """

    against: str = "dense"
    is_rival: bool = False
    note: str = ""


Results = Sequence[tuple[float | None, ExperimentConfig, Level]]
ARMS = Table("arms", "compare.arms", ArmEntry)


def plan_arms(study: CompareConfig, conditions: Conditions) -> list[PlannedArmResult]:
    """Every result of a study, seed by seed and arm by arm."""
    return [
        PlannedArmResult(describe_result(arm, seed, sparsity), config, level, arm, seed, sparsity)
        for seed in study.seeds
        for arm in study.compare.arms
        for sparsity, config, level in ARMS[arm](study, seed, conditions.at_split(study.split_seed(seed)))
    ]


def describe_result(arm: str, seed: int, sparsity: float | None) -> str:
    return f"{arm}, seed {seed}" + (f", {sparsity:g} %" if sparsity else "")


@ARMS.register("The dense network, trained for training.epochs.")
def dense(study: CompareConfig, seed: int, conditions: Conditions) -> Results:
    config = study.baseline(seed)
    return [(None, config, plan_dense(config, conditions))]


@ARMS.register(
    "The dense network, trained for as many epochs as the search for the ticket took.",
    "dense-budget",
    is_rival=True,
    note="dense-budget trains as long as the search for the ticket took",
)
def dense_budget(study: CompareConfig, seed: int, conditions: Conditions) -> Results:
    results = []
    for _, _, level in read_chain(study, study.ticket(seed), conditions):
        config = study.baseline(seed, study.training.epochs * (level.index + 1))
        results.append((level.sparsity, config, plan_dense(config, conditions)))
    return results


@ARMS.register("Train, prune, weights back to initialization, repeat (Frankle & Carbin 2019).")
def ticket(study: CompareConfig, seed: int, conditions: Conditions) -> Results:
    return read_chain(study, study.ticket(seed), conditions)


@ARMS.register(
    "The same with weights back to compare.rewind, trained for what remains (Frankle et al. 2020).",
    "ticket-rewind",
    note="ticket-rewind counts those before its rewind point",
)
def ticket_rewind(study: CompareConfig, seed: int, conditions: Conditions) -> Results:
    return read_chain(study, study.ticket(seed, to=study.compare.rewind, train="remaining"), conditions)


@ARMS.register(
    "The ticket's mask on its initial weights, never trained (Zhou et al. 2019).",
    against="majority rate",
    note="supermask is never trained",
)
def supermask(study: CompareConfig, seed: int, conditions: Conditions) -> Results:
    return replace_in_chain("untrained", study, seed, conditions)


@ARMS.register(
    "Masks of the ticket's per-layer sparsities at random positions, on its initial weights.",
    "random-mask",
    is_rival=True,
)
def random_mask(study: CompareConfig, seed: int, conditions: Conditions) -> Results:
    return replace_in_chain("random-mask", study, seed, conditions)


@ARMS.register(
    "The ticket's mask, on weights that are initialized again (Frankle & Carbin 2019, section 2).",
    "random-init",
    is_rival=True,
)
def random_init(study: CompareConfig, seed: int, conditions: Conditions) -> Results:
    return replace_in_chain("random-init", study, seed, conditions)


@ARMS.register("Pruned once after dense training, weights back to initialization.", "one-shot")
def one_shot(study: CompareConfig, seed: int, conditions: Conditions) -> Results:
    results = []
    for sparsity in study.compare.sparsities:
        config = study.ticket(seed, (sparsity,))
        results.append((sparsity, config, plan_chain(config, config.pruning, config.rewind, conditions)[-1]))
    return results


@ARMS.register("Pruned gradually during one training, without rewinding (Zhu & Gupta 2018).")
def prune(study: CompareConfig, seed: int, conditions: Conditions) -> Results:
    results = []
    for sparsity in study.compare.sparsities:
        config = study.prune(seed, sparsity)
        results.append((sparsity, config, plan_gradual(config, config.pruning, conditions)))
    return results


@ARMS.register("Weights stay, the learning rate is rewound (Renda et al. 2020).", "lr-rewind")
def lr_rewind(study: CompareConfig, seed: int, conditions: Conditions) -> Results:
    return read_chain(study, study.ticket(seed, retrain="lr"), conditions)


def read_chain(study: CompareConfig, config: TicketConfig, conditions: Conditions) -> Results:
    """The levels of a chain at the study's sparsities."""
    levels = plan_chain(config, config.pruning, config.rewind, conditions)
    return [(level.sparsity, config, level) for level in levels if level.sparsity in study.compare.sparsities]


def replace_in_chain(control: str, study: CompareConfig, seed: int, conditions: Conditions) -> Results:
    """Levels of the ticket with one thing replaced (lthrun.levels.plan.plan_control)."""
    config = study.ticket(seed)
    chain = read_chain(study, config, conditions)
    return [(sparsity, config, plan_control(level, control, config, conditions)) for sparsity, _, level in chain]
