"""Implementations that need another Python environment: a process there, which is timed on request.

A request is one line of JSON on its stdin, the answer one line of JSON on its stdout.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

from lthrun.bench.rounds import Unavailable
from lthrun.levels.context import RunContext

FASTERAI = Path(__file__).with_name("peer_fasterai.py")


class PeerProcess:
    """A script run by another interpreter until it is closed.

    Raises:
        Unavailable: it could not be started, or has exited; with the last line that it wrote on stderr.
    """

    def __init__(self, python: Path, script: Path, settings: dict[str, Any]):
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115
        try:
            # Isolated: PYTHONPATH and the script's folder must not shadow that environment's packages.
            self._process = subprocess.Popen(
                [python, "-I", script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                text=True,
            )
        except OSError as error:
            self._stderr.close()
            raise Unavailable(f"--peers {python}: {error.strerror}") from None
        self._stdin, self._stdout = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)
        try:
            self.ask(settings)
        except Unavailable:
            self.close()
            raise

    @classmethod
    def start_fasterai(cls, python: Path | None, context: RunContext, folder: Path, sparsity: float) -> PeerProcess:
        config = context.config
        if python is None:
            raise Unavailable("no --peers PYTHON")
        if config.data.dataset not in ("pets", "synthetic") or config.data.labels != "species":
            raise Unavailable("its tutorial distinguishes cats and dogs by file names")
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

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            print(json.dumps(request), file=self._stdin, flush=True)
            answer: dict[str, Any] = json.loads(self._stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            raise Unavailable(self._last_error()) from None
        if "error" in answer:
            raise Unavailable(answer["error"])
        return answer

    def make_train(self, workers: int | None) -> Callable[[int], float]:
        return lambda steps: float(self.ask({"workers": workers, "steps": steps})["seconds"])

    def make_validate(self, workers: int | None) -> Callable[[], float]:
        return lambda: float(self.ask({"workers": workers, "steps": None})["seconds"])

    def _last_error(self) -> str:
        self._stderr.seek(0)
        lines = [line.strip() for line in self._stderr if line.strip()]
        return lines[-1] if lines else "it exited without output"

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process at once."""
        self._process.terminate()
        self._process.wait()
        with suppress(BrokenPipeError):
            self._stdin.close()
        self._stdout.close()
        self._stderr.close()
