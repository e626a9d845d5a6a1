"""Run directories: what one run leaves.

    OUT/ticket-s0-1a2b3c4d/    one run: config, environment, metrics, events, summary, tensors

Made when the run starts, locked while it runs. What it was told and found is written as it comes; summary.json is
written last, so that where it lies the run is finished.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lthrun.errors import UserError
from lthrun.storage.files import FORMAT, append_json_line, lock, read_json, sizes, write_json, write_tensors, write_text

if TYPE_CHECKING:
    from torch import Tensor


class RunDir:
    """One run's directory."""

    def __init__(self, path: Path):
        self.path = path

    def lock(self, waiting: Callable[[], None]) -> Any:
        return lock(self.path / ".lock", waiting)

    def start(self, config: str, environment: Mapping[str, Any], anew: Sequence[str]) -> None:
        """Begin to write the run down; the files named in `anew` begin anew, the others go on."""
        for name in anew:
            (self.path / name).unlink(missing_ok=True)
        write_text(self.path / "config.yaml", config)
        write_json(self.path / "environment.json", {"format": FORMAT, **environment})

    def check_format(self) -> None:
        """Refuse a directory that another version has written."""
        found = other_format(self.path)
        if found is not None:
            raise UserError(
                f"{self.path}: written in format {found}, and this lthrun reads {FORMAT}: use the version that "
                "environment.json names, or another --out"
            )

    def metrics(self, records: Sequence[Mapping[str, Any]]) -> None:
        """All lines of metrics.jsonl at once."""
        write_text(self.path / "metrics.jsonl", "".join(f"{json.dumps(r, allow_nan=False)}\n" for r in records))

    def metric(self, record: Mapping[str, Any]) -> None:
        append_json_line(self.path / "metrics.jsonl", record)

    def event(self, record: Mapping[str, Any]) -> None:
        append_json_line(self.path / "events.jsonl", record)

    def judgement(self, name: str, **found: Any) -> None:
        append_json_line(self.path / "judgements.jsonl", {"name": name, **found})

    def judgements(self) -> dict[str, dict[str, Any]]:
        """What was found of the networks judged so far, by name; a torn line is passed over."""
        found = {}
        with suppress(OSError):
            for line in (self.path / "judgements.jsonl").read_text("utf-8").splitlines():
                with suppress(ValueError):
                    judgement = json.loads(line)
                    found[judgement["name"]] = judgement
        return found

    def write(self, name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """`model` or `ticket`, as safetensors."""
        write_tensors(self.path / f"{name}.safetensors", tensors, metadata)

    def finish(self, summary: Mapping[str, Any]) -> None:
        write_json(self.path / "summary.json", summary)

    def finished(self) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
        """Summary and metrics of a finished run, or None if anything of it is missing or damaged."""
        summary, metrics = read_summary(self.path) or read_study(self.path), read_metrics(self.path)
        if summary is None or metrics is None:
            return None
        if summary["files"] != sizes(self.path) or summary.get("missing"):
            return None
        if len(metrics) != summary.get("lines", summary["epochs"]):
            return None
        return summary, metrics


# What a summary must hold to be one: that of a run, and that of a study (a comparison of many).
REQUIRED_OF_RUN = {
    "experiment", "differs", "seed", "majority_rate", "accuracy", "accuracy_interval", "sparsity", "epochs", "levels",
    "files",
}  # fmt: skip
REQUIRED_OF_STUDY = {
    "experiment", "differs", "seeds", "arms", "about", "sparsities", "margin", "question", "verdict", "notes",
    "comparisons", "reach", "cells", "layers", "overlap", "missing", "majority_rate", "epoch_steps", "epochs",
}  # fmt: skip


def read_summary(run_dir: Path) -> dict[str, Any] | None:
    """The summary in a run directory, wherever it lies now; None where there is no (whole) one."""
    return summary_with(REQUIRED_OF_RUN, run_dir)


def read_study(run_dir: Path) -> dict[str, Any] | None:
    """The same of a study's directory."""
    return summary_with(REQUIRED_OF_STUDY, run_dir)


def summary_with(told: set[str], run_dir: Path) -> dict[str, Any] | None:
    summary = read_json(run_dir / "summary.json")
    if summary is None or summary.get("format") != FORMAT or not summary.keys() >= told:
        return None
    return {**summary, "run_dir": str(run_dir)}


def read_metrics(run_dir: Path) -> list[dict[str, Any]] | None:
    """The records in a run's or a study's directory; None where they are missing or damaged."""
    try:
        found = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text("utf-8").splitlines()]
    except (OSError, ValueError):
        return None
    return found if all(isinstance(line, dict) and "accuracy" in line for line in found) else None


def other_format(run_dir: Path) -> Any:
    """The format of a run directory that this version does not read; None of one that it does."""
    for name in ("summary.json", "environment.json"):
        value = read_json(run_dir / name, check=False)
        if value is not None and value.get("format", FORMAT) != FORMAT:
            return value["format"]
    return None


def level_keys(run_dir: Path) -> set[str]:
    """The names of the levels that a run needs.

    Raises:
        UserError: its directory does not tell.
    """
    environment, summary = read_json(run_dir / "environment.json"), read_summary(run_dir)
    if environment is None and summary is None:
        raise UserError(
            f"{run_dir}/environment.json: missing or damaged, so that it is not known which levels the run needs: give "
            "the run's command again, which writes it anew, or remove the directory"
        )
    return set((environment or {}).get("levels", [])) | {level["key"] for level in (summary or {}).get("levels", [])}


def finished_runs(out: Path) -> list[dict[str, Any]]:
    """The runs' summaries under an output root, oldest first, each with `finished` (seconds since 1970)."""
    return finished(out, read_summary)


def finished_studies(out: Path) -> list[dict[str, Any]]:
    """The same of the studies."""
    return finished(out, read_study)


def finished(out: Path, read: Callable[[Path], dict[str, Any] | None]) -> list[dict[str, Any]]:
    found = [(path.stat().st_mtime, read(path.parent)) for path in out.glob("*/summary.json")]
    summaries = [{**summary, "finished": when} for when, summary in found if summary is not None]
    return sorted(summaries, key=lambda summary: float(summary["finished"]))
