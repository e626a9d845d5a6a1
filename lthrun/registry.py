"""Named tables: what a config can choose by name.

A choice is one function and one entry beside it. The entry declares what the function reads of the settings and the
version of what it computes; help, `lthrun list`, the JSON Schema, the reference and the keys of cached levels all
derive from it. So a level's key cannot forget a setting that its numbers depend on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

F = TypeVar("F", bound=Callable[..., Any])
E = TypeVar("E", bound="Entry")


@dataclass(frozen=True)
class Entry:
    """A named choice.

    Attributes:
        make: the function or class that is chosen.
        about: one line for people.
        uses: keys of its config section that it reads beside its name.
        version: raised when its numbers change for equal settings.
    """

    make: Any
    about: str
    uses: tuple[str, ...] = ()
    version: int = 1

    def __call__(self, *arguments: Any) -> Any:
        return self.make(*arguments)


class Table(dict[str, E]):
    """The entries that one config key can name.

    Attributes:
        name: what `lthrun list` calls the table.
        key: the config key or option that chooses from it.
        pattern, like: what names beside those of the entries must match, and an example; empty where there are none.
    """

    pattern = like = ""

    def __init__(self, name: str, key: str, entry_type: type[E]):
        super().__init__()
        self.name, self.key, self._entry_type = name, key, entry_type
        TABLES[name] = self

    def register(self, about: str, name: str | None = None, **attributes: Any) -> Callable[[F], F]:
        """A decorator that enters a function under `name`, or under its own."""

        def register(make: F) -> F:
            self.add(name or make.__name__, about, make, **attributes)
            return make

        return register

    def add(self, name: str, about: str, make: Any = None, **attributes: Any) -> None:
        """Enter a choice; one that is a word to its readers, and no function, has nothing to `make`."""
        self[name] = self._entry_type(make, about, **attributes)

    def key_facts(self, name: str, settings: BaseModel) -> dict[str, Any]:
        """What a choice contributes to a level's key: its name, its version and the settings that it uses."""
        entry = self[name]
        used = settings.model_dump(mode="json", include=set(entry.uses))
        return {"name": name, "version": entry.version, **used}


TABLES: dict[str, Table[Any]] = {}
