"""Run directories: what one run, or one study, leaves.

    OUT/ticket-s0-1a2b3c4d/    config, environment, split, metrics, events, summary, tensors

Created when the run starts, locked while it runs. Epochs and events are appended as they happen; summary.json is
written last, so a directory that has it is finished.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lthrun.errors import UserError
from lthrun.storage.files import FORMAT, write_text
from lthrun.storage.json_files import append_json_line, read_json, write_json
from lthrun.storage.locks import lock
from lthrun.storage.tensor_files import tensor_file_sizes, write_tensors

if TYPE_CHECKING:
    from torch import Tensor

METRICS, EVENTS, EVALUATIONS = "metrics.jsonl", "events.jsonl", "evaluations.jsonl"
REPRODUCTION = "reproduction.json"


class RunDir:
    def __init__(self, path: Path):
        self.path = path

    def lock(self, waiting: Callable[[], None]) -> Any:
        return lock(self.path / ".lock", waiting)

    def check_format(self) -> None:
        found = self.other_format()
        if found is not None:
            raise UserError(
                f"{self.path}: written in format {found}; this lthrun reads format {FORMAT}: use the version that "
                "environment.json names, or run it again with another --out"
            )

    def other_format(self) -> Any:
        """The format of the directory, where it is not that of this version."""
        for name in ("summary.json", "environment.json"):
            value = read_json(self.path / name, check=False)
            if value is not None and value.get("format", FORMAT) != FORMAT:
                return value["format"]
        return None

    def check_is_run(self) -> None:
        self.check_format()
        if (self.path / REPRODUCTION).is_file():
            raise UserError(f"{self.path}: a reproduction; to go on, or to see it again, repeat `lthrun reproduce`")
        if not (self.path / "config.yaml").is_file():
            raise UserError(f"{self.path}: not a run directory (no config.yaml in it); `lthrun runs` lists them")

    def start(self, config: str, environment: Mapping[str, Any], restarted: Sequence[str]) -> None:
        """Write config and environment; the files named in `restarted` start empty, the others are appended to."""
        for name in restarted:
            (self.path / name).unlink(missing_ok=True)
        write_text(self.path / "config.yaml", config)
        write_json(self.path / "environment.json", {"format": FORMAT, **environment})

    def write_splits(self, held_out: Mapping[int, Mapping[str, Sequence[str]]]) -> None:
        """split.json: the names of the validation and test images, by `data.split_seed`."""
        write_json(self.path / "split.json", {"splits": {str(seed): sides for seed, sides in held_out.items()}})

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        append_json_line(self.path / METRICS, record)

    def append_event(self, record: Mapping[str, Any]) -> None:
        append_json_line(self.path / EVENTS, record)

    def append_evaluation(self, name: str, **result: Any) -> None:
        append_json_line(self.path / EVALUATIONS, {"name": name, **result})

    def write_metrics(self, records: Sequence[Mapping[str, Any]]) -> None:
        """All lines of metrics.jsonl at once."""
        write_text(self.path / METRICS, "".join(f"{json.dumps(r, allow_nan=False)}\n" for r in records))

    def write_tensors(self, name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """`model` or `ticket`, as safetensors."""
        write_tensors(self.path / f"{name}.safetensors", tensors, metadata)

    def finish(self, summary: Mapping[str, Any]) -> None:
        write_json(self.path / "summary.json", summary)

    def read_summary(self) -> dict[str, Any] | None:
        """summary.json, wherever the directory lies now; None where it is missing, damaged or of another format."""
        summary = read_json(self.path / "summary.json")
        if summary is None or summary.get("format") != FORMAT:
            return None
        return {**summary, "run_dir": str(self.path)}

    def read_metrics(self) -> list[dict[str, Any]] | None:
        """The records in metrics.jsonl; None where they are missing or damaged."""
        try:
            lines = [json.loads(line) for line in (self.path / METRICS).read_text("utf-8").splitlines()]
        except (OSError, ValueError):
            return None
        return lines if all(isinstance(line, dict) and "accuracy" in line for line in lines) else None

    def read_evaluations(self) -> dict[str, dict[str, Any]]:
        """The networks evaluated so far, by name; a truncated line is ignored."""
        results = {}
        with suppress(OSError):
            for line in (self.path / EVALUATIONS).read_text("utf-8").splitlines():
                with suppress(ValueError):
                    evaluation = json.loads(line)
                    results[evaluation["name"]] = evaluation
        return results

    def has_its_files(self, summary: Mapping[str, Any]) -> bool:
        """Whether the tensor files are there, of the size that the summary says."""
        return bool(summary["files"] == tensor_file_sizes(self.path))

    def level_keys(self) -> set[str]:
        """The keys of the levels that the run needs.

        Raises:
            UserError: the directory does not say.
        """
        environment, summary = read_json(self.path / "environment.json"), self.read_summary()
        if environment is None and summary is None:
            raise UserError(
                f"{self.path}/environment.json: missing or damaged, so the levels that the run needs are unknown: "
                "repeat the run's command, which writes it again, or remove the directory"
            )
        levels = (summary or {}).get("levels", [])
        own = {level["key"] for level in levels} if isinstance(levels, list) else set()
        return set((environment or {}).get("levels", [])) | own
