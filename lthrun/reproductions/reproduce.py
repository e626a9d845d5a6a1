"""Runs a reproduction: its parts as ordinary runs and studies, then the claims on their records.

So it resumes where it was stopped, reuses levels that any run has trained, and has the dry run of every experiment. Of
one that is stopped, the same command with fewer seeds reports what is trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lthrun.config.base import ExperimentConfig
from lthrun.errors import UserError, shorten
from lthrun.events import Decoding, Emit, NoVerdict, Waiting, ignore, only, without
from lthrun.executors.tasks import RunOptions
from lthrun.experiments import load_config
from lthrun.experiments.driver import execute_rounds
from lthrun.experiments.dry_run import DryRun, foresee_run, foresee_sweep
from lthrun.experiments.run import prepare_run
from lthrun.experiments.summaries import MissingResult, StudySummary
from lthrun.experiments.sweep import SweepRun, run_sweep
from lthrun.reproductions.findings import Finding, Findings, read_findings
from lthrun.reproductions.records import ClaimResult, ReproductionSummary
from lthrun.reproductions.reproduction import REPRODUCTIONS, Claim, Part, Reproduction, Scale
from lthrun.reproductions.settings import read_settings
from lthrun.storage.files import FORMAT
from lthrun.storage.json_files import write_json
from lthrun.storage.run_dir import REPRODUCTION


@dataclass(frozen=True)
class PlannedReproduction:
    """What a reproduction would run: by name of a part its config, for each of its runs.

    Attributes:
        changed: the keys that a config of the user's own replaces.
    """

    name: str
    scale: Scale
    configs: Sequence[tuple[str, ExperimentConfig]]
    changed: Sequence[str]

    @property
    def entry(self) -> Reproduction:
        return REPRODUCTIONS[self.name]

    @property
    def dataset(self) -> str:
        name: str = self.configs[0][1].data.dataset
        return name

    def folder(self, out: Path) -> Path:
        return out / f"reproduce-{self.name}{'-quick' if self.scale.is_quick else ''}"

    def prepare(self, emit: Emit) -> list[SweepRun]:
        """Its runs on this machine; the point of each is its part and its seed.

        Raises:
            UserError: data, device or settings do not allow one of them; none is started.
        """
        runs: list[SweepRun] = []
        for part, config in self.configs:
            run = prepare_run(config, only((Decoding, Waiting), emit) if runs else emit)
            runs.append(SweepRun({"part": part, "seed": config.seed}, run))
        return runs


def plan_reproduction(
    name: str, seeds: int | None = None, is_quick: bool = False, config: str | None = None, data_dir: str | None = None
) -> PlannedReproduction:
    """The configs of a reproduction.

    Args:
        seeds: how many of each part; None: as many as its entry says.
        config: a YAML file, or a shipped config, whose settings replace those of every part.
        data_dir: an existing copy of the images.

    Raises:
        UserError: there is no such reproduction, or a setting is wrong.
    """
    if name not in REPRODUCTIONS:
        raise UserError(f"reproduce: found {shorten(name)}; must be one of {', '.join(REPRODUCTIONS)}")
    entry = REPRODUCTIONS[name]
    scale = Scale(seeds or (entry.quick_seeds if is_quick else entry.seeds), is_quick)
    own = read_settings(config) if config else {}
    for key in ("seed", "compare.seeds"):
        if key in own:  # its runs differ in their seeds: one network must not count several times
            raise UserError(f"{config}: {key}: found {shorten(own[key])}; a reproduction counts its seeds: use --seeds")
    overrides = own | ({"data.dir": data_dir} if data_dir else {})
    parts: Sequence[Part] = entry(scale)
    try:
        configs = [(p.name, load_config(None, p.experiment, options={**p.settings, **overrides})) for p in parts]
    except UserError as error:
        raise UserError(f"{config}: {error}") if config else error from None
    return PlannedReproduction(name, scale, configs, list(own))


def foresee(plan: PlannedReproduction, runs: Sequence[SweepRun], out: Path) -> DryRun:
    """What would be trained or reused, with a row per arm of the study, or per run."""
    first = runs[0].run
    is_study = len(runs) == 1 and first.experiment.is_study
    found = foresee_run(first, out, False) if is_study else foresee_sweep(runs, out)
    # Whether its study would have a verdict is not the question.
    return found.model_copy(update={"experiment": plan.name, "run_dir": str(plan.folder(out)), "no_verdict": None})


def reproduce(
    plan: PlannedReproduction, runs: Sequence[SweepRun], options: RunOptions, emit: Emit = ignore
) -> ReproductionSummary:
    """Train what is missing, and answer the claims; the summary is written into the folder of the reproduction.

    Raises:
        UserError: none of its runs could be finished.
    """
    finished: list[Finding] = []
    missing: list[str] = []
    for sweep in runs:
        if sweep.run.experiment.is_study:
            study = execute_rounds(sweep.run, options, without(NoVerdict, emit)).summary  # its claims are the answer
            finished.append(Finding(sweep.point["part"], sweep.run, study))
            missing += [describe_missing(row) for row in study.missing] if isinstance(study, StudySummary) else []
    single = [sweep for sweep in runs if not sweep.run.experiment.is_study]
    for sweep, result in run_sweep(single, options, emit) if single else []:
        if isinstance(result, str):
            missing.append(f"{sweep.name}: {result}")
        else:
            finished.append(Finding(sweep.point["part"], sweep.run, result))
    if not finished:
        raise UserError(f"reproduce: no run could be finished; the first, {missing[0]} (repeat the command to retry)")
    summary = summarize(plan, read_findings(finished, options.out), plan.folder(options.out), missing)
    write_json(plan.folder(options.out) / REPRODUCTION, summary.model_dump(mode="json"))
    return summary


def describe_missing(row: MissingResult) -> str:
    at = "" if row.sparsity is None else f" at {row.sparsity:.4g} %"
    return f"{row.arm}{at}, seed {row.seed}: {row.reason}"


def summarize(plan: PlannedReproduction, findings: Findings, folder: Path, missing: list[str]) -> ReproductionSummary:
    entry, first = plan.entry, findings.finished[0].summary
    shared = first.model_dump(include={"device", "precision", "n_train", "n_valid", "n_test"})
    return ReproductionSummary(
        **shared,
        format=FORMAT,
        reproduction=plan.name,
        about=entry.about,
        source=entry.source,
        is_quick=plan.scale.is_quick,
        changes=list(list_changes(plan)),
        seeds=plan.scale.seeds,
        claims=[answer_claim(claim, findings) for claim in entry.claims],
        departures=list(entry.departures),
        runs=[finding.summary.run_dir for finding in findings.finished],
        missing=missing,
        seconds=sum(finding.summary.seconds for finding in findings.finished),
        run_dir=str(folder),
    )


def list_changes(plan: PlannedReproduction) -> Iterator[str]:
    """What makes it another experiment than that of the source."""
    entry, seeds = plan.entry, plan.scale.seeds
    if plan.scale.is_quick:
        yield f"Quick: {entry.quick}."
    if seeds < entry.seeds:
        few = f"; with fewer than {entry.least_seeds} no claim is decided" if seeds < entry.least_seeds else ""
        yield f"Seeds: {seeds} instead of {entry.seeds}{few}."
    if plan.changed:
        yield f"Other settings than those of the source: {', '.join(plan.changed)}."
    if plan.dataset == "synthetic":
        yield "The images are synthetic: this tests the tool, and no claim."


def answer_claim(claim: Claim, findings: Findings) -> ClaimResult:
    found = claim.measure(findings)
    interval = found and found.interval
    return ClaimResult(
        claim=claim.sentence,
        published=claim.published,
        value=found and found.value,
        interval=interval,
        n=found.n if found else 0,
        unit=claim.unit,
        rule=claim.rule.describe(claim.unit),
        answer=claim.rule.answer(interval),
    )
