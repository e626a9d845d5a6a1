"""The arms of a comparison: what is trained for one seed, and at which level each sparsity is read off.

A new arm is one function here and one line in `ARMS`. Arms with one seed share split, initialisation and data order,
and every level they have in common, so their differences are paired.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lthrun.levels.plan import Conditions, Level, chain, control, dense, gradual

if TYPE_CHECKING:
    from lthrun.config import Compare, Config, Ticket


@dataclass(frozen=True)
class Piece:
    """The result of an arm for a seed: the end of `level`, trained by the rules of `config`.

    `sparsity` is the study's, in percent; None for an arm that stands beside all of them.
    """

    sparsity: float | None
    config: Config
    level: Level


Pieces = Callable[["Compare", int, Conditions], list[Piece]]


@dataclass(frozen=True)
class Arm:
    """An arm: its pieces, and the arm it is held against; `asks` where the ticket asks whether it beats this one."""

    pieces: Pieces
    against: str = "dense"
    asks: bool = False

    @property
    def about(self) -> str:
        return (self.pieces.__doc__ or "").strip().splitlines()[0]


def dense_arm(study: Compare, seed: int, conditions: Conditions) -> list[Piece]:
    """The dense network, trained for training.epochs."""
    config = study.baseline(seed)
    return [Piece(None, config, dense(config, conditions))]


def dense_budget(study: Compare, seed: int, conditions: Conditions) -> list[Piece]:
    """The dense network, trained for as many epochs as the search for the ticket took."""
    levels = chain(study.ticket(seed), conditions)
    found = []
    for level in wanted(study, levels):
        config = study.baseline(seed, study.training.epochs * (level.index + 1))
        found.append(Piece(level.sparsity, config, dense(config, conditions)))
    return found


def ticket(study: Compare, seed: int, conditions: Conditions) -> list[Piece]:
    """Train, prune, weights back to initialisation, repeat (Frankle & Carbin 2019)."""
    return chained(study, study.ticket(seed), conditions)


def ticket_rewind(study: Compare, seed: int, conditions: Conditions) -> list[Piece]:
    """The same with weights back to compare.rewind, trained for what remains (Frankle et al. 2020)."""
    return chained(study, study.ticket(seed, to=study.compare.rewind, train="remaining"), conditions)


def supermask(study: Compare, seed: int, conditions: Conditions) -> list[Piece]:
    """The ticket's mask on its initial weights, never trained (Zhou et al. 2019)."""
    return controls("untrained", study, seed, conditions)


def random_mask(study: Compare, seed: int, conditions: Conditions) -> list[Piece]:
    """Masks of the ticket's per-layer sparsities, positions drawn at random, on its initial weights."""
    return controls("random-mask", study, seed, conditions)


def random_init(study: Compare, seed: int, conditions: Conditions) -> list[Piece]:
    """The ticket's mask, on weights drawn anew (Frankle & Carbin 2019, section 2)."""
    return controls("random-init", study, seed, conditions)


def one_shot(study: Compare, seed: int, conditions: Conditions) -> list[Piece]:
    """Pruned once after dense training, weights back to initialisation."""
    found = []
    for sparsity in study.compare.sparsities:
        config = study.ticket(seed, (sparsity,))
        found.append(Piece(sparsity, config, chain(config, conditions)[-1]))
    return found


def prune(study: Compare, seed: int, conditions: Conditions) -> list[Piece]:
    """Pruned gradually during one training, nothing goes back (Zhu & Gupta 2018)."""
    found = []
    for sparsity in study.compare.sparsities:
        config = study.prune(seed, sparsity)
        found.append(Piece(sparsity, config, gradual(config, conditions)[-1]))
    return found


def lr_rewind(study: Compare, seed: int, conditions: Conditions) -> list[Piece]:
    """Weights stay, the learning rate goes back (Renda et al. 2020)."""
    return chained(study, study.ticket(seed, retrain="lr"), conditions)


def chained(study: Compare, config: Ticket, conditions: Conditions) -> list[Piece]:
    """The levels of a chain that the study looks at."""
    return [Piece(level.sparsity, config, level) for level in wanted(study, chain(config, conditions))]


def controls(kind: str, study: Compare, seed: int, conditions: Conditions) -> list[Piece]:
    """Levels like the ticket's, but for one thing."""
    config = study.ticket(seed)
    levels = wanted(study, chain(config, conditions))
    return [Piece(level.sparsity, config, control(level, kind, config, conditions)) for level in levels]


def wanted(study: Compare, levels: list[Level]) -> list[Level]:
    return [level for level in levels if level.sparsity in study.compare.sparsities]


ARMS: dict[str, Arm] = {
    "dense": Arm(dense_arm),
    "dense-budget": Arm(dense_budget, asks=True),
    "ticket": Arm(ticket),
    "ticket-rewind": Arm(ticket_rewind),
    "supermask": Arm(supermask, against="majority rate"),
    "random-mask": Arm(random_mask, asks=True),
    "random-init": Arm(random_init, asks=True),
    "one-shot": Arm(one_shot),
    "prune": Arm(prune),
    "lr-rewind": Arm(lr_rewind),
}


def pieces(study: Compare, conditions: Conditions) -> dict[tuple[str, int], list[Piece]]:
    """What the study is made of, by arm and seed."""
    return {
        (arm, seed): ARMS[arm].pieces(study, seed, conditions) for seed in study.seeds for arm in study.compare.arms
    }
