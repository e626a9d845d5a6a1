"""Reads back what finished runs and studies wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from lthrun.config.base import ExperimentConfig
from lthrun.experiments.experiment import EXPERIMENTS
from lthrun.experiments.study_config import CompareConfig
from lthrun.experiments.summaries import RunSummary, StudySummary
from lthrun.storage.run_dir import RunDir

AnySummary = RunSummary | StudySummary


def parse_summary(facts: Mapping[str, Any]) -> AnySummary | None:
    """A summary as the model of its experiment; None where it is none."""
    entry = EXPERIMENTS.get(str(facts.get("experiment")))
    try:
        summary: AnySummary | None = None if entry is None else entry.summary.model_validate(facts)
    except ValidationError:
        return None
    return summary


def read_summary(run_dir: RunDir) -> AnySummary | None:
    """The summary in a run directory; None where there is no whole one of this format."""
    facts = run_dir.read_summary()
    return None if facts is None else parse_summary(facts)


def read_finished(run_dir: RunDir, config: ExperimentConfig) -> tuple[AnySummary, list[dict[str, Any]]] | None:
    """Summary and metrics of a finished run; None if anything of it is missing or damaged, or if it is a study with
    fewer seeds than `config`."""
    summary, metrics = read_summary(run_dir), run_dir.read_metrics()
    if summary is None or metrics is None or len(metrics) != summary.metrics_lines:
        return None
    is_whole = run_dir.has_its_files({"files": summary.files})
    is_complete = not isinstance(summary, StudySummary) or not (
        summary.missing or len(summary.seeds) < cast(CompareConfig, config).compare.seeds
    )
    return (summary, metrics) if is_whole and is_complete else None


def list_finished(out: Path) -> list[tuple[float, AnySummary]]:
    """When each finished run or study under an output root was finished (seconds since 1970), and its summary."""
    found = ((path.stat().st_mtime, read_summary(RunDir(path.parent))) for path in out.glob("*/summary.json"))
    return sorted(((when, summary) for when, summary in found if summary is not None), key=lambda pair: pair[0])
