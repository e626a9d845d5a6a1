"""A run whose levels are trained: what its experiment evaluates, writes and summarizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from lthrun.analysis.intervals import measure_accuracy, wilson_interval
from lthrun.config.base import ExperimentConfig
from lthrun.events import Emit
from lthrun.executors.worker import LevelResult, LevelWorker
from lthrun.experiments.run import Run
from lthrun.experiments.summaries import LevelSummary, Tested
from lthrun.levels.plan import Level
from lthrun.records import FinalEvaluation, LevelRecord, Measured
from lthrun.storage.files import FORMAT
from lthrun.storage.run_dir import RunDir
from lthrun.storage.tensor_files import tensor_file_sizes

if TYPE_CHECKING:
    from lthrun.levels.builder import LevelBuilder


C = TypeVar("C", bound=ExperimentConfig)


@dataclass(frozen=True)
class TrainedRun(Generic[C]):
    """
    Attributes:
        results: of each level that was trained or reused, by key.
        failures: why each other level failed, by key.
    """

    run: Run
    run_dir: RunDir
    worker: LevelWorker
    results: Mapping[str, LevelResult]
    failures: Mapping[str, str]
    emit: Emit

    @property
    def config(self) -> C:
        return cast(C, self.run.context.config)

    @cached_property
    def builder(self) -> LevelBuilder:
        return self.worker.builder(self.config)

    def record(self, level: Level) -> LevelRecord | None:
        """The record of a cached level."""
        facts = self.worker.levels.record(level.key)
        return None if facts is None else LevelRecord.from_dict(facts)

    @cached_property
    def records(self) -> list[LevelRecord]:
        """The records of the run's levels, with the layers that it prunes."""
        from lthrun.levels.cache import with_layers

        found = ((level, self.record(level)) for level in self.run.levels)
        return [with_layers(self.builder, level, record) for level, record in found if record is not None]

    @property
    def measured_sparsity(self) -> dict[str, float]:
        """Percent of zero weights at the end of each level, by key."""
        return {level.key: record.sparsity for level, record in zip(self.run.levels, self.records, strict=True)}

    def measure(self, correct: list[int]) -> Measured:
        """Accuracies with intervals, from the right answers per class."""
        return measure_accuracy(correct, self.run.context.valid_counts)

    def write_model(self) -> None:
        """model.safetensors: the trained weights."""
        model, _ = self.builder.states.end(self.run.levels[-1])
        self.run_dir.write_tensors("model", model, {"model": self.config.model.name})

    def write_ticket(self) -> None:
        """ticket.safetensors: the mask of the last level, and the state that it was trained from."""
        from lthrun.sparsity.tickets import FORMAT as TICKET_FORMAT
        from lthrun.sparsity.tickets import Ticket

        config, last, states = self.config, self.run.levels[-1], self.builder.states
        masks = states.end(last)[1]
        ticket = Ticket(masks, states.start(last, masks), {})
        metadata = {
            "format": TICKET_FORMAT,
            "model": config.model.name,
            "classes": str(self.builder.classes),
            "sparsity": repr(ticket.sparsity),
            "rewind_point": config.rewind_points[-1],
            "protocol": config.protocol,
            "retrain": config.resets.retrain,
            "pruned": config.resets.pruned,
            "seed": str(config.seed),
            "config": self.run_dir.path.name.rpartition("-")[2],
        }
        self.run_dir.write_tensors("ticket", ticket.to_tensors(), metadata)

    def shared_facts(self) -> dict[str, Any]:
        """What the summaries of a run and of a study have in common."""
        context = self.run.context
        counts = context.valid_counts
        return {
            "format": FORMAT,
            "experiment": self.config.experiment,
            "differs": self.run.config.differences(),
            "device": str(context.device),
            "precision": context.conditions.precision,
            "n_train": len(context.split.train),
            "n_valid": len(context.split.valid),
            "n_test": len(context.split.test),
            "classes": list(context.store.classes),
            "majority_rate": max(counts) / sum(counts),
            "majority_interval": wilson_interval(max(counts), sum(counts)),
            "run_dir": str(self.run_dir.path),
            "files": tensor_file_sizes(self.run_dir.path),
        }

    def summarize(self) -> dict[str, Any]:
        """The facts of a `RunSummary`; its files are to be written before."""
        levels = [self._summarize_level(*pair) for pair in zip(self.run.levels, self.records, strict=True)]
        last = levels[-1].model_dump(include={*Tested.model_fields, "sparsity"})
        return {
            **self.shared_facts(),
            **last,
            "seed": self.config.seed,
            "rewind_point": self.config.rewind_points[-1] if self.config.rewind_points else "0ep",
            "protocol": self.config.protocol,
            "epochs": sum(level.epochs for level in levels),
            "levels": levels,
            "seconds": sum(level.seconds for level in levels),
        }

    def _measure_test(self, evaluation: FinalEvaluation | None) -> Measured | None:
        """Accuracies on the test images; None where the level has no such evaluation."""
        return measure_accuracy(evaluation.correct, self.run.context.test_counts) if evaluation else None

    def _summarize_level(self, level: Level, record: LevelRecord) -> LevelSummary:
        first, last = record.epochs[0], record.epochs[-1]
        return LevelSummary(
            level=level.index,
            key=level.key,
            reused=self.results[level.key].is_reused,
            sparsity=record.sparsity,
            epochs=len(record.epochs),
            **self.measure(last.correct).model_dump(),
            test=self._measure_test(record.test.last if record.test else None),
            early_stop_test=self._measure_test(record.test.early_stop if record.test else None),
            first_epoch_accuracy=first.accuracy,
            first_train_loss=first.train_loss,
            best_accuracy=max(epoch.accuracy for epoch in record.epochs),
            seconds=sum(epoch.seconds for epoch in record.epochs),
            layers=record.layers,
        )
