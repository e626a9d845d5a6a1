"""YAML files of configs: which one is meant, and what of YAML is read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from lthrun.errors import UserError, shorten

LARGEST = 100_000  # bytes of a config; the longest that comes with lthrun has 3,000
DEEPEST = 20


class Loader(yaml.SafeLoader):
    """Safe YAML in which 1e-3 is a number (YAML 1.1 asks for 1.0e-3), 2:4 is a string and not 124 (YAML 1.1 counts in
    sixties), and duplicate keys are errors.

    A config is a small tree of names, strings and numbers. What YAML has beyond that is refused: aliases can make a few
    bytes large, tags can make objects, and no config needs either.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":bool", ":null"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        fault = ""
        if isinstance(event, yaml.AliasEvent):
            fault = "aliases (*name) are not supported: write it out"
        elif getattr(event, "anchor", None) is not None:
            fault = "anchors (&name) are not supported: leave it out"
        elif getattr(event, "tag", None) is not None:
            fault = f"tags are not supported: found {shorten(event.tag)}, leave it out"
        elif self.depth > DEEPEST:
            fault = f"more than {DEEPEST} nested sections"
        if fault:
            raise yaml.composer.ComposerError(None, None, fault, event.start_mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            fault = ""
            if not isinstance(key, yaml.ScalarNode):
                fault = f"a key must be a name, found a {key.id}"
            elif not key.tag.endswith(":str"):
                fault = f"a key must be a name, found {shorten(key.value)}: put it in quotes"
            elif key.value in seen:
                fault = f"duplicate key {shorten(repr(key.value))}"
            if fault:
                raise yaml.constructor.ConstructorError(None, None, fault, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


NUMBERS = {
    "int": r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)",
    "float": r"[-+]?([0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.[0-9]+([eE][-+]?[0-9]+)?)"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}
for kind, pattern in NUMBERS.items():
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(f"^(?:{pattern})$"), list("-+0123456789."))


def read_yaml(source: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file, or in the shipped config of that name."""
    path = locate_config(source)
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise UserError(f"{source}: found more than {LARGEST:,} bytes; a config is a short text, of at most that")
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        utf16 = isinstance(error, UnicodeDecodeError) and error.object[:2] in (b"\xff\xfe", b"\xfe\xff")
        why = "it is UTF-16 text: save it as UTF-8" if utf16 else getattr(error, "strerror", None) or error
        raise UserError(f"{source}: cannot be read as UTF-8 text: {why}") from None
    tree = parse_yaml(text, str(source))
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"{source}: found {type(tree).__name__}; a config is a mapping of sections")
    return tree


def shipped_configs() -> Path:
    """The folder of the configs that come with lthrun, in a checkout and in a wheel."""
    here = Path(__file__).parents[1]
    return here / "configs" if (here / "configs").is_dir() else here.parent / "configs"


def locate_config(source: str | Path) -> Path:
    """An existing file, or a shipped config: `ticket`, `smoke/ticket` or `configs/smoke/ticket.yaml`."""
    path = Path(source)
    try:
        if path.is_file():
            return path
        if path.exists() and str(source):
            raise UserError(f"--config {source}: found {'a directory' if path.is_dir() else 'no regular file'}")
    except OSError as error:
        raise UserError(f"--config {shorten(str(source))}: cannot be read: {error.strerror}") from None
    name = str(source).removeprefix("configs/").removesuffix(".yaml")
    known = {
        p.relative_to(shipped_configs()).with_suffix("").as_posix(): p
        for p in sorted(shipped_configs().rglob("*.yaml"))
    }
    if name in known:
        return known[name]
    raise UserError(f"--config: found no file {shorten(str(source))}; shipped with lthrun are {', '.join(known)}")


def parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = getattr(error, "problem", None) or str(error).splitlines()[0].partition(";")[0]
        raise UserError(f"{where}:{place} not valid YAML: {what}") from None
