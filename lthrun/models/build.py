"""How a model is initialized: from the seed alone, on the CPU for every device.

PyTorch's modules draw their weights from the process's global generator, which other threads draw from as well, and
take their type and device from global settings. So a model is built under a dispatch mode, which is a thread's own: it
passes a private generator to every random operation, and float32 to every operation that would take the default type.
The numbers are those that the global generator would give under the same seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lthrun.models.table import MODELS
from lthrun.rng import make_generator

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.utils._python_dispatch import TorchDispatchMode

FLOAT_FACTORIES = {f"aten::{name}" for name in "empty zeros ones full eye rand randn normal linspace logspace".split()}
"""They create tensors of the default type."""


def build_model(name: str, classes: int, seed: int, *draw: int, channels: int = 3, image_size: int = 64) -> nn.Module:
    """The model `name` on the CPU in float32, initialized from `seed`; global state neither matters nor changes.

    Another `draw` of the same seed gives other weights.
    """
    import torch

    generator = make_generator(seed, "init", *draw)
    with torch.inference_mode(False), torch.enable_grad(), torch.device("cpu"), private_generator(generator):
        model: nn.Module = MODELS[name](classes, channels, image_size)
        return model if torch.get_default_dtype() == torch.float32 else model.float()


def build_meta_model(name: str, classes: int, channels: int, image_size: int) -> nn.Module:
    """The model without its numbers, on PyTorch's meta device: for names, shapes and sizes."""
    import torch

    with torch.device("meta"):
        model: nn.Module = MODELS[name](classes, channels, image_size)
        return model


def private_generator(generator: torch.Generator) -> TorchDispatchMode:
    """A context in which this thread draws from `generator` alone, and creates float32 by default."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class PrivateGenerator(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(
            self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            kwargs = dict(kwargs or {})
            if torch.Tag.nondeterministic_seeded in func.tags:
                func, kwargs["generator"] = with_generator(func), kwargs.get("generator") or generator
            is_integer_fill = func.name() == "aten::full" and not isinstance(args[1], float)
            if func.name().partition(".")[0] in FLOAT_FACTORIES and kwargs.get("dtype") is None and not is_integer_fill:
                kwargs["dtype"] = torch.float32
            return func(*args, **kwargs)

    return PrivateGenerator()  # type: ignore[no-untyped-call]


def with_generator(func: Any) -> Callable[..., Any]:
    """The form of a random operation that takes a generator: `rand.default` has none, `rand.generator` does."""
    overloads = {name: getattr(func.overloadpacket, name) for name in func.overloadpacket.overloads()}
    name = func._overloadname
    for overload in (func, overloads.get(f"{name}_generator"), overloads.get("generator")):
        if overload and any(argument.name == "generator" for argument in overload._schema.arguments):
            found: Callable[..., Any] = overload
            return found
    raise RuntimeError(f"{func.name()} takes no generator, so that weights drawn with it would not be reproducible")
