"""Bad input through the command line: one line that names the thing, status 2, nothing created or changed.

One table. `@name` in an argument is a file or folder that `place` makes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lthrun.config import CONFIGS
from lthrun.config.loading import LARGEST, flat, key_paths
from tests.conftest import SMALL

TINY = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
LAUGHS = b"a: &a [x, x]\n" + b"".join(b"%c: &%c [*%c, *%c]\n" % (i + 1, i + 1, i, i) for i in range(97, 121))

# Files: what is in them, and what is said.
FILES: dict[str, tuple[bytes, str]] = {
    "billion laughs": (LAUGHS, "line 1, column 4 not valid YAML: anchors (&name) are not read"),
    "alias": (b"seed: *a", "line 1, column 7 not valid YAML: aliases (*name) are not read"),
    "anchor": (b"training: &t {epochs: 2}", "anchors (&name) are not read"),
    "itself": (b"&a [*a]", "anchors (&name) are not read"),
    "tag of Python": (b"seed: !!python/object/apply:os.system [id]", "tags are not read: found tag:yaml.org,2002:python"),
    "tag of YAML": (b"seed: !!set {a}", "tags are not read: found tag:yaml.org,2002:set"),
    "tag of its own": (b"seed: !x 1", "tags are not read: found !x"),
    "merge key": (b"<<: {seed: 1}", "<<: unknown key"),
    "too large": (b"seed: 1 #" + b"x" * LARGEST, f"found more than {LARGEST:,} bytes"),
    "deep": (b"[" * 50_000, "sections in sections, more than 20 deep"),
    "deep by indent": (b"".join(b" " * i + b"a:\n" for i in range(60)), "sections in sections, more than 20 deep"),
    "key twice": (b"seed: 1\nseed: 2", "line 2, column 1 not valid YAML: key 'seed' stands twice"),
    "key twice in a section": (b"training:\n  epochs: 1\n  epochs: 1", "line 3, column 3 not valid YAML: key 'epochs'"),
    "number as key": (b"1: 2", "a key must be a name, found 1: put it in quotes"),
    "null as key": (b"null: 3", "a key must be a name, found null"),
    "yes as key": (b"training: {on: 3}", "a key must be a name, found on"),
    "list as key": (b"[a]: b", "a key must be a name, found a sequence"),
    "mapping as key": (b"{a: b}: c", "a key must be a name, found a mapping"),
    "empty key": (b"'': 1", "'': unknown key; known here"),
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
    "long value": (b"device: " + b"x" * 10_000, "xxx… (10,002 characters); must be auto"),
    "newline in a value": (b'device: "a\\nb"', r"device: found 'a\nb'; must be auto"),
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
    left_out = {"supermask": {"supermask.weights": ""}, "connectivity": {"rewind.to": ""}}.get(experiment, {})
    defaults = flat(kind().model_dump(mode="json")) | left_out
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
    "seed that is none": (["--seed", "one"], "Invalid value for '--seed'"),
    "no epochs": (["--epochs", "0"], "training.epochs: found 0"),
    "a billion epochs": (["--epochs", "1000000000"], "training.epochs: found 1000000000; must be less than or equal to"),
    "sparsity nan": (["--sparsity", "nan"], "pruning.sparsity: found nan; must be a finite number"),
    "sparsity inf": (["--sparsity", "inf"], "pruning.sparsity: found inf; must be a finite number"),
    "no model": (["--model", "../../model"], "model.name: found '../../model'; must be one of"),
    "no device": (["--device", "cpu; rm"], "device: found 'cpu; rm'; must be auto"),
    "set without key": (["--set", "=3"], "--set: found '=3'; must be section.key=value"),
    "set of half a list": (["--set", "pruning.types=[conv"], "--set pruning.types=[conv: line 1"),
    "set of a tag": (["--set", "seed=!!python/name:os.system"], "tags are not read"),
    "set of laughs": (["--set", "pruning.targets=" + LAUGHS.decode().replace("\n", " ")], "anchors (&name) are not read"),
    "set of deep": (["--set", "seed=" + "[" * 10_000], "sections in sections, more than 20 deep"),
    "set long": (["--set", "x" * 10_000], "… (10,002 characters); must be section.key=value"),
    "set below a value": (["--set", "seed.x.y=3"], "seed: found {'x': {'y': 3}}; must be a valid integer"),
    "set dots": (["--set", "..=3"], ": unknown key"),
}  # fmt: skip
CASES |= {f"option: {name}": (["ticket", *arguments], said) for name, (arguments, said) in OPTIONS.items()}

# Data folders. Of the first, each adds one bad file to a folder of twelve images; it is named.
UNREADABLE = {
    "bomb.jpg": "more than 80,000,000 pixels",
    "zero.jpg": "not an image in a format that is read: JPEG",
    "text.jpg": "not an image in a format",
    "script.jpg": "not an image in a format",
    "page.jpg": "not an image in a format",
    "cut.jpg": "OSError: ",
    "cut.png": "OSError: ",
    "pipe.jpg": "not a file",
    "device.jpg": "not a file",
    "gone.jpg": "No such file or directory",
    "circle.jpg": "Too many levels of symbolic links",
    "folder.jpg": "not a file",
    "sparse.jpg": "found 1,000,000,000,000 bytes; must be at most 500,000,000",
    "two\nlines.jpg": "not an image in a format",
    "bell \x1b[2J.jpg": "not an image in a format",
    "caf\udce9.jpg": "not an image in a format",
    "größe 猫.jpg": "not an image in a format",
}
for number, (name, why) in enumerate(UNREADABLE.items()):
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)
    said = f"1 of 13 images cannot be read: {shown}; the first: "
    CASES[f"image: {shown}"] = (["baseline", "--data-dir", f"@bad {number}", *TINY], said + "|" + why)
    CASES[f"image of a class: {shown}"] = (
        ["baseline", "--set", "data.dataset=folder", "--data-dir", f"@bad classes {number}", *TINY],
        f"1 of 13 images cannot be read: cat/{shown}; the first: |{why}",
    )


def folder(*arguments: str) -> list[str]:
    return ["baseline", "--set", "data.dataset=folder", *TINY, *arguments]


PETS = ["baseline", *TINY, "--data-dir"]
FOLDERS: dict[str, tuple[list[str], str]] = {
    "missing": ([*PETS, "nowhere"], "--data-dir nowhere: found neither nowhere/images nor"),
    "a file": ([*PETS, "@misspelt.yaml"], "misspelt.yaml: found neither"),
    "empty name": ([*PETS, ""], "data.dir: found ''; String should have at least 1 character"),
    "nobody's home": ([*PETS, "~nobody_of_that_name"], "data.dir: found ~nobody_of_that_name; Could not determine"),
    "long name": ([*PETS, "x" * 300], "cannot be read: File name too long"),
    "no images": ([*PETS, "@no images"], "holds no images"),
    "cats only": ([*PETS, "@cats"], "all 6 images are of one class, cat"),
    "one dog": ([*PETS, "@one dog"], "data.validation: found 20; there is no dog among the"),
    "nothing to validate on": ([*PETS, "@twelve", "--set", "data.validation=1"], "data.validation: found 1; there is no"),
    "nothing to train on": ([*PETS, "@twelve", "--set", "data.validation=99"], "data.validation: found 99; there is no"),
    "fewer than a batch": ([*PETS, "@twelve", "--set", "training.batch_size=64"], "training.batch_size: found 64; must be at most the 10"),
    "classes: none given": (folder(), "data.dir: found null"),
    "classes: missing": (folder("--data-dir", "nowhere"), "nowhere cannot be read: No such file or directory"),
    "classes: a file": (folder("--data-dir", "@misspelt.yaml"), "misspelt.yaml cannot be read: is a file"),
    "classes: a circle": (folder("--data-dir", "@circle"), "circle cannot be read: No such file or directory"),
    "classes: a NUL": (folder("--set", 'data.dir="a\\0b"'), r"a\x00b cannot be read: No such file or directory"),
    "classes: long": (folder("--data-dir", "x" * 300), "File name too long"),
    "classes: one": (folder("--data-dir", "@one class"), "data.dir: found one folder only, cat,"),
    "classes: empty": (folder("--data-dir", "@empty class"), "data.dir: found no images (JPEG, PNG"),
    "classes: no folders": (folder("--data-dir", "@twelve/images"), "data.dir: found no folders in"),
    "no CIFAR-10": (["baseline", "--set", "data.dataset=cifar10", "--data-dir", "@twelve"], "found no"),
    "half of CIFAR-10": (["baseline", "--set", "data.dataset=cifar10", "--data-dir", "@cifar"], "is not a complete copy of CIFAR-10"),
    "drawn, with a folder": (["baseline", "--config", "smoke/baseline", "--data-dir", "@twelve"], "--data-dir goes with data.dataset: pets"),
}  # fmt: skip
CASES |= {f"data: {name}": case for name, case in FOLDERS.items()}


def make_bad(place: Path, name: str, image: bytes) -> None:
    path = place / name
    if name == "bomb.jpg":
        Image.new("1", (20_000, 20_000)).save(path, format="PNG")
    elif name == "cut.png":
        Image.effect_noise((60, 60), 50).save(path)
        path.write_bytes(path.read_bytes()[:1000])
    elif name == "pipe.jpg":
        os.mkfifo(path)
    elif name in ("device.jpg", "gone.jpg", "circle.jpg"):
        path.symlink_to({"device.jpg": "/dev/zero", "gone.jpg": "nowhere", "circle.jpg": "circle.jpg"}[name])
    elif name == "folder.jpg":
        path.mkdir()
    elif name == "sparse.jpg":
        with path.open("wb") as file:
            file.truncate(10**12)
    else:
        starts = {
            "zero.jpg": b"",
            "cut.jpg": image[:400],
            "page.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        }
        path.write_bytes(starts.get(name, b"<script>alert(1)</script>"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """All files and folders that the table names."""
    root = tmp_path_factory.mktemp("bad")
    for name, (content, _) in FILES.items():
        (root / f"{name}.yaml").write_bytes(content)
    (root / "folder").mkdir()
    os.mkfifo(root / "pipe")
    (root / "circle").symlink_to("circle")
    drawn = sorted((images / "images").iterdir())
    cats, dogs = ([p for p in drawn if p.name[0].isupper() == cat][:6] for cat in (True, False))

    def put(folder: Path, paths: list[Path]) -> Path:
        folder.mkdir(parents=True)
        for path in paths:
            os.link(path, folder / path.name)
        return folder

    put(root / "twelve" / "images", cats + dogs)
    put(root / "cats" / "images", cats)
    put(root / "one dog" / "images", cats + dogs[:1])
    put(root / "no images" / "images", [])
    put(root / "one class" / "cat", cats)
    put(root / "empty class" / "cat", cats)
    put(root / "empty class" / "dog", [])
    (root / "cifar" / "cifar-10-batches-py").mkdir(parents=True)
    for number, name in enumerate(UNREADABLE):
        make_bad(put(root / f"bad {number}" / "images", cats + dogs), name, cats[0].read_bytes())
        if name != "folder.jpg":
            make_bad(put(root / f"bad classes {number}" / "cat", cats), name, cats[0].read_bytes())
            put(root / f"bad classes {number}" / "dog", dogs)
    return root


del CASES["image of a class: folder.jpg"]  # there a folder is a folder


def seen(*folders: Path) -> dict[str, tuple[int, int]]:
    """What lies there, and when it was changed; locks come and go."""
    found = {str(p): p.lstat() for folder in folders for p in folder.rglob("*") if not p.is_dir() and p.suffix}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found.items() if not name.endswith(".lock")}


def given(case: str, place: Path) -> list[str]:
    return [f"{place}/{a[1:]}" if a.startswith("@") else a for a in CASES[case][0]]


def check(case: str, status: int, out: str, err: str) -> None:
    """What is shown; of images, that they are being read is said before."""
    assert status == 2, out + err
    assert err.startswith("lthrun: ") and err.endswith("\n") and err.count("\n") == 1 and "Traceback" not in err
    assert err[:-1].isprintable() and len(err) < 3000
    for words in CASES[case][1].split("|"):
        assert words in err


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case: str, lthrun: Callable[..., Any], place: Path, tmp_path: Path, cache: Path):
    shutil.rmtree(cache / "stores", ignore_errors=True)
    before = seen(place, cache) if case.startswith(("image", "data")) else {}
    outcome = lthrun(*given(case, place))
    check(case, outcome.status, outcome.out, outcome.err)
    assert not list(tmp_path.iterdir())
    if before:
        after = seen(place, cache)
        assert {name: facts for name, facts in after.items() if "/stores/" not in name} == before


INSTALLED = [case for case in CASES if case.startswith("config: ")][:40:3] + [
    f"option: {name}" for name in list(OPTIONS)[:6]
]


@pytest.mark.parametrize("case", INSTALLED)
def test_bad_input_of_the_installed_command(case: str, place: Path, tmp_path: Path):
    command = [sys.executable, "-m", "lthrun", *given(case, place)]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}, capture_output=True, text=True
    )  # fmt: skip
    check(case, done.returncode, done.stdout, done.stderr)
    assert not list(tmp_path.iterdir())


def test_the_table_has_every_key_of_every_experiment_and_200_cases():
    for experiment, kind in CONFIGS.items():
        wanted = {key for key in key_paths(kind) if not any(k.startswith(f"{key}.") for k in key_paths(kind))}
        there = {c.split()[2].partition("=")[0] for c in CASES if c.startswith(f"key: {experiment} ")}
        assert wanted - {"experiment"} == there
    assert len(CASES) >= 200 and len(INSTALLED) >= 20
