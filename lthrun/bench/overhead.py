"""What a command costs beside its training steps: times between the events of real runs.

A ticket and a supermask are run several times, each time in an empty output root, by the code that every command runs.
With small images and epochs of two steps the steps are fast, and the rest shows.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from lthrun.bench.rounds import median_and_range
from lthrun.config.base import ExperimentConfig, flatten
from lthrun.events import Busy, Emit, EpochFinished, Evaluated, Event, Step
from lthrun.executors.tasks import RunOptions
from lthrun.experiments import load_config, run_experiment

PARTS = {
    "import": "import torch, in a process of its own",
    "start": "start of a run, to the end of its first step",
    "step": "a later step",
    "level": "from a level to the end of the next one's first step: mask, start state, engine",
    "first epoch": "a level's first epoch, beyond the later ones",
    "epoch": "from an epoch's last step to its record: validation, sparsity, saving",
    "level end": "from a level's last step to its end: the same, and writing what it keeps",
    "run end": "from the last level to the end of the run: tensors, summary",
    "again": "a finished run again",
    "mask": "an evaluated mask of a supermask",
}


def measure_overhead(config: ExperimentConfig, rounds: int, emit: Emit) -> dict[str, Any]:
    """The median, lowest and highest seconds of each part, and how many times it was measured."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds):
        about = f"round {number + 1} of {rounds}"
        emit(Busy(f"{about}: import torch"))
        seconds["import"].append(time_import())
        with tempfile.TemporaryDirectory() as folder:
            for part, value in time_runs(config, Path(folder), about, emit):
                seconds[part].append(value)
    rows = [
        {"part": about, **median_and_range(taken), "n": len(taken)}
        for part, about in PARTS.items()
        if (taken := seconds[part])
    ]
    return {"parts": rows, "rounds": rounds, "model": config.model.name, "image_size": config.data.image_size}


def time_import() -> float:
    """Seconds of `import torch` in a new interpreter, its start not counted."""
    code = "import time; began = time.perf_counter(); import torch; print(time.perf_counter() - began)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def time_runs(config: ExperimentConfig, out: Path, about: str, emit: Emit) -> Iterator[tuple[str, float]]:
    """The parts of a ticket, the same again, and a supermask that reuses its levels, with their seconds."""
    shared = {key: value for key, value in flatten(config.model_dump(mode="json")).items() if key != "experiment"}

    def record(experiment: str, which: str) -> tuple[list[tuple[float, Event]], float, float]:
        """The events of a run, with their times; when it began, and when it ended."""
        emit(Busy(f"{about}: {which}"))
        events: list[tuple[float, Event]] = []
        began = time.perf_counter()
        settings = load_config(None, experiment, options=shared)
        run_experiment(settings, RunOptions(out), lambda event: events.append((time.perf_counter(), event)))
        return events, began, time.perf_counter()

    yield from split_run(*record("ticket", "ticket"))
    _, began, ended = record("ticket", "ticket again")
    yield "again", ended - began
    times = [at for at, event in record("supermask", "supermask")[0] if isinstance(event, Evaluated)]
    yield from (("mask", later - earlier) for earlier, later in pairwise(times))


def split_run(events: list[tuple[float, Event]], began: float, ended: float) -> Iterator[tuple[str, float]]:
    """The parts of one run, with their seconds."""
    trained = [(at, event) for at, event in events if isinstance(event, Step | EpochFinished)]
    last_level, end = None, began
    for level, group in groupby(trained, key=lambda pair: pair[1].level):
        (first, _), *rest = group
        yield ("start" if last_level is None else "level"), first - end
        last_level, last_step, epochs = level, first, []
        for at, event in rest:
            if isinstance(event, EpochFinished):
                epochs.append((event.record.seconds, at - last_step))
            else:
                if event.done > 1:
                    yield "step", at - last_step
                last_step = at
            end = at
        yield from (("epoch", beside) for _, beside in epochs[:-1])
        yield "level end", epochs[-1][1]
        if epochs[1:]:
            yield "first epoch", epochs[0][0] - statistics.median(seconds for seconds, _ in epochs[1:])
    yield "run end", ended - end
