"""fasterai, in another Python environment: a process there, which is timed on request.

A request is one line of JSON on its stdin, the answer one line of JSON on its stdout.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, cast

from lthrun.bench.rounds import Unavailable
from lthrun.bench.setup import BenchmarkSetup

FASTERAI = Path(__file__).with_name("peer_fasterai.py")


class PeerProcess:
    """fasterai's script, run by another interpreter until the benchmark ends.

    Raises:
        Unavailable: it could not be started, or has exited; with the last line that it wrote on stderr.
    """

    def __init__(self, python: Path, settings: dict[str, Any], stack: ExitStack):
        self._stderr = stack.enter_context(tempfile.TemporaryFile("w+"))  # noqa: SIM115
        try:
            # Isolated: PYTHONPATH and the script's folder must not shadow that environment's packages.
            self._process = subprocess.Popen(
                [python, "-I", FASTERAI],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                text=True,
            )
        except OSError as error:
            raise Unavailable(f"--peers {python}: {error.strerror}") from None
        self._stdin, self._stdout = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)
        stack.callback(self._end)
        self.ask(settings)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            print(json.dumps(request), file=self._stdin, flush=True)
            answer: dict[str, Any] = json.loads(self._stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            raise Unavailable(self._last_error()) from None
        if "error" in answer:
            raise Unavailable(answer["error"])
        return answer

    def measure_seconds(self, workers: int | None, steps: int | None = None) -> float:
        """Seconds of so many training steps, or of a validation."""
        return float(self.ask({"workers": workers, "steps": steps})["seconds"])

    def _last_error(self) -> str:
        self._stderr.seek(0)
        lines = [line.strip() for line in self._stderr if line.strip()]
        return lines[-1] if lines else "it exited without output"

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait()
        with suppress(BrokenPipeError):
            self._stdin.close()
        self._stdout.close()


def start_fasterai(setup: BenchmarkSetup, sparsity: float) -> PeerProcess:
    """fasterai's tutorial on the images of a benchmark, with which it ends.

    Raises:
        Unavailable: there is no interpreter for it, it does not start, or the images are none of its.
    """
    config = setup.context.config
    if setup.peers is None:
        raise Unavailable("no --peers PYTHON")
    if config.data.dataset not in ("pets", "synthetic") or config.data.labels != "species":
        raise Unavailable("its tutorial distinguishes cats and dogs by file names")
    settings = {
        "folder": str(setup.find_image_folder()),
        "model": config.model.name,
        "size": config.data.image_size,
        "batch_size": config.training.batch_size,
        "validation": config.data.validation / 100,
        "rate": config.training.learning_rate,
        "sparsity": sparsity,
        "device": str(setup.device),
    }
    return PeerProcess(setup.peers, settings, setup.stack)
