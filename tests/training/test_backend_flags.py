"""PyTorch's global state: set for a run, restored after it; it changes no run, and no run changes it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import lthrun as package
from lthrun.bench.setup import prepare_bench
from lthrun.executors.tasks import LevelTask, RunOptions
from lthrun.executors.worker import LevelWorker
from lthrun.experiments.driver import execute
from lthrun.experiments.run import prepare_run
from lthrun.levels.context import find_precision
from lthrun.levels.keys import Conditions
from lthrun.levels.plan import plan_dense
from lthrun.training import backend_flags as module
from lthrun.training import state
from lthrun.training.backend_flags import AUTOTUNE_STEPS, WORKSPACE, backend_flags
from lthrun.training.engine import Engine, recalibrate_batch_norm
from tests.tape import all_equal
from tests.training.test_cuda_graphs import RATES, SETTINGS, train
from tests.training.test_cuda_streams import in_threads
from tests.training.test_engine import batch, model, some_masks

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")


def drop(*_: Any, **__: Any) -> None:
    """Drops events."""


def read_flags() -> dict[str, Any]:
    backends: Any = torch.backends
    return {
        "benchmark": backends.cudnn.benchmark,
        "deterministic": backends.cudnn.deterministic,
        "precisions": [
            place.fp32_precision
            for place in (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul,
                          backends.mkldnn.conv, backends.mkldnn.rnn, backends.mkldnn.matmul)
        ],
        "algorithms": torch.get_deterministic_debug_mode(),
        "fill": torch.utils.deterministic.fill_uninitialized_memory,
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
    }  # fmt: skip


EXPECTED = {
    "benchmark": False,
    "deterministic": False,
    "precisions": 6 * ["ieee"],
    "algorithms": 0,
    "fill": True,
    "dtype": torch.float32,
    "device": CPU,
    "grad": True,
    "inference": False,
    "autocast": False,
}
DETERMINISTIC = EXPECTED | {"deterministic": True, "algorithms": 2, "fill": False}


@contextmanager
def changed(set_value: Callable[[Any], None], value: Any, before: Any) -> Iterator[None]:
    set_value(value)
    try:
        yield
    finally:
        set_value(before)


@contextmanager
def changed_precision(set_value: Callable[[], None]) -> Iterator[None]:
    backends: Any = torch.backends
    places = (backends.cuda.matmul, backends.mkldnn.matmul, backends.mkldnn.conv)
    before = [place.fp32_precision for place in places]
    set_value()
    try:
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.fp32_precision = value


STATES: dict[str, Callable[[], Any]] = {
    "as usual": ExitStack,
    "float64": lambda: changed(torch.set_default_dtype, torch.float64, torch.float32),
    "bfloat16": lambda: changed(torch.set_default_dtype, torch.bfloat16, torch.float32),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "medium": lambda: changed_precision(partial(torch.set_float32_matmul_precision, "medium")),
    "bf16 convolutions": lambda: changed_precision(
        partial(setattr, torch.backends.mkldnn.conv, "fp32_precision", "bf16")
    ),
    "deterministic": lambda: changed(torch.use_deterministic_algorithms, True, False),
    "warns": lambda: changed(torch.set_deterministic_debug_mode, 1, 0),
    "default device": lambda: changed(torch.set_default_device, "meta", None),
    "device context": lambda: torch.device("meta"),
}


@pytest.fixture(autouse=True)
def no_workspace(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(WORKSPACE, "")  # so that it is restored after the test
    monkeypatch.delenv(WORKSPACE)
    before = read_flags()
    yield
    assert read_flags() == before


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
def test_flags_are_known_within_and_restored_afterwards(name: str, device: torch.device):
    with STATES[name]():
        before = read_flags()
        with backend_flags(device, False):
            assert read_flags() == EXPECTED
        assert read_flags() == before and WORKSPACE not in os.environ
        with backend_flags(device, True):
            assert read_flags() == (EXPECTED if device == CPU else DETERMINISTIC)
        assert read_flags() == before


def train_small() -> list[torch.Tensor]:
    torch.manual_seed(0)
    net = torch.nn.Sequential(model(), *(torch.nn.Linear(i, o) for i, o in ((2, 512), (512, 512), (512, 2))))
    engine = Engine(net, SETTINGS["adamw"], CPU, "float32", {f"0.{n}": mask for n, mask in some_masks().items()})
    train(engine, RATES[:3])
    recalibrate_batch_norm(engine, [batch(0), batch(1)])
    loss = torch.tensor([engine.take_loss(), engine.evaluate([batch(2)], 2).loss])
    return [loss, *state.copy_model_state(engine.model).values(), *state.copy_optimizer_state(engine).values()]


@pytest.mark.parametrize("name", STATES)
def test_a_training_has_the_same_numbers_in_every_state_of_the_process(name: str):
    with backend_flags(CPU, False):
        expected = train_small()
    with STATES[name](), backend_flags(CPU, False):
        assert all_equal(train_small(), expected)
    if name == "as usual":
        assert all_equal(train_small(), expected)


def test_deterministic_sets_the_workspace_of_cublas():
    with backend_flags(CUDA, True):
        assert os.environ[WORKSPACE] == ":4096:8"


@pytest.mark.parametrize(
    ("steps", "deterministic", "expected"),
    [
        (0, False, False),
        (AUTOTUNE_STEPS - 1, False, False),
        (AUTOTUNE_STEPS, False, True),
        (AUTOTUNE_STEPS, True, False),
    ],
)
def test_cudnn_times_its_algorithms_only_in_long_runs(steps: int, deterministic: bool, expected: bool):
    with backend_flags(CUDA, deterministic, steps):
        assert torch.backends.cudnn.benchmark is expected


def test_flags_are_restored_after_an_error():
    with pytest.raises(KeyboardInterrupt), backend_flags(CUDA, True):
        raise KeyboardInterrupt


def test_runs_in_threads_keep_the_flags_until_the_last_has_ended():
    with torch.no_grad(), changed(torch.set_default_dtype, torch.float64, torch.float32):
        before = read_flags()
        ended = [threading.Event() for _ in range(3)]

        def run_for_a_while(number: int) -> dict[str, Any]:
            with backend_flags(CUDA, False), backend_flags(CUDA, False):
                if number + 1 < len(ended):
                    ended[number + 1].wait(10)  # the last thread ends first
                found = read_flags()
            ended[number].set()
            return found

        assert in_threads(3, run_for_a_while) == 3 * [EXPECTED]
        assert read_flags() == before


def test_runs_of_one_process_agree_on_deterministic():
    with backend_flags(CUDA, True):
        with pytest.raises(package.UserError, match=r"^deterministic: found false; another run of this process has tr"):
            backend_flags(CUDA, False).__enter__()
        with backend_flags(CUDA, True):
            assert read_flags() == DETERMINISTIC
        assert read_flags() == DETERMINISTIC


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
    for workspace in module.WORKSPACES:
        monkeypatch.setenv(WORKSPACE, workspace)
        with backend_flags(CUDA, True):
            assert os.environ[WORKSPACE] == workspace
    with backend_flags(CUDA, False):
        pass


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Device type and `deterministic` of each call."""
    calls: list[tuple[str, bool]] = []

    @contextmanager
    def watched(device: torch.device, deterministic: bool, *_: Any, **__: Any) -> Iterator[None]:
        calls.append((device.type, deterministic))
        yield

    for place in ("lthrun.training.backend_flags", "lthrun.bench.setup"):
        monkeypatch.setattr(f"{place}.backend_flags", watched)
    return calls


@pytest.mark.usefixtures("tiny_model")
def test_runs_forecasts_and_benchmarks_set_them(small: Callable, tmp_path: Path, entered: list[tuple[str, bool]]):
    from lthrun.experiments.dry_run import foresee_run

    config = small("baseline", deterministic=True)
    run = prepare_run(config, drop)
    foresee_run(run, tmp_path, False)
    execute(run, RunOptions(tmp_path), drop)  # the run, and the level within it
    with ExitStack() as stack:
        prepare_bench(config, stack, drop, 1)
    assert entered == 4 * [("cpu", True)]
    task = LevelTask(run.config, run.levels[0], "a level of a study, in a process of its own", run.context.conditions)
    LevelWorker(RunOptions(tmp_path)).run(task)
    assert entered == 5 * [("cpu", True)]


@pytest.mark.usefixtures("tiny_model")
def test_on_the_cpu_a_run_is_the_same_run_with_it(small: Callable, lthrun: Callable, images: Path, tmp_path: Path):
    with_it, without = (prepare_run(small("ticket", deterministic=on), drop) for on in (True, False))
    assert with_it.name == without.name
    assert [level.key for level in with_it.levels] == [level.key for level in without.levels]
    sizes = ("--set", "data.image_size=16", "--set", "training.batch_size=8", "--epochs", 1)
    done = lthrun("baseline", "--data-dir", images, *sizes, "--deterministic", "--out", "out")
    assert done.status == 0, done.err
    (run_dir,) = (tmp_path / "out").glob("baseline-*")
    assert "\ndeterministic: true\n" in (run_dir / "config.yaml").read_text()


def test_on_cuda_levels_have_another_key_with_it(small: Callable):
    config = small("baseline")
    conditions = Conditions({}, 6, "cuda", "bfloat16")
    keys = [plan_dense(config, replace(conditions, deterministic=on)).key for on in (False, True)]
    assert keys[0] == plan_dense(config, conditions).key != keys[1]


@pytest.mark.parametrize("has_bfloat16", [False, True])
def test_bfloat16_is_the_default_precision_of_gpus_that_have_it(monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: has_bfloat16 and not including_emulation
    )
    assert find_precision("auto", CUDA) == ("bfloat16" if has_bfloat16 else "float32")
    assert find_precision("auto", CPU) == "float32"
    assert find_precision("bfloat16", CUDA) == find_precision("bfloat16", CPU) == "bfloat16"
