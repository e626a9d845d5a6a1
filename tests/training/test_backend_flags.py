"""PyTorch's global switches: set for a run on CUDA, put back after it; and what `deterministic` changes where."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lthrun.experiments.tasks import RunOptions, Task, Worker

import lthrun as package
from lthrun.bench.setup import prepare_bench
from lthrun.experiments import run
from lthrun.levels.context import find_precision, prepare
from lthrun.levels.plan import Conditions, dense
from lthrun.training import backend_flags as module
from lthrun.training.backend_flags import WORKSPACE, backend_flags

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")


def ignore(kind: str, **facts: Any) -> None:
    pass


def seen() -> dict[str, Any]:
    backends: Any = torch.backends
    return {
        "benchmark": backends.cudnn.benchmark,
        "deterministic": backends.cudnn.deterministic,
        "convolutions": backends.cudnn.conv.fp32_precision,
        "products": backends.cuda.matmul.fp32_precision,
        "algorithms": torch.get_deterministic_debug_mode(),
        "fill": torch.utils.deterministic.fill_uninitialized_memory,
    }


@pytest.fixture(autouse=True)
def no_workspace(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(WORKSPACE, "")  # so that it is put back after the test
    monkeypatch.delenv(WORKSPACE)
    before = seen()
    yield
    assert seen() == before


@pytest.mark.parametrize("warns", [0, 1])
def test_float32_is_float32_and_the_fastest_kernels_may_be_tried(warns: int):
    torch.set_deterministic_debug_mode(warns)
    before = seen()
    try:
        with backend_flags(CUDA, False):
            assert seen() == before | {"benchmark": True, "convolutions": "ieee", "products": "ieee"}
        assert seen() == before and WORKSPACE not in os.environ
    finally:
        torch.set_deterministic_debug_mode(0)


def test_deterministic_allows_deterministic_kernels_only():
    torch.set_deterministic_debug_mode("warn")
    before = seen()
    try:
        with backend_flags(CUDA, True):
            assert seen() == {
                "benchmark": False,
                "deterministic": True,
                "convolutions": "ieee",
                "products": "ieee",
                "algorithms": 2,
                "fill": False,
            }
            assert os.environ[WORKSPACE] == ":4096:8"
        assert seen() == before
    finally:
        torch.set_deterministic_debug_mode(0)


@pytest.mark.parametrize("deterministic", [False, True])
def test_on_the_cpu_nothing_is_touched(deterministic: bool):
    before = seen()
    with backend_flags(CPU, deterministic):
        assert seen() == before and WORKSPACE not in os.environ


def test_they_are_put_back_after_an_error():
    with pytest.raises(KeyboardInterrupt), backend_flags(CUDA, True):
        raise KeyboardInterrupt


def test_an_operation_without_a_deterministic_kernel_names_the_key():
    with (
        pytest.raises(
            package.UserError, match=r"^deterministic: found true; put_ has no deterministic kernel on cuda:0"
        ),
        backend_flags(CUDA, True),
    ):
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.ones(2))
    with pytest.raises(RuntimeError, match="something else"), backend_flags(CUDA, True):
        raise RuntimeError("something else")


def test_cuda_that_is_in_use_without_the_workspace_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(package.UserError, match=r"deterministic: .*CUBLAS_WORKSPACE_CONFIG=:4096:8: set it before"):
        backend_flags(CUDA, True).__enter__()
    for fit in module.WORKSPACES:
        monkeypatch.setenv(WORKSPACE, fit)
        with backend_flags(CUDA, True):
            assert os.environ[WORKSPACE] == fit
    with backend_flags(CUDA, False):
        pass


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """With what the switches were set."""
    found: list[tuple[str, bool]] = []

    @contextmanager
    def watched(device: torch.device, deterministic: bool) -> Iterator[None]:
        found.append((device.type, deterministic))
        yield

    for place in ("lthrun.training.backend_flags", "lthrun.bench.setup", "lthrun.experiments.dry_run"):
        monkeypatch.setattr(f"{place}.backend_flags", watched)
    return found


@pytest.mark.usefixtures("tiny_model")
def test_runs_forecasts_and_benchmarks_set_them(small: Callable, tmp_path: Path, entered: list[tuple[str, bool]]):
    from lthrun.experiments.dry_run import forecast

    config = small("baseline", deterministic=True)
    forecast(config, tmp_path, False, ignore)
    run(config, tmp_path)
    with ExitStack() as closing:
        prepare_bench(config, closing, ignore, 1)
    assert entered == 3 * [("cpu", True)]
    context = prepare(config, ignore)
    Worker(RunOptions(tmp_path))(
        Task(context.resolved, context.levels[0], "a level of a study, in a process of its own", context.conditions)
    )
    assert entered == 4 * [("cpu", True)]


@pytest.mark.usefixtures("tiny_model")
def test_on_the_cpu_a_run_is_the_same_run_with_it(small: Callable, lthrun: Callable, images: Path, tmp_path: Path):
    with_it, without = prepare(small("ticket", deterministic=True), ignore), prepare(small("ticket"), ignore)
    assert with_it.run_name == without.run_name
    assert [level.key for level in with_it.levels] == [level.key for level in without.levels]
    sizes = ("--set", "data.image_size=16", "--set", "training.batch_size=8", "--epochs", 1)
    done = lthrun("baseline", "--data-dir", images, *sizes, "--deterministic", "--out", "out")
    assert done.status == 0, done.err
    (run_dir,) = (tmp_path / "out").glob("baseline-*")
    assert "\ndeterministic: true\n" in (run_dir / "config.yaml").read_text()


def test_on_cuda_levels_have_a_name_of_their_own_with_it_and_the_old_one_without(small: Callable):
    config = small("baseline")
    conditions = Conditions({}, 6, "cuda", "bfloat16")
    names = [dense(config, replace(conditions, deterministic=on)).key for on in (False, True)]
    assert names[0] == dense(config, conditions).key != names[1]


@pytest.mark.parametrize("has_it", [False, True])
def test_bfloat16_is_taken_where_the_gpu_has_it(monkeypatch: pytest.MonkeyPatch, has_it: bool):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_it and not including_emulation)
    assert find_precision("auto", CUDA) == ("bfloat16" if has_it else "float32")
    assert find_precision("auto", CPU) == "float32"
    assert find_precision("bfloat16", CUDA) == find_precision("bfloat16", CPU) == "bfloat16"
