"""From YAML and options to a config, in one direction: defaults < file < `--set` < options.

Whatever is wrong is said in one line that names the key, what stood there and what would be right.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from lthrun.config import CONFIGS, Config
from lthrun.errors import UserError, shorten

LARGEST = 100_000  # bytes of a config; the longest that comes with lthrun has 3,000
DEEPEST = 20
SHOWN = 10


class Loader(yaml.SafeLoader):
    """Safe YAML in which 1e-3 is a number, as everybody expects (YAML 1.1 asks for 1.0e-3), 2:4 is a text
    and not 124 (as in YAML 1.1, which counts in sixties), and no key may stand twice.

    A config is a small tree of names, texts and numbers. What YAML has beyond that is refused as soon as it is
    met, since it can make a few bytes large (aliases) or something else (tags), and nothing here needs it.
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
            fault = "aliases (*name) are not read: write it out"
        elif getattr(event, "anchor", None) is not None:
            fault = "anchors (&name) are not read: leave it out"
        elif getattr(event, "tag", None) is not None:
            fault = f"tags are not read: found {shorten(event.tag)}, leave it out"
        elif self.depth > DEEPEST:
            fault = f"sections in sections, more than {DEEPEST} deep"
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
                fault = f"key {shorten(repr(key.value))} stands twice"
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


def load_config(
    source: str | Path | None = None,
    experiment: str | None = None,
    sets: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Config:
    """The config of `experiment` from a YAML file (or a shipped config's name), `section.key=value`
    settings and options by key path, the later overruling the earlier.

    Raises:
        UserError: something in it is unknown, of the wrong type, out of range, or for another experiment.
    """
    tree = {} if source is None else read(source)
    where = "" if source is None else f"{source}: "
    found = tree.setdefault("experiment", experiment or "ticket")
    if not isinstance(found, str) or found not in CONFIGS:
        raise UserError(f"{where}experiment: found {shorten(repr(found))}; must be one of {', '.join(CONFIGS)}")
    if experiment and found != experiment:
        raise UserError(
            f"{where}experiment: found {found}; this is not a config of `lthrun {experiment}`: use `lthrun {found}`"
        )
    for context in sets:
        key, equals, text = context.partition("=")
        if not equals or not key:
            raise UserError(f"--set: found {shorten(repr(context))}; must be section.key=value, e.g. training.epochs=2")
        put(tree, key.strip(), parse(text, f"--set {shorten(context)}"))
    for key, value in (options or {}).items():
        put(tree, key, value)
    if tree["experiment"] != found:
        raise UserError("--set experiment: the experiment is chosen by the command")
    kind = CONFIGS[found]
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        faults = error.errors()
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise UserError(where + "; ".join(explain(kind, e) for e in faults[:SHOWN]) + more) from None


def read(source: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file, or in the shipped config of that name."""
    path = locate(source)
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
    tree = parse(text, str(source))
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"{source}: found {type(tree).__name__}; a config is a mapping of sections")
    return tree


def shipped() -> Path:
    """The folder of the configs that come with lthrun, in a checkout and in a wheel."""
    here = Path(__file__).parents[1]
    return here / "configs" if (here / "configs").is_dir() else here.parent / "configs"


def locate(source: str | Path) -> Path:
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
    known = {p.relative_to(shipped()).with_suffix("").as_posix(): p for p in sorted(shipped().rglob("*.yaml"))}
    if name in known:
        return known[name]
    raise UserError(f"--config: found no file {shorten(str(source))}; shipped with lthrun are {', '.join(known)}")


def parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = getattr(error, "problem", None) or str(error).splitlines()[0].partition(";")[0]
        raise UserError(f"{where}:{place} not valid YAML: {what}") from None


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set the value at a dotted key path."""
    *sections, last = key.split(".")
    for section in sections:
        inner = tree.get(section)
        tree[section] = inner = dict(inner) if isinstance(inner, dict) else {}
        tree = inner
    tree[last] = value


def dump(config: Config) -> str:
    """The config as YAML that runs again as it is."""
    text: str = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    return text


def differences(config: Config) -> dict[str, Any]:
    """What sets a config apart from its experiment's defaults, by key path; where it runs is left out."""
    method = getattr(config, "supermask", None)
    plain = load_config(None, config.experiment, options={"supermask.method": method.method} if method else {})
    own, other = (flat(c.model_dump(mode="json")) for c in (config, plain))
    found = {key: value for key, value in own.items() if other.get(key) != value}
    if method and method.method != "lth":
        found["supermask.method"] = method.method
    return {key: value for key, value in found.items() if key not in ("seed", "device", "precision", "data.dir")}


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of a tree of sections by key path; a mapping of patterns is a leaf."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and not prefix:
            found |= flat(value, f"{key}.")
        else:
            found[prefix + key] = value
    return found


def key_paths(kind: type[BaseModel], prefix: str = "") -> list[str]:
    """Every key of a model, dotted."""
    paths = []
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            paths += [prefix + name, *key_paths(inner, f"{prefix}{name}.")]
        else:
            paths.append(prefix + name)
    return paths


def explain(kind: type[BaseModel], error: Any) -> str:
    """One validation error in one line: the key, what stood there, what would be right."""
    key = shorten(".".join(map(str, error["loc"])))
    if error["type"] == "extra_forbidden":
        return f"{key or repr(key)}: unknown key; {right_key(kind, key)}"
    if error["type"] == "refused":  # it names its key itself
        return f"{key}.{error['msg']}" if key else str(error["msg"])
    value = error["input"]
    found = shorten(repr(value) if isinstance(value, str) else value)
    if error["type"] in ("too_short", "tuple_type"):
        return f"{key}: found {found}; must be a list of one or more, like [a, b]"
    key = key.removesuffix(".[key]")
    message = error["msg"].replace("Input should be", "must be").replace("String should match", "must match")
    message = re.sub(r"a valid (\w+) instance|a valid dictionary or instance of \w+", "a section of keys", message)
    if error["type"] == "string_pattern_mismatch":
        message = {
            "rewind.to": "must be like 0ep, 1ep or 200it",
            "compare.rewind": "must be like 0ep, 1ep or 200it",
            "training.warmup": "must be like 0ep, 2ep or 200it",
            "device": "must be auto, cpu, cuda or cuda:N",
            "connectivity.rewind_points": "must be like 0ep, 1ep or 200it",
        }[re.sub(r"\.\d+$", "", key)]
    return f"{key}: found {found}; {message}" if key else message


def right_key(kind: type[BaseModel], key: str) -> str:
    """What was probably meant by an unknown key."""
    paths = key_paths(kind)
    section, _, name = key.rpartition(".")
    same_name = [path for path in paths if path.rpartition(".")[2] == name]
    elsewhere = [n for n, other in CONFIGS.items() if key in key_paths(other)]
    siblings = [path.rpartition(".")[2] for path in paths if path.rpartition(".")[0] == section]
    if elsewhere:
        return f"it belongs to {' and '.join(elsewhere)}"
    near = difflib.get_close_matches(name, siblings, n=1) or difflib.get_close_matches(key, paths, n=1)
    if near or same_name:
        meant = near[0] if near else same_name[0]
        return f"did you mean {meant if '.' in meant or not section else f'{section}.{meant}'}?"
    return f"known here: {', '.join(siblings)}" if siblings else "no key of that section is known"
