"""Contestants that live in an environment of their own: a process there, which takes its turns when it is asked.

One line of JSON asks, one line of JSON answers.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from lthrun.bench.rounds import Absent
from lthrun.levels.context import RunContext

FASTERAI = Path(__file__).with_name("peer_fasterai.py")


class Peer:
    """A script run by another interpreter, for as long as it is open.

    Raises:
        Absent: it could not be started, or has ended; with the last line that it wrote on stderr.
    """

    def __init__(self, python: Path, script: Path, settings: dict[str, Any]):
        self._complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115
        try:
            # Isolated: neither PYTHONPATH nor the script's neighbours may stand in for that environment's packages.
            self._process = subprocess.Popen(
                [python, "-I", script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                text=True,
            )
        except OSError as error:
            self._complaints.close()
            raise Absent(f"--peers {python}: {error.strerror}") from None
        try:
            self.ask(settings)
        except Absent:
            self.close()
            raise

    @classmethod
    def fasterai(cls, python: Path | None, context: RunContext, folder: Path, sparsity: float) -> Peer:
        config = context.config
        if python is None:
            raise Absent("no --peers PYTHON")
        if config.data.dataset not in ("pets", "synthetic") or config.data.labels != "species":
            raise Absent("its tutorial tells cats from dogs by file names")
        settings = {
            "folder": str(folder),
            "model": config.model.name,
            "size": config.data.image_size,
            "batch_size": config.training.batch_size,
            "validation": config.data.validation / 100,
            "rate": config.training.learning_rate,
            "sparsity": sparsity,
            "device": str(context.device),
        }
        return cls(python, FASTERAI, settings)

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        try:
            print(json.dumps(question), file=self._process.stdin, flush=True)
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            raise Absent(self._last_words()) from None
        if "error" in answer:
            raise Absent(answer["error"])
        return answer

    def training(self, workers: int | None) -> Callable[[int], float]:
        return lambda steps: float(self.ask({"workers": workers, "steps": steps})["seconds"])

    def validation(self, workers: int | None) -> Callable[[], float]:
        return lambda: float(self.ask({"workers": workers, "steps": None})["seconds"])

    def _last_words(self) -> str:
        self._complaints.seek(0)
        lines = [line.strip() for line in self._complaints if line.strip()]
        return lines[-1] if lines else "it ended without a word"

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it, whatever it is at."""
        assert self._process.stdin and self._process.stdout
        self._process.terminate()
        self._process.wait()
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._complaints.close()
