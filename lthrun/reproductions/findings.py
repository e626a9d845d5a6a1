"""What the runs of a reproduction measured, from their records: the results by arm, seed and sparsity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from lthrun.analysis.arm_results import ArmResult
from lthrun.experiments.arms import PlannedArmResult
from lthrun.experiments.compare import make_result
from lthrun.experiments.reading import AnySummary
from lthrun.experiments.run import Run
from lthrun.experiments.supermask import SupermaskResult, SupermaskSummary
from lthrun.records import LevelRecord
from lthrun.storage.level_store import LevelStore

Spot = tuple[str, float | None]
"""An arm and a sparsity in percent; None for an arm that has one result for each seed."""


@dataclass(frozen=True)
class Finding:
    """A finished run or study, by the name of its part."""

    name: str
    run: Run
    summary: AnySummary


@dataclass(frozen=True)
class Findings:
    """
    Attributes:
        finished: the runs and studies.
        results: of all their levels, by arm, seed and sparsity.
    """

    finished: Sequence[Finding]
    results: Mapping[tuple[str, int, float | None], ArmResult]

    def select(self, spot: Spot) -> list[ArmResult]:
        """The results at a spot, in the order of the seeds."""
        arm, sparsity = spot
        seeds = sorted({seed for _, seed, _ in self.results})
        return [self.results[arm, seed, sparsity] for seed in seeds if (arm, seed, sparsity) in self.results]

    def pair(self, one: Spot, other: Spot) -> list[tuple[ArmResult, ArmResult]]:
        """The results at two spots, of those seeds that have both."""
        others = {result.seed: result for result in self.select(other)}
        return [(result, others[result.seed]) for result in self.select(one) if result.seed in others]

    def supermasks(self, name: str) -> list[SupermaskResult]:
        """The evaluated masks of the supermask runs of a part."""
        return [cast(SupermaskSummary, finding.summary).supermask for finding in self.finished if finding.name == name]

    @property
    def n_valid(self) -> int:
        return self.finished[0].summary.n_valid

    @property
    def n_final(self) -> int:
        """How many images final accuracies are of."""
        return self.finished[0].summary.n_final


def read_findings(finished: Sequence[Finding], out: Path) -> Findings:
    """Reads the records of all levels in the output root."""
    results = [result for finding in finished for result in read_results(finding, LevelStore(out))]
    return Findings(finished, {(result.arm, result.seed, result.sparsity): result for result in results})


def read_results(finding: Finding, store: LevelStore) -> Iterator[ArmResult]:
    """Those of a study, or of the levels of a run, as results of an arm with the name of its part."""
    for planned in finding.run.planned:
        level, facts = planned.level, store.record(planned.level.key)
        if facts is None:
            continue
        record = LevelRecord.from_dict(facts)
        if isinstance(planned, PlannedArmResult):
            yield make_result(planned.arm, planned.seed, planned.sparsity, level, record)
        else:
            yield make_result(finding.name, finding.run.config.seed, level.sparsity or None, level, record)
