"""The benchmark: interleaved rounds, subprocesses, and figures from timings. No test depends on how fast anything is."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lthrun.bench import implementations, step_profile
from lthrun.bench.rounds import (
    WARM_UP_STEPS,
    WARM_UPS,
    Implementation,
    Unavailable,
    median_and_range,
    run_rounds,
    summarize,
    unavailable,
)
from lthrun.bench.setup import BenchmarkSetup, prepare_bench
from lthrun.bench.subprocess_implementations import in_subprocess
from lthrun.errors import UserError
from lthrun.training.engine import Engine
from tests.bench import small_network
from tests.conftest import SMALL

TINY = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
FACTS = {"epoch_steps": 90, "steps": 10, "batch_size": 64, "precision": "float32"}
pytestmark = pytest.mark.usefixtures("tiny_model")


def drop(*_: Any, **__: Any) -> None:
    """Drops events."""


@pytest.fixture(autouse=True)
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that there are loops with no worker and with one only."""
    monkeypatch.setattr("os.cpu_count", lambda: 1)


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """All in this process, which has the tiny model; subprocesses have a test of their own, and `make smoke`."""
    monkeypatch.setitem(implementations.IMPLEMENTATIONS, "floor", implementations.make_floors)
    monkeypatch.setitem(implementations.IMPLEMENTATIONS, "plain PyTorch", implementations.make_plain_loops)


def timed(name: str, precision: str, train_seconds: list[float], validate_seconds: list[float]) -> Implementation:
    return Implementation(name, precision, lambda steps: 0.0, lambda: 0.0, None, train_seconds, validate_seconds)


def test_the_table_of_a_small_benchmark(lthrun: Callable, images: Path):
    result = lthrun("bench", "--data-dir", images, *TINY, "--rounds", 2, "--steps", 2)
    assert result.status == 0, result.err
    lines = result.out.splitlines()
    heads = (
        "implementation",
        "precision",
        "train s/epoch",
        "× floor",
        "validation s",
        "× its floor",
        "images/s",
        "× lthrun",
    )
    assert any(all(head in line for head in heads) for line in lines)
    rows = [line.strip() for line in lines]
    for start in (
        "floor contiguous",
        "floor channels_last",
        "lthrun",
        "plain PyTorch, 0 workers",
        "plain PyTorch, 1 worker",
    ):
        assert any(row.startswith(start) for row in rows), start
    assert "fasterai, float32, skipped: no --peers PYTHON." in rows
    words = " ".join(result.out.split())
    assert "2 rounds" in words and "2 of the 6 steps of an epoch, 8 images each, scaled to the epoch" in words
    assert sum(row.startswith("Fastest on this machine: precision: ") for row in rows) == 1


def test_the_json_of_a_small_benchmark(lthrun: Callable, images: Path):
    outcome = lthrun("bench", "--data-dir", images, *TINY, "--rounds", 2, "--steps", 2, "--json")
    result = json.loads(outcome.out)
    assert result["environment"]["torch"] == torch.__version__
    assert result["environment"]["threads"] == torch.get_num_threads()
    assert (result["device"], result["rounds"], result["steps"], result["epoch_steps"]) == ("cpu", 2, 2, 6)
    rows = {(row["name"], row["precision"]): row for row in result["implementations"]}
    for precision in ("float32", "bfloat16"):
        lthrun_row = rows["lthrun", precision]
        assert len(lthrun_row["turns"]["train"]) == len(lthrun_row["turns"]["validation"]) == 2
        assert lthrun_row["train"]["lowest"] == pytest.approx(3 * min(lthrun_row["turns"]["train"]))
        floor = result["floors"][precision]["train"]
        assert lthrun_row["x_floor"]["train"] == pytest.approx(lthrun_row["train"]["median"] / floor)
    assert rows["fasterai", "float32"]["skipped"] == "no --peers PYTHON"
    assert result["fastest_precision"] == min(result["epochs"], key=result["epochs"].get)


def test_a_round_is_at_most_an_epoch(small: Callable):
    for steps, expected in ((99, 6), (None, 6), (1, 1)):
        with ExitStack() as stack:
            assert prepare_bench(small("baseline"), stack, drop, steps).steps == expected


def test_rounds_are_interleaved():
    calls: list[tuple[str, int | None]] = []

    def make(name: str) -> Implementation:
        def train(steps: int) -> float:
            calls.append((name, steps))
            return 1.0

        def validate() -> float:
            calls.append((name, None))
            return 2.0

        return Implementation(name, "float32", train, validate)

    both = [make("a"), make("b")]
    run_rounds([both[0], unavailable("c", "missing"), both[1]], rounds=2, steps=7, emit=drop)
    warm_up = [("a", WARM_UP_STEPS), ("a", None), ("b", WARM_UP_STEPS), ("b", None)]
    assert calls == WARM_UPS * warm_up + 2 * [("a", 7), ("a", None), ("b", 7), ("b", None)]
    assert [(i.train_seconds, i.validate_seconds) for i in both] == 2 * [([1.0, 1.0], [2.0, 2.0])]


def test_an_implementation_that_fails_is_skipped_and_the_others_continue():
    def fail(steps: int) -> float:
        raise Unavailable("no compiler")

    failing = Implementation("a", "float32", fail, lambda: 0.0)
    other = Implementation("b", "float32", lambda steps: 1.0, lambda: 1.0)
    run_rounds([failing, other], rounds=3, steps=1, emit=drop)
    assert failing.unavailable == "no compiler" and not failing.train_seconds
    assert other.train_seconds == [1.0, 1.0, 1.0]


def test_a_floor_that_cannot_be_compiled_is_skipped(small: Callable, monkeypatch: pytest.MonkeyPatch):
    def broken(*inputs: Any) -> None:
        raise RuntimeError("no compiler\nmore lines")

    monkeypatch.setattr(torch, "compile", lambda model, mode: broken)
    with ExitStack() as stack:
        setup = prepare_bench(small("baseline"), stack, drop, 1)
        floor = implementations.make_floor(setup, "channels_last", True, "float32")
        run_rounds([floor], rounds=1, steps=1, emit=drop)
    assert floor.unavailable == "RuntimeError: no compiler"


def make_for_subprocess(setup: BenchmarkSetup) -> Iterator[Implementation]:
    """One that returns its process id, one that fails, and one that kills its process."""

    def fail(steps: int) -> float:
        raise Unavailable("no compiler")

    def die(steps: int) -> float:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0.0

    for train in (lambda steps: float(os.getpid()), fail, die):
        yield Implementation("test", "float32", train, lambda: float(torch.get_num_threads()))


def has_exited(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_subprocess_ends_with_the_benchmark(small: Callable):
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with ExitStack() as stack:
            setup = prepare_bench(small("baseline"), stack, drop, 1)
            working, failing, _ = in_subprocess(make_for_subprocess)(setup)
            assert (working.name, working.precision) == ("test", "float32")
            assert working.validate() == 3
            pid = int(working.train(1))
            assert working.train(1) == pid != os.getpid() and not has_exited(pid)
            with pytest.raises(Unavailable, match="no compiler"):
                failing.train(1)
    finally:
        torch.set_num_threads(threads)
    assert has_exited(pid)


def test_a_subprocess_that_dies_ends_the_benchmark(small: Callable):
    with pytest.raises(UserError, match="the subprocess of make_for_subprocess died"), ExitStack() as stack:
        *_, dying = in_subprocess(make_for_subprocess)(prepare_bench(small("baseline"), stack, drop, 1))
        dying.train(1)


def test_medians_and_ranges_by_hand():
    assert median_and_range([5.0, 1.0, 3.0]) == {"median": 3.0, "lowest": 1.0, "highest": 5.0}
    assert median_and_range([4.0, 1.0, 2.0, 9.0]) == {"median": 3.0, "lowest": 1.0, "highest": 9.0}


def test_the_floor_is_the_fastest_stock_setting_of_each_precision():
    summary = summarize(
        [
            timed("floor contiguous", "float32", [6.0, 5.0, 7.0], [1.0, 2.0, 3.0]),
            timed("floor channels_last", "float32", [5.0, 4.0, 9.0], [4.0, 4.0, 4.0]),
            timed("floor contiguous", "bfloat16", [3.0, 3.0, 3.0], [1.0, 1.0, 1.0]),
            timed("lthrun", "float32", [5.0, 10.0, 11.0], [3.0, 3.0, 1.0]),
            timed("lthrun", "bfloat16", [3.0, 3.0, 4.0], [2.0, 2.0, 2.0]),
            timed("plain PyTorch, 0 workers", "float32", [20.0, 20.0, 20.0], [6.0, 6.0, 6.0]),
            unavailable("fasterai", "missing"),
        ],
        FACTS,
    )
    assert summary["floors"] == {
        "float32": {"train": 45.0, "validation": 2.0},
        "bfloat16": {"train": 27.0, "validation": 1.0},
    }
    rows = {(row["name"], row["precision"]): row for row in summary["implementations"]}
    lthrun = rows["lthrun", "float32"]
    assert lthrun["train"] == {"median": 90.0, "lowest": 45.0, "highest": 99.0}
    assert lthrun["x_floor"] == {"train": 2.0, "validation": 1.5}
    assert lthrun["images_per_second"] == 64.0
    assert (lthrun["epoch"], lthrun["x_lthrun"]) == (93.0, 1.0)
    assert rows["plain PyTorch, 0 workers", "float32"]["x_lthrun"] == pytest.approx(186 / 93)
    assert rows["floor channels_last", "float32"]["x_floor"]["train"] == 1.0
    assert summary["epochs"] == {"float32": 93.0, "bfloat16": 29.0} and summary["fastest_precision"] == "bfloat16"


def make_interpreter(folder: Path, script: str) -> Path:
    python = folder / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return python


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            "echo \"ModuleNotFoundError: No module named 'fasterai'\" >&2; exit 1",
            "ModuleNotFoundError: No module named 'fasterai'",
        ),
        ("exit 0", "it exited without output"),
        ('read line; echo \'{"error": "too old"}\'', "too old"),
    ],
)
def test_a_peer_that_does_not_start_is_skipped_with_the_reason(
    script: str, reason: str, lthrun: Callable, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    others = {name: make for name, make in implementations.IMPLEMENTATIONS.items() if name != "plain PyTorch"}
    monkeypatch.setattr("lthrun.bench.IMPLEMENTATIONS", others)
    python = make_interpreter(tmp_path, script)
    result = lthrun("bench", "--data-dir", images, *TINY, "--rounds", 1, "--steps", 1, "--peers", python)
    assert result.status == 0, result.err
    assert f"fasterai, float32, skipped: {reason}." in result.out


def test_a_missing_interpreter_or_other_labels_are_the_reason(small: Callable):
    setup = prepare_bench(small("baseline"), ExitStack(), drop, 1)

    def find_reason(config: Any, python: Path) -> str | None:
        with ExitStack() as stack:
            context = replace(setup.context, config=config)
            (row,) = implementations.make_fasterais(replace(setup, context=context, peers=python, stack=stack))
        return row.unavailable

    assert find_reason(small("baseline"), Path("nowhere/python")) == "--peers nowhere/python: No such file or directory"
    breeds = small("baseline", **{"data.labels": "breed"})
    assert find_reason(breeds, Path(sys.executable)) == "its tutorial distinguishes cats and dogs by file names"


def test_a_peer_is_timed_in_its_own_process(lthrun: Callable, images: Path, tmp_path: Path):
    answers = 'read line; echo "{}"; while read line; do echo "{\\"seconds\\": 4.5}"; done'
    python = make_interpreter(tmp_path, answers)
    outcome = lthrun("bench", "--data-dir", images, *TINY, "--rounds", 2, "--steps", 3, "--peers", python, "--json")
    rows = {row["name"]: row for row in json.loads(outcome.out)["implementations"]}
    for name in ("fasterai, as it comes", "fasterai, 0 workers", "fasterai, 1 worker"):
        assert rows[name]["turns"] == {"train": [4.5, 4.5], "validation": [4.5, 4.5]}
        assert rows[name]["train"]["median"] == 9.0


def test_the_parts_of_a_step_are_within_the_step(lthrun: Callable, images: Path):
    result = json.loads(lthrun("bench", "--data-dir", images, *TINY, "--steps", 4, "--profile", "--json").out)
    names = [row["part"] for row in result["parts"]]
    assert names == [*step_profile.PARTS, "the rest (host gaps)"]
    assert all(row["ms"] >= 0 for row in result["parts"])
    assert sum(row["ms"] for row in result["parts"]) == pytest.approx(result["step_ms"])
    assert result["engine_step_ms"] > 0 and result["device_busy_ms"] is None
    costs = [row["ms"] for row in result["operators"]]
    assert len(costs) == 10 and costs == sorted(costs, reverse=True)
    assert any(row["operator"].startswith("aten::") for row in result["operators"])


def test_the_tables_of_a_profile(lthrun: Callable, images: Path):
    result = lthrun("bench", "--data-dir", images, *TINY, "--steps", 2, "--profile")
    assert result.status == 0, result.err
    for part in (*step_profile.PARTS, "the rest (host gaps)", "operator"):
        assert any(line.strip().startswith(part) for line in result.out.splitlines()), part


def test_the_parts_of_a_step_compute_what_the_engine_computes(small: Callable):
    setup = prepare_bench(small("baseline"), ExitStack(), drop, 4)
    parts = step_profile.StepParts(setup)
    step_profile.measure_parts(parts, 4)
    model = setup.make_model()
    masks = implementations.make_half_masks(model, setup)
    engine = Engine(model, setup.context.config.training, setup.device, "float32", masks)
    engine.model.train()
    for step in range(4):
        engine.step(setup.batches.training_batch(step))
    for name, weight in engine.model.state_dict().items():
        assert torch.equal(weight, parts.engine.model.state_dict()[name]), name
    assert engine.take_loss() == float(parts.total)


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--steps", "0"], ["--steps", "many"]])
def test_bad_options_are_one_line(arguments: list[str], lthrun: Callable):
    result = lthrun("bench", *arguments)
    assert result.status == 2 and len(result.err.splitlines()) == 1


def test_the_small_network_benchmark_runs():
    plain, lthrun = small_network.measure(rounds=1, epochs=1)
    assert plain > 0 and lthrun > 0
