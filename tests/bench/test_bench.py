"""The benchmark: who takes part, in turns, and what follows from the timings. No test depends on how fast anything is."""

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

from lthrun.bench import contestants as entrants
from lthrun.bench import step_profile as parts
from lthrun.bench.rounds import WARM_UP_STEPS, WARM_UPS, Absent, Contestant, compete, skipped
from lthrun.bench.setup import Arena, prepare_bench
from lthrun.bench.subprocess_contestants import elsewhere
from lthrun.bench.summary import spread, summarise
from lthrun.errors import UserError
from tests.conftest import SMALL

TINY = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
FACTS = {"epoch_steps": 90, "steps": 10, "batch_size": 64, "precision": "float32"}
pytestmark = pytest.mark.usefixtures("tiny_model")


def quiet(kind: str, **facts: Any) -> None:
    pass


@pytest.fixture(autouse=True)
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops with none and with one worker will do."""
    monkeypatch.setattr("os.cpu_count", lambda: 1)


@pytest.fixture(autouse=True)
def together(monkeypatch: pytest.MonkeyPatch) -> None:
    """All in this process, which has a tiny model; that some go elsewhere is a test of its own, and `make smoke`'s."""
    monkeypatch.setitem(entrants.CONTESTANTS, "floor", entrants.floors)
    monkeypatch.setitem(entrants.CONTESTANTS, "plain PyTorch", entrants.plain)


def timed(name: str, precision: str, trained: list[float], validated: list[float]) -> Contestant:
    return Contestant(name, precision, lambda steps: 0.0, lambda: 0.0, None, trained, validated)


def test_the_table_of_a_small_benchmark(lthrun: Callable, images: Path):
    found = lthrun("bench", "--data-dir", images, *TINY, "--rounds", 2, "--steps", 2)
    assert found.status == 0, found.err
    lines = found.out.splitlines()
    heads = ("what", "precision", "train s/epoch", "× floor", "validation s", "× its floor", "images/s", "× lthrun")
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
    assert "fasterai, float32: skipped: no --peers PYTHON" in rows
    words = " ".join(found.out.split())
    assert "2 rounds" in words and "2 of an epoch's 6 steps of 8 images, scaled to the epoch" in words
    assert sum(row.startswith("fastest on this machine: precision: ") for row in rows) == 1


def test_the_json_of_a_small_benchmark(lthrun: Callable, images: Path):
    outcome = lthrun("bench", "--data-dir", images, *TINY, "--rounds", 2, "--steps", 2, "--json")
    found = json.loads(outcome.out)
    assert found["environment"]["torch"] == torch.__version__
    assert found["environment"]["threads"] == torch.get_num_threads()
    assert (found["device"], found["rounds"], found["steps"], found["epoch_steps"]) == ("cpu", 2, 2, 6)
    rows = {(row["name"], row["precision"]): row for row in found["contestants"]}
    for precision in ("float32", "bfloat16"):
        ours = rows["lthrun", precision]
        assert len(ours["turns"]["train"]) == len(ours["turns"]["validation"]) == 2
        assert ours["train"]["lowest"] == pytest.approx(3 * min(ours["turns"]["train"]))
        floor = found["floors"][precision]["train"]
        assert ours["x_floor"]["train"] == pytest.approx(ours["train"]["median"] / floor)
    assert rows["fasterai", "float32"]["skipped"] == "no --peers PYTHON"
    assert found["fastest_precision"] == min(found["epochs"], key=found["epochs"].get)


def test_a_turn_is_prune_rate_an_epoch(small: Callable):
    for asked, taken in ((99, 6), (None, 6), (1, 1)):
        with ExitStack() as closing:
            assert prepare_bench(small("baseline"), closing, quiet, asked).steps == taken


def test_contestants_take_turns():
    seen: list[tuple[str, int | None]] = []

    def entrant(name: str) -> Contestant:
        def train(steps: int) -> float:
            seen.append((name, steps))
            return 1.0

        def validate() -> float:
            seen.append((name, None))
            return 2.0

        return Contestant(name, "float32", train, validate)

    both = [entrant("a"), entrant("b")]
    compete([both[0], skipped("c", "ill"), both[1]], rounds=2, steps=7, emit=quiet)
    warm = [("a", WARM_UP_STEPS), ("a", None), ("b", WARM_UP_STEPS), ("b", None)]
    assert seen == WARM_UPS * warm + 2 * [("a", 7), ("a", None), ("b", 7), ("b", None)]
    assert [(c.trained, c.validated) for c in both] == 2 * [([1.0, 1.0], [2.0, 2.0])]


def test_a_contestant_that_falls_out_is_skipped_and_the_others_go_on():
    def fail(steps: int) -> float:
        raise Absent("no compiler")

    failing = Contestant("a", "float32", fail, lambda: 0.0)
    going = Contestant("b", "float32", lambda steps: 1.0, lambda: 1.0)
    compete([failing, going], rounds=3, steps=1, emit=quiet)
    assert failing.skipped == "no compiler" and not failing.trained
    assert going.trained == [1.0, 1.0, 1.0]


def test_a_floor_that_cannot_be_compiled_is_skipped(small: Callable, monkeypatch: pytest.MonkeyPatch):
    def broken(*inputs: Any) -> None:
        raise RuntimeError("no compiler\nlong story")

    monkeypatch.setattr(torch, "compile", lambda model, mode: broken)
    with ExitStack() as closing:
        arena = prepare_bench(small("baseline"), closing, quiet, 1)
        stock = entrants.STOCK["channels_last, compiled"]
        floor = entrants.floor(arena, "floor", stock, "float32")
        compete([floor], rounds=1, steps=1, emit=quiet)
    assert floor.skipped == "RuntimeError: no compiler"


def strangers(arena: Arena) -> Iterator[Contestant]:
    """One that tells where it lives, one that falls out, and one that dies."""

    def fall_out(steps: int) -> float:
        raise Absent("no compiler")

    def die(steps: int) -> float:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0.0

    for train in (lambda steps: float(os.getpid()), fall_out, die):
        yield Contestant("stranger", "float32", train, lambda: float(torch.get_num_threads()))


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_contestants_live_in_a_process_of_their_own_that_ends_with_the_benchmark(small: Callable):
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with ExitStack() as closing:
            there, falling, _ = elsewhere(strangers)(prepare_bench(small("baseline"), closing, quiet, 1))
            assert (there.name, there.precision) == ("stranger", "float32")
            assert there.validate() == 3
            pid = int(there.train(1))
            assert there.train(1) == pid != os.getpid() and not gone(pid)
            with pytest.raises(Absent, match="no compiler"):
                falling.train(1)
    finally:
        torch.set_num_threads(threads)
    assert gone(pid)


def test_a_process_that_is_lost_ends_the_benchmark(small: Callable):
    with pytest.raises(UserError, match="the process of the contestants strangers was lost"), ExitStack() as closing:
        *_, dying = elsewhere(strangers)(prepare_bench(small("baseline"), closing, quiet, 1))
        dying.train(1)


def test_medians_and_spread_by_hand():
    assert spread([5.0, 1.0, 3.0]) == {"median": 3.0, "lowest": 1.0, "highest": 5.0}
    assert spread([4.0, 1.0, 2.0, 9.0]) == {"median": 3.0, "lowest": 1.0, "highest": 9.0}


def test_the_floor_is_the_fastest_stock_setting_of_each_precision():
    found = summarise(
        [
            timed("floor contiguous", "float32", [6.0, 5.0, 7.0], [1.0, 2.0, 3.0]),
            timed("floor channels_last", "float32", [5.0, 4.0, 9.0], [4.0, 4.0, 4.0]),
            timed("floor contiguous", "bfloat16", [3.0, 3.0, 3.0], [1.0, 1.0, 1.0]),
            timed("lthrun", "float32", [5.0, 10.0, 11.0], [3.0, 3.0, 1.0]),
            timed("lthrun", "bfloat16", [3.0, 3.0, 4.0], [2.0, 2.0, 2.0]),
            timed("plain PyTorch, 0 workers", "float32", [20.0, 20.0, 20.0], [6.0, 6.0, 6.0]),
            skipped("fasterai", "why"),
        ],
        FACTS,
    )
    assert found["floors"] == {
        "float32": {"train": 45.0, "validation": 2.0},
        "bfloat16": {"train": 27.0, "validation": 1.0},
    }
    rows = {(row["name"], row["precision"]): row for row in found["contestants"]}
    ours = rows["lthrun", "float32"]
    assert ours["train"] == {"median": 90.0, "lowest": 45.0, "highest": 99.0}
    assert ours["x_floor"] == {"train": 2.0, "validation": 1.5}
    assert ours["images_per_second"] == 64.0
    assert (ours["epoch"], ours["x_lthrun"]) == (93.0, 1.0)
    assert rows["plain PyTorch, 0 workers", "float32"]["x_lthrun"] == pytest.approx(186 / 93)
    assert rows["floor channels_last", "float32"]["x_floor"]["train"] == 1.0
    assert found["epochs"] == {"float32": 93.0, "bfloat16": 29.0} and found["fastest_precision"] == "bfloat16"


def ended_peer(folder: Path, script: str) -> Path:
    python = folder / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return python


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (
            "echo \"ModuleNotFoundError: No module named 'fasterai'\" >&2; exit 1",
            "ModuleNotFoundError: No module named 'fasterai'",
        ),
        ("exit 0", "it ended without a word"),
        ('read line; echo \'{"error": "too old"}\'', "too old"),
    ],
)
def test_a_peer_that_does_not_come_is_skipped_with_the_reason(
    script: str, why: str, lthrun: Callable, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kept = {name: maker for name, maker in entrants.CONTESTANTS.items() if name != "plain PyTorch"}
    monkeypatch.setattr("lthrun.bench.CONTESTANTS", kept)
    python = ended_peer(tmp_path, script)
    found = lthrun("bench", "--data-dir", images, *TINY, "--rounds", 1, "--steps", 1, "--peers", python)
    assert found.status == 0, found.err
    assert f"fasterai, float32: skipped: {why}" in found.out


def test_there_may_be_no_such_interpreter_and_no_such_labels(small: Callable, images: Path):
    arena = prepare_bench(small("baseline"), ExitStack(), quiet, 1)

    def why(config: Any, python: Path) -> str | None:
        with ExitStack() as closing:
            context = replace(arena.context, config=config)
            (row,) = entrants.fasterai(replace(arena, context=context, peers=python, closing=closing))
        return row.skipped

    assert why(small("baseline"), Path("nowhere/python")) == "--peers nowhere/python: No such file or directory"
    breeds = small("baseline", **{"data.labels": "breed"})
    assert why(breeds, Path(sys.executable)) == "its tutorial tells cats from dogs by file names"


def test_a_peer_takes_its_turns_in_its_own_process(lthrun: Callable, images: Path, tmp_path: Path):
    answers = 'read line; echo "{}"; while read line; do echo "{\\"seconds\\": 4.5}"; done'
    python = ended_peer(tmp_path, answers)
    outcome = lthrun("bench", "--data-dir", images, *TINY, "--rounds", 2, "--steps", 3, "--peers", python, "--json")
    rows = {row["name"]: row for row in json.loads(outcome.out)["contestants"]}
    for name in ("fasterai, as it comes", "fasterai, 0 workers", "fasterai, 1 worker"):
        assert rows[name]["turns"] == {"train": [4.5, 4.5], "validation": [4.5, 4.5]}
        assert rows[name]["train"]["median"] == 9.0


def test_the_parts_of_a_step_are_within_the_step(lthrun: Callable, images: Path):
    found = json.loads(lthrun("bench", "--data-dir", images, *TINY, "--steps", 4, "--profile", "--json").out)
    names = [row["part"] for row in found["parts"]]
    assert names == [*parts.PARTS, "the rest (host gaps)"]
    assert all(row["ms"] >= 0 for row in found["parts"])
    assert sum(row["ms"] for row in found["parts"]) == pytest.approx(found["step_ms"])
    assert found["engine_step_ms"] > 0 and found["device_busy_ms"] is None
    costs = [row["ms"] for row in found["operators"]]
    assert len(costs) == 10 and costs == sorted(costs, reverse=True)
    assert any(row["operator"].startswith("aten::") for row in found["operators"])


def test_the_tables_of_a_profile(lthrun: Callable, images: Path):
    found = lthrun("bench", "--data-dir", images, *TINY, "--steps", 2, "--profile")
    assert found.status == 0, found.err
    for part in (*parts.PARTS, "the rest (host gaps)", "operator"):
        assert any(line.strip().startswith(part) for line in found.out.splitlines()), part


def test_a_step_taken_apart_computes_what_the_engine_computes(small: Callable):
    arena = prepare_bench(small("baseline"), ExitStack(), quiet, 4)
    taken = parts.Parts(arena)
    parts.taken_apart(taken, 4)
    model = arena.model()
    masks = entrants.half(model, arena.context)
    engine = parts.Engine(model, arena.context.config.training, arena.device, "float32", masks)
    engine.model.train()
    for step in range(4):
        engine.step(arena.batches.training_batch(step))
    for name, weight in engine.model.state_dict().items():
        assert torch.equal(weight, taken.engine.model.state_dict()[name]), name
    assert engine.take_loss() == float(taken.total)


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--steps", "0"], ["--steps", "many"]])
def test_bad_options_are_one_line(arguments: list[str], lthrun: Callable):
    found = lthrun("bench", *arguments)
    assert found.status == 2 and len(found.err.splitlines()) == 1
