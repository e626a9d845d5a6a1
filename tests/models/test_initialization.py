"""Initial weights are a function of the seed alone, whatever the rest of the process does."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import pytest
import torch
from torch import Tensor, nn

from lthrun import models
from lthrun.models import MODELS, build_model
from lthrun.rng import derive_seed

SMALL = ("resnet20", "mobilenet_v3_small", "efficientnet_b0", "densenet121", "lenet300", "conv2")


def fingerprint(model: nn.Module) -> str:
    seen = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        seen.update(name.encode() + str(tensor.dtype).encode() + tensor.contiguous().numpy().tobytes())
    return seen.hexdigest()


def seeded_globally(name: str, seed: int, *draw: int) -> nn.Module:
    """The model as plain PyTorch builds it after torch.manual_seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "init", *draw))
        return MODELS[name](3, 3, 64)


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_those_of_the_global_generator_under_the_same_seed(name: str):
    built, plain = build_model(name, 3, 5, 1).state_dict(), seeded_globally(name, 5, 1).state_dict()
    assert built.keys() == plain.keys() and all(torch.equal(built[key], plain[key]) for key in plain)


@pytest.mark.parametrize("name", SMALL)
def test_another_seed_or_draw_gives_other_weights(name: str):
    prints = {fingerprint(build_model(name, 3, *place)) for place in ((0,), (1,), (0, 1), (0, 2))}
    assert len(prints) == 4 and fingerprint(build_model(name, 3, 0)) in prints


@contextmanager
def default_type(kind: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(kind)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(name: str) -> Iterator[None]:
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


SETTINGS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "float64": lambda: default_type(torch.float64),
    "bfloat16": lambda: default_type(torch.bfloat16),
    "meta device": lambda: default_device("meta"),
    "device context": lambda: torch.device("meta"),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny", *SMALL])
def test_global_settings_change_neither_the_weights_nor_the_use_of_a_model(name: str, setting: str):
    plain = fingerprint(build_model(name, 3, 0))
    with SETTINGS[setting]():
        model = build_model(name, 3, 0)
    assert fingerprint(model) == plain
    model(torch.rand(2, 3, 64, 64)).sum().backward()
    assert all(p.requires_grad and not p.is_inference() and p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_threads_that_draw_all_the_time_change_no_weight_and_are_not_changed(name: str):
    plain, stop = fingerprint(build_model(name, 3, 0)), threading.Event()

    def draw() -> None:
        while not stop.is_set():
            torch.rand(1)

    threads = [threading.Thread(target=draw) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert {fingerprint(build_model(name, 3, 0)) for _ in range(3)} == {plain}
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    torch.manual_seed(7)
    drawn = torch.rand(3)
    torch.manual_seed(7)
    build_model(name, 3, 0)
    assert torch.equal(torch.rand(3), drawn), "the global generator is left alone"


def test_models_that_are_built_in_several_threads_at_once_are_those_built_alone():
    alone, together = {seed: fingerprint(build_model("resnet20", 3, seed)) for seed in range(6)}, {}

    def build(seed: int) -> None:
        together[seed] = fingerprint(build_model("resnet20", 3, seed))

    threads = [threading.Thread(target=build, args=(seed,)) for seed in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


class Draws(nn.Module):
    """Draws in every way that modules use."""

    def __init__(self, classes: int, channels: int, image_size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(3) + torch.randn(3) + torch.normal(0.0, 1.0, (3,)))
        for number, init in enumerate((nn.init.orthogonal_, nn.init.trunc_normal_, nn.init.kaiming_uniform_)):
            self.register_parameter(f"p{number}", nn.Parameter(init(torch.empty(4, 4))))
        self.register_buffer("order", torch.randperm(5))
        self.register_buffer("numbers", torch.randint(9, (4,)))
        self.register_buffer("mask", torch.bernoulli(torch.full((6,), 0.5)))
        self.register_buffer("count", torch.full((2,), 1))
        self.register_buffer("more", torch.empty(4).uniform_().exponential_().bernoulli_(0.3))

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize("setting", ["plain", *SETTINGS])
def test_every_way_to_draw_has_the_private_generator(setting: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(MODELS, "own", models.ModelEntry(Draws, ""))
    plain = seeded_globally("own", 3)
    torch.manual_seed(1)
    with SETTINGS.get(setting, nullcontext)():
        model = build_model("own", 3, 3)
    assert fingerprint(model) == fingerprint(plain)
    assert [t.dtype for t in model.state_dict().values()] == [t.dtype for t in plain.state_dict().values()]


def test_an_operation_without_a_generator_is_refused(monkeypatch: pytest.MonkeyPatch):
    def factory(*_: int) -> nn.Module:
        return nn.ParameterList([nn.functional.rrelu(-torch.ones(3), training=True)])

    monkeypatch.setitem(MODELS, "own", models.ModelEntry(factory, ""))
    state = torch.get_rng_state()
    try:
        first = fingerprint(build_model("own", 3, 0))
    except RuntimeError as error:
        assert "takes no generator" in str(error)
    else:
        assert fingerprint(build_model("own", 3, 0)) == first
    assert torch.equal(state, torch.get_rng_state())
