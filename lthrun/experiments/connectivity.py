"""Connectivity: does the order of the images decide where a training ends? (Frankle et al. 2020, sections 2 and 3)

A network is trained from a rewind point twice, and the two trainings differ in the order of the images alone. If the
error does not rise on the straight line between their ends, the network is stable to the order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_serializer, model_validator

from lthrun.analysis.intervals import STABLE, barrier, barrier_interval, wilson_interval
from lthrun.config.fields import Point, Section, refuse, unique
from lthrun.events import Evaluated, Evaluating
from lthrun.experiments.experiment import EXPERIMENTS, PRUNING_OPTIONS, PlannedResult, plan_levels
from lthrun.experiments.summaries import RunSummary
from lthrun.experiments.ticket import TicketConfig
from lthrun.experiments.trained_run import TrainedRun
from lthrun.levels.keys import Conditions, make_key
from lthrun.levels.plan import Level, plan_chain
from lthrun.records import Interval, Record

if TYPE_CHECKING:
    from lthrun.sparsity.masks import Tensors


class Connectivity(Section):
    rewind_points: Annotated[tuple[Point, ...], Field(strict=False, min_length=1), AfterValidator(unique)] = (
        "0ep", "1ep", "2ep",
    )  # fmt: skip
    """The training steps that two trainings start from, each with its own ticket: 0ep, 1ep, 200it."""
    points: int = Field(11, ge=3, le=1001)
    """Networks evaluated on the straight line between the two, its ends included."""


class ConnectivityConfig(TicketConfig):
    """Train a ticket in two orders of the images, and measure the error between the two (Frankle et al. 2020)."""

    experiment: Literal["connectivity"] = "connectivity"  # type: ignore[assignment]
    connectivity: Connectivity = Connectivity()
    rewind_key: ClassVar[str] = "connectivity.rewind_points"

    @property
    def identity_extras(self) -> dict[str, Any]:
        return self.connectivity.model_dump()

    @property
    def rewind_points(self) -> tuple[str, ...]:
        return self.connectivity.rewind_points

    @model_validator(mode="before")
    @classmethod
    def _rewind_points_replace_rewind_to(cls, tree: Any) -> Any:
        rewind = tree.get("rewind") if isinstance(tree, dict) else None
        if isinstance(rewind, dict) and "to" in rewind:
            raise refuse("rewind.to", rewind["to"], "connectivity.rewind_points replaces it: leave it out")
        return tree

    @model_validator(mode="after")
    def _trainings_start_from_the_rewind_point(self) -> ConnectivityConfig:
        why = "the two trainings must start from the rewind point: use"
        if self.rewind.retrain != "weights":
            raise refuse("rewind.retrain", self.rewind.retrain, f"{why} weights")
        if self.pruning.protocol != "frankle":
            raise refuse("pruning.protocol", self.pruning.protocol, f"{why} frankle")
        return self

    @model_serializer(mode="wrap")
    def _without_rewind_to(self, plain: Any) -> dict[str, Any]:
        tree: dict[str, Any] = plain(self)
        del tree["rewind"]["to"]
        return tree


class PathEnd(Record):
    """One of the two trained networks."""

    key: str
    order: int
    accuracy: float
    accuracy_interval: Interval


class PathResult(Record):
    """Networks on the straight line between two trainings that differ in the order of the images alone."""

    rewind_point: str
    network: Literal["dense", "ticket"]
    sparsity: float
    alphas: list[float]
    """Positions on the line, from 0 (the first training) to 1."""
    errors: list[float]
    """Share of the validation images answered wrongly, 0 to 1, at each position."""
    losses: list[float]
    barrier: float
    """The highest error minus the mean of the errors at the ends."""
    interval: Interval
    stable: bool
    ends: list[PathEnd]


class ConnectivitySummary(RunSummary):
    connectivity: list[PathResult]


def plan(config: ConnectivityConfig, conditions: Conditions) -> Sequence[PlannedResult]:
    """For each rewind point, the dense network and the ticket in two orders each, and the levels that lead there.

    Each level is listed once, a twin right after its level, except the last one, which ends the list.
    """
    levels: dict[str, Level] = {}
    for point in config.rewind_points:
        rewind = config.rewind.model_copy(update={"to": point})
        *earlier, last = plan_chain(config, config.pruning, rewind, conditions)
        dense = plan_dense_from(config, conditions, last, last.origin) if last.origin else earlier[0]
        twins = [plan_reordered(level, 1, config, conditions) for level in (dense, last)]
        levels |= {level.key: level for level in (earlier[0], dense, twins[0], *earlier[1:], twins[1], last)}
    return plan_levels(list(levels.values()), config)


def plan_dense_from(config: ConnectivityConfig, conditions: Conditions, level: Level, origin: Level) -> Level:
    """The dense network, trained as `level` is: from the rewind point that `origin` passes through, optimizer reset."""
    start = {"level": origin.key, "step": level.rewind_step}
    key = make_key(config, conditions, level.span, start=start, mask=None, first=level.first, steps=level.steps)
    return replace(level, index=0, sparsity=0.0, key=key, parent=None)


def plan_reordered(level: Level, order: int, config: ConnectivityConfig, conditions: Conditions) -> Level:
    """The same level, except that it sees its images in another order."""
    key = make_key(config, conditions, level.span, like=level.key, order=order, first=level.first, steps=level.steps)
    return replace(level, key=key, order=order, twin=level)


def evaluate(run: TrainedRun[ConnectivityConfig]) -> ConnectivitySummary:
    """Walk from one end of each pair to the other; `ticket.safetensors` is that of the last rewind point."""
    run.write_model()
    run.write_ticket()
    networks, _ = count_evaluations(run.config, run.run.levels)
    run.emit(Evaluating("networks on the straight lines between trainings", networks))
    evaluator = PathEvaluator(run)
    paths = [evaluator(level.twin, level) for level in run.run.levels if level.twin]
    return ConnectivitySummary(**run.summarize(), connectivity=paths)


def count_evaluations(config: ConnectivityConfig, levels: Sequence[Level]) -> tuple[int, bool]:
    return sum(level.twin is not None for level in levels) * config.connectivity.points, True


class PathEvaluator:
    """Evaluates networks on the straight line between two levels' ends; what the run evaluated before an interruption
    is not repeated."""

    def __init__(self, run: TrainedRun[ConnectivityConfig]):
        self.run, self.builder = run, run.builder
        self.known = run.run_dir.read_evaluations()
        self.points = run.run.context.rewind_steps

    def __call__(self, one: Level, other: Level) -> PathResult:
        """Errors and losses at evenly spaced positions from `one` to `other`, and the barrier.

        Batch norm is recalibrated for each network on the way, its ends included, so that all errors are comparable.
        """
        points = self.run.config.connectivity.points
        alphas = [k / (points - 1) for k in range(points)]
        evaluations = [self._evaluate(one, other, alpha) for alpha in alphas]
        wrong = [[answer == "0" for answer in evaluation["right"]] for evaluation in evaluations]
        errors, n = [sum(answers) / len(answers) for answers in wrong], len(wrong[0])
        height = barrier(errors)
        return PathResult(
            rewind_point=self.points[one.rewind_step],
            network="ticket" if one.is_masked else "dense",
            sparsity=self.run.measured_sparsity[one.key],
            alphas=alphas,
            errors=errors,
            losses=[evaluation["loss"] for evaluation in evaluations],
            barrier=height,
            interval=barrier_interval(wrong),
            stable=height < STABLE,
            ends=[
                PathEnd(
                    key=level.key,
                    order=level.order,
                    accuracy=1 - sum(answers) / n,
                    accuracy_interval=wilson_interval(n - sum(answers), n),
                )
                for level, answers in ((one, wrong[0]), (other, wrong[-1]))
            ],
        )

    def _evaluate(self, one: Level, other: Level, alpha: float) -> dict[str, Any]:
        name = f"{one.key}-{other.key}-{alpha:.6f}"
        if name not in self.known:
            (start, masks), (end, _) = (self.builder.states.end(level) for level in (one, other))
            result = self.builder.evaluate(masks, interpolate(start, end, alpha))
            right = "".join("1" if answer else "0" for answer in result.right.tolist())
            self.known[name] = {"loss": result.loss, "right": right}
            self.run.run_dir.append_evaluation(name, **self.known[name])
        self.run.emit(Evaluated(f"{self.points[one.rewind_step]}, α = {alpha:g}", len(self.known)))
        return self.known[name]


def interpolate(one: Tensors, other: Tensors, alpha: float) -> Tensors:
    """(1 - α) · one + α · other, tensor by tensor, bit-identical to the ends at 0 and 1; counters are those of
    `one`."""
    import torch

    return {name: torch.lerp(t, other[name], alpha) if t.is_floating_point() else t for name, t in one.items()}


EXPERIMENTS.add(
    "connectivity",
    "Train a ticket in two orders of the images, and measure the error between the two.",
    ConnectivityConfig,
    plan=plan,
    evaluate=evaluate,
    summary=ConnectivitySummary,
    options=(*PRUNING_OPTIONS, "connectivity.rewind_points"),
    count_evaluations=count_evaluations,
)
