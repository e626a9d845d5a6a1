"""Read the directory of a run or a study back into typed records: all that a report is built from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from pydantic import ValidationError

from lthrun.errors import UserError
from lthrun.experiments.summaries import RunSummary, StudySummary
from lthrun.storage.files import read_json
from lthrun.storage.run_dir import RunDir, read_metrics

AnySummary = RunSummary | StudySummary
SUMMARIES = {  # of the experiments whose summary is not a plain RunSummary; imported where one is read
    "compare": "lthrun.experiments.summaries:StudySummary",
    "supermask": "lthrun.experiments.supermask:SupermaskSummary",
    "connectivity": "lthrun.experiments.connectivity:ConnectivitySummary",
}


@dataclass(frozen=True)
class Records:
    """A finished run or study: `metrics` are the lines of metrics.jsonl, `config` is YAML."""

    run_dir: Path
    summary: AnySummary
    metrics: list[dict[str, Any]]
    config: str
    environment: dict[str, Any]


def parse_summary(facts: dict[str, Any]) -> AnySummary:
    """The typed summary of an experiment.

    Raises:
        ValidationError: `facts` are not those of a summary.
    """
    summary: AnySummary = resolve_name(
        SUMMARIES.get(str(facts.get("experiment")), "lthrun.experiments.summaries:RunSummary")
    ).model_validate(facts)
    return summary


def read_summary(run_dir: Path) -> AnySummary | None:
    """The summary in a run directory, wherever it is now; None where there is none, or not a whole one.

    Raises:
        UserError: it is of another format.
    """
    RunDir(run_dir).check_format()
    facts = read_json(run_dir / "summary.json")
    if facts is None:
        return None
    try:
        return parse_summary({**facts, "run_dir": str(run_dir)})
    except ValidationError:
        return None


def read_records(run_dir: Path) -> Records:
    """Everything a report is built from.

    Raises:
        UserError: this is not the directory of a finished run of this format.
    """
    if not (run_dir / "config.yaml").is_file():
        raise UserError(f"{run_dir}: not a run directory, there is no config.yaml in it; `lthrun runs` lists them")
    summary = read_summary(run_dir)
    if summary is None:
        raise UserError(
            f"{run_dir}: not finished, there is no valid summary.json in it; run the same command again to resume"
        )
    metrics = read_metrics(run_dir)
    if not metrics:
        raise UserError(
            f"{run_dir}/metrics.jsonl: missing or damaged; run the same command again to write it from cached levels"
        )
    config = (run_dir / "config.yaml").read_text("utf-8", errors="replace")
    return Records(run_dir, summary, metrics, config, read_json(run_dir / "environment.json") or {})


def read_finished(out: Path) -> tuple[list[tuple[float, AnySummary]], list[str]]:
    """The finished runs under an output root, oldest first, each with its time (seconds since 1970).

    And the names of the directories of another format.
    """
    finished: list[tuple[float, AnySummary]] = []
    foreign = []
    for path in sorted(out.glob("*/summary.json")):
        try:
            summary = read_summary(path.parent)
        except UserError:
            foreign.append(path.parent.name)
            continue
        if summary is not None:
            finished.append((path.stat().st_mtime, summary))
    return sorted(finished, key=lambda entry: entry[0]), foreign
