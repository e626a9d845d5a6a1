"""The table of models, by name: those of lthrun, and a user's own by its place, `package.module:factory`."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lthrun.errors import UserError
from lthrun.registry import Entry, Table

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ModelEntry(Entry):
    """`make(classes, channels, image_size)` returns the model with random weights, drawn by torch.

    Input is float32 [batch, channels, image_size, image_size], of at least `smallest` pixels a side; output is the
    logits [batch, classes].
    """

    smallest: int = 16


class ModelTable(Table[ModelEntry]):
    """The entries, and any name that is the place of a factory in a module that can be imported."""

    pattern, like = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$", "package.module:factory"

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and re.match(self.pattern, name) is not None)

    def __missing__(self, name: str) -> ModelEntry:
        if name not in self:
            raise KeyError(name)
        # Levels are named by their entry's version: another source has other levels.
        return ModelEntry(partial(make_own, name), f"{name}, a model of your own", version=hash_source(name))


MODELS = ModelTable("models", "model.name", ModelEntry)


def make_own(place: str, classes: int, channels: int, image_size: int) -> nn.Module:
    """The model that a user's factory returns.

    Raises:
        UserError: there is no such factory, it takes other arguments, or it returns something else.
    """
    from torch import nn

    factory = load_factory(place)
    try:
        inspect.signature(factory).bind(classes, channels, image_size)
    except TypeError as error:
        raise UserError(f"model.name: found {place}; it must take (classes, channels, image_size): {error}") from None
    model = factory(classes, channels, image_size)
    if not isinstance(model, nn.Module):
        raise UserError(f"model.name: found {place}; it must return a torch.nn.Module, not {type(model).__name__}")
    return model


def load_factory(place: str) -> Callable[..., Any]:
    """The function or class at `package.module:factory`; modules in the working directory can be imported."""
    name, _, path = place.partition(":")
    find_module(place)
    try:
        found: Callable[..., Any] = pkgutil.resolve_name(place)
    except ImportError as error:
        raise UserError(f"model.name: found {place}; the module {name} cannot be imported: {error}") from None
    except AttributeError:
        raise UserError(f"model.name: found {place}; the module {name} has no {path}") from None
    if not callable(found):
        raise UserError(f"model.name: found {place}; it must be a function or a class")
    return found


def find_module(place: str) -> Path | None:
    """The file of the module of a place, without importing it; None of a module that has none, as in a notebook."""
    name = place.partition(":")[0]
    if name in sys.modules:
        file = getattr(sys.modules[name], "__file__", None)
        return Path(file) if file else None
    if not {"", str(Path.cwd())} & set(sys.path):
        sys.path.insert(0, str(Path.cwd()))
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError) as error:
        raise UserError(f"model.name: found {place}; the module {name} cannot be imported: {error}") from None
    if spec is None:
        raise UserError(f"model.name: found {place}; there is no module {name} in {Path.cwd()} or the environment")
    return Path(spec.origin) if spec.origin and spec.has_location else None


def hash_source(place: str) -> int:
    """A number for the source of a user's model: of its module's file, or where there is none of the factory.

    Raises:
        UserError: the source cannot be read.
    """
    try:
        file = find_module(place)
        source = file.read_bytes() if file else inspect.getsource(load_factory(place)).encode()
    except (OSError, TypeError) as error:
        raise UserError(f"model.name: found {place}; its source cannot be read: {error}") from None
    return int.from_bytes(hashlib.sha256(source).digest()[:6], "big")
