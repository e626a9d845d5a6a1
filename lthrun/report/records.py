"""What a run's or a study's directory says, read back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lthrun.errors import UserError
from lthrun.storage.json_files import read_json
from lthrun.storage.run_dir import RunDir, read_metrics, read_study, read_summary


@dataclass(frozen=True)
class Records:
    """A finished run or study: `summary` is that of summary.json, `metrics` a record per epoch, `config` is YAML."""

    run_dir: Path
    summary: dict[str, Any]
    metrics: list[dict[str, Any]]
    config: str
    environment: dict[str, Any]

    @property
    def is_study(self) -> bool:
        return bool(self.summary["experiment"] == "compare")


def read_records(run_dir: Path) -> Records:
    """Everything a report is drawn from.

    Raises:
        UserError: this is no run's directory, or not a finished one, or another version has written it.
    """
    if not (run_dir / "config.yaml").is_file():
        raise UserError(f"{run_dir}: not a run directory, there is no config.yaml in it; `lthrun runs` lists them")
    RunDir(run_dir).check_format()
    summary = read_study(run_dir) or read_summary(run_dir)
    if summary is None:
        raise UserError(
            f"{run_dir}: not finished, there is no whole summary.json in it; the run's command, given again, goes on"
        )
    metrics, environment = read_metrics(run_dir), read_json(run_dir / "environment.json")
    if not metrics:
        raise UserError(f"{run_dir}/metrics.jsonl: missing or damaged; the run's command, given again, writes it anew")
    config = (run_dir / "config.yaml").read_text("utf-8", errors="replace")
    return Records(run_dir, summary, metrics, config, environment or {})
