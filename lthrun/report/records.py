"""The directory of a run or a study, read back into typed records: all that a report is built from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lthrun.errors import UserError
from lthrun.experiments.reading import AnySummary, read_summary
from lthrun.storage.json_files import read_json
from lthrun.storage.run_dir import RunDir


@dataclass(frozen=True)
class Records:
    """A finished run or study: `metrics` are the lines of metrics.jsonl, `config` is YAML."""

    run_dir: Path
    summary: AnySummary
    metrics: list[dict[str, Any]]
    config: str
    environment: dict[str, Any]


def read_records(path: Path) -> Records:
    """Everything a report is built from.

    Raises:
        UserError: this is not the directory of a finished run of this format.
    """
    run_dir = RunDir(path)
    run_dir.check_is_run()
    summary = read_summary(run_dir)
    if summary is None:
        raise UserError(
            f"{path}: not finished, there is no valid summary.json in it; run the same command again to resume"
        )
    metrics = run_dir.read_metrics()
    if not metrics:
        raise UserError(
            f"{path}/metrics.jsonl: missing or damaged; run the same command again to write it from cached levels"
        )
    config = (path / "config.yaml").read_text("utf-8", errors="replace")
    return Records(path, summary, metrics, config, read_json(path / "environment.json") or {})
