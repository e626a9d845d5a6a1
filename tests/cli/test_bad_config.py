"""Bad configs and options: one line that names the key or file, status 2, nothing created.

One table. `@name` in an argument is a file or folder that `place` makes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lthrun.config.base import flatten
from lthrun.config.fields import fields_by_key
from lthrun.config.yaml_files import LARGEST
from lthrun.experiments import EXPERIMENTS
from tests.cli.refusals import check_refusal, fill_in
from tests.conftest import Outcome

CONFIGS = {name: experiment.make for name, experiment in EXPERIMENTS.items()}
LAUGHS = b"a: &a [x, x]\n" + b"".join(b"%c: &%c [*%c, *%c]\n" % (i + 1, i + 1, i, i) for i in range(97, 121))

# Files: what is in them, and what is said.
FILES: dict[str, tuple[bytes, str]] = {
    "billion laughs": (LAUGHS, "line 1, column 4 not valid YAML: anchors (&name) are not supported"),
    "alias": (b"seed: *a", "line 1, column 7 not valid YAML: aliases (*name) are not supported"),
    "anchor": (b"training: &t {epochs: 2}", "anchors (&name) are not supported"),
    "itself": (b"&a [*a]", "anchors (&name) are not supported"),
    "tag of Python": (b"seed: !!python/object/apply:os.system [id]", "tags are not supported: found tag:yaml.org,2002:python"),
    "tag of YAML": (b"seed: !!set {a}", "tags are not supported: found tag:yaml.org,2002:set"),
    "tag of its own": (b"seed: !x 1", "tags are not supported: found !x"),
    "merge key": (b"<<: {seed: 1}", "<<: unknown key"),
    "too large": (b"seed: 1 #" + b"x" * LARGEST, f"found more than {LARGEST:,} bytes"),
    "deep": (b"[" * 50_000, "more than 20 nested sections"),
    "deep by indent": (b"".join(b" " * i + b"a:\n" for i in range(60)), "more than 20 nested sections"),
    "key twice": (b"seed: 1\nseed: 2", "line 2, column 1 not valid YAML: duplicate key 'seed'"),
    "key twice in a section": (b"training:\n  epochs: 1\n  epochs: 1", "line 3, column 3 not valid YAML: duplicate key 'epochs'"),
    "number as key": (b"1: 2", "a key must be a name, found 1: put it in quotes"),
    "null as key": (b"null: 3", "a key must be a name, found null"),
    "yes as key": (b"training: {on: 3}", "a key must be a name, found on"),
    "list as key": (b"[a]: b", "a key must be a name, found a sequence"),
    "mapping as key": (b"{a: b}: c", "a key must be a name, found a mapping"),
    "empty key": (b"'': 1", "'': unknown key; known keys: experiment, seed"),
    "newline in a key": (b'"a\\nb": 1', r"a\nb: unknown key"),
    "escape in a key": (b'"\\e[2J": 1', r"\x1b[2J: unknown key"),
    "long key": (b"x" * 1000 + b": 1", "… (1,000 characters): unknown key"),
    "many keys": (b"\n".join(b"k%d: 1" % i for i in range(3000)), "k0: unknown key"),
    "UTF-16": ("seed: 1".encode("utf-16"), "cannot be read as UTF-8 text: it is UTF-16 text: save it as UTF-8"),
    "Latin-1": ("data: {dir: Bücher}".encode("latin-1"), "cannot be read as UTF-8 text: 'utf-8' codec can't decode byte 0xfc"),
    "NUL": (b"seed: 1\0", "not valid YAML: unacceptable character #x0000"),
    "bytes": (bytes(range(256)), "cannot be read as UTF-8 text"),
    "pickle": (b"\x80\x04}q\0.", "cannot be read as UTF-8 text"),
    "tab": (b"training:\n\tepochs: 2", r"line 2, column 1 not valid YAML: found character '\t'"),
    "half": (b"training: {epochs: 2", "not valid YAML: expected ',' or '}'"),
    "two documents": (b"seed: 1\n---\nseed: 2", "line 2, column 1 not valid YAML: but found another document"),
    "a list": (b"- 1", "found list; a config is a mapping of sections"),
    "a word": (b"ticket", "found str; a config is a mapping of sections"),
    "a date": (b"seed: 2020-01-01", "seed: found '2020-01-01'; must be a valid integer"),
    "no date": (b"seed: 2020-13-45", "seed: found '2020-13-45'; must be a valid integer"),
    "an octal number": (b"seed: 010", "seed: found '010'; must be a valid integer"),
    "sixties": (b"seed: 1:30", "seed: found '1:30'; must be a valid integer"),
    "400 digits": (b"seed: 1" + b"0" * 400, "… (401 characters); must be less than or equal to 9223372036854775807"),
    "5000 digits": (b"seed: 1" + b"0" * 5000, "not valid YAML: Exceeds the limit (4300 digits)"),
    "5000 hexadecimal digits": (b"seed: 0x" + b"f" * 5000, "seed: found a number of thousands of digits"),
    "400 digits of a rate": (b"training: {learning_rate: 1" + b"0" * 400 + b"}", "training.learning_rate: found 1000"),
    "long value": (b"device: " + b"x" * 10_000, "xxx… (10,002 characters); must be like auto"),
    "newline in a value": (b'device: "a\\nb"', r"device: found 'a\nb'; must be like auto"),
    "half a character": (b'model: {name: "\\ud800"}', r"model.name: found '\ud800'; must be one of"),
    "no experiment": (b"experiment: lottery", "experiment: found 'lottery'; must be one of"),
    "a list of experiments": (b"experiment: [ticket]", "experiment: found ['ticket']; must be one of"),
    "another experiment": (b"experiment: prune", "experiment: found prune; this is not a config of `lthrun ticket`"),
    "section of another": (b"experiment: baseline\npruning: {steps: 2}", "experiment: found baseline"),
    "section that is a list": (b"training: [1]", "training: found [1]; must be a section of keys"),
    "section that is null": (b"training:", "training: found None; must be a section of keys"),
    "misspelt": (b"pruning: {sparsty: 30}", "pruning.sparsty: unknown key; did you mean pruning.sparsity?"),
}  # fmt: skip
CASES: dict[str, tuple[list[str], str]] = {
    f"config: {name}": (["ticket", "--config", f"@{name}.yaml"], said) for name, (_, said) in FILES.items()
}

# Every key of every experiment, with a value of another type or out of its range; each experiment takes the next one.
WRONG: dict[type, list[str]] = {
    bool: ["1", "maybe", "null", "[true]"],
    int: ["many", "-1", "2.5", "true"],
    float: ["fast", ".nan", "-.inf", "{a: 1}"],
    str: ["5", "nonesuch", "null", "[a]"],
    list: ["7", "[{}]", "null", "{a: 1}"],
    dict: ["7", "[a]", "null", "{layer: much}"],
    type(None): ["-5", "[a]", "true", "1.5"],
}
for turn, (experiment, kind) in enumerate(CONFIGS.items()):
    left_out = {"connectivity": {"rewind.to": ""}}.get(experiment, {})
    defaults = flatten(kind().model_dump(mode="json")) | left_out
    for number, (key, value) in enumerate(defaults.items()):
        if key != "experiment":
            held = int if key.startswith("training.evaluate") else type(value)  # these two may be null
            wrong = WRONG[held][(turn + number) % 4]
            CASES[f"key: {experiment} {key}={wrong}"] = ([experiment, "--set", f"{key}={wrong}"], key)

OPTIONS: dict[str, tuple[list[str], str]] = {
    "directory as config": (["--config", "@folder"], "folder: found a directory"),
    "pipe as config": (["--config", "@pipe"], "pipe: found no regular file"),
    "device as config": (["--config", "/dev/zero"], "--config /dev/zero: found no regular file"),
    "missing config": (["--config", "nowhere.yaml"], "--config: found no file nowhere.yaml"),
    "config below a file": (["--config", "@misspelt.yaml/x"], "--config: found no file"),
    "config in a circle": (["--config", "@circle"], "--config: found no file"),
    "long name of a config": (["--config", "x" * 5000], "xxx… (5,000 characters): cannot be read: File name too long"),
    "config outside": (["--config", "../../etc/shadow\n"], r"--config: found no file ../../etc/shadow\n"),
    "negative seed": (["--seed", "-1"], "seed: found -1; must be greater than or equal to 0"),
    "huge seed": (["--seed", "9" * 60], "must be less than or equal to 9223372036854775807"),
    "seed that is none": (["--seed", "one"], "--seed: found 'one'; must be a valid integer"),
    "no epochs": (["--epochs", "0"], "training.epochs: found 0"),
    "a billion epochs": (["--epochs", "1000000000"], "training.epochs: found 1000000000; must be less than or equal to"),
    "sparsity nan": (["--sparsity", "nan"], "pruning.sparsity: found nan; must be a finite number"),
    "sparsity inf": (["--sparsity", "inf"], "pruning.sparsity: found inf; must be a finite number"),
    "no model": (["--model", "../../model"], "model.name: found '../../model'; must be one of"),
    "no device": (["--device", "cpu; rm"], "device: found 'cpu; rm'; must be like auto"),
    "set without key": (["--set", "=3"], "--set: found '=3'; must be section.key=value"),
    "set of half a list": (["--set", "pruning.types=[conv"], "--set pruning.types=[conv: line 1"),
    "set of a tag": (["--set", "seed=!!python/name:os.system"], "tags are not supported"),
    "set of laughs": (["--set", "pruning.targets=" + LAUGHS.decode().replace("\n", " ")], "anchors (&name) are not supported"),
    "set of deep": (["--set", "seed=" + "[" * 10_000], "more than 20 nested sections"),
    "set long": (["--set", "x" * 10_000], "… (10,002 characters); must be section.key=value"),
    "set below a value": (["--set", "seed.x.y=3"], "seed: found {'x': {'y': 3}}; must be a valid integer"),
    "set dots": (["--set", "..=3"], ": unknown key"),
}  # fmt: skip
for wrong in ("2", "0it", "1h", "soon", "1.5s", "9" * 20 + "s"):
    OPTIONS[f"checkpoints every {wrong}"] = (
        ["--checkpoint-every", wrong, "--dry-run"],
        f"--checkpoint-every: found {wrong}; must be like 30s, 1ep or 200it",
    )
CASES |= {f"option: {name}": (["ticket", *arguments], said) for name, (arguments, said) in OPTIONS.items()}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files and folders that the table names."""
    root = tmp_path_factory.mktemp("bad")
    for name, (content, _) in FILES.items():
        (root / f"{name}.yaml").write_bytes(content)
    (root / "folder").mkdir()
    os.mkfifo(root / "pipe")
    (root / "circle").symlink_to("circle")
    return root


@pytest.mark.parametrize("case", CASES)
def test_bad_config(case: str, lthrun: Callable[..., Any], place: Path, tmp_path: Path):
    arguments, message = CASES[case]
    check_refusal(lthrun(*fill_in(arguments, place)), message)
    assert not list(tmp_path.iterdir())


INSTALLED = [case for case in CASES if case.startswith("config: ")][:40:3] + [
    f"option: {name}" for name in list(OPTIONS)[:6]
]


@pytest.mark.parametrize("case", INSTALLED)
def test_bad_input_of_the_installed_command(case: str, place: Path, tmp_path: Path):
    arguments, message = CASES[case]
    command = [sys.executable, "-m", "lthrun", *fill_in(arguments, place)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    check_refusal(Outcome(done.returncode, done.stdout, done.stderr), message)
    assert not list(tmp_path.iterdir())


def test_the_table_has_every_key_of_every_experiment_and_200_cases():
    for experiment, kind in CONFIGS.items():
        wanted = {key for key in fields_by_key(kind) if not any(k.startswith(f"{key}.") for k in fields_by_key(kind))}
        there = {c.split()[2].partition("=")[0] for c in CASES if c.startswith(f"key: {experiment} ")}
        assert wanted - {"experiment"} == there
    assert len(CASES) >= 200 and len(INSTALLED) >= 20
