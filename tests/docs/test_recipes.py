"""Every recipe of CONTRIBUTING.md, followed on a copy of the package; the result is used and linted."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPES = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("## Recipes")[2].partition("## Tests")[0]
BLOCKS = re.findall(r"^```(python|diff)\n(.*?)^```$", RECIPES, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package with all recipes followed."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "lthrun", root / "lthrun", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "configs", root / "configs")
    shutil.copy(ROOT / "pyproject.toml", root)
    for language, block in BLOCKS:
        first, _, rest = block.partition("\n")
        file = root / first.removeprefix("# ").removeprefix("--- ")
        assert file.is_relative_to(root / "lthrun") and file.parent.is_dir(), first
        if language == "diff":
            edit(file, rest.splitlines())
        else:
            before = f"{file.read_text('utf-8')}\n\n" if file.exists() else ""
            file.write_text(before + rest.lstrip("\n"), "utf-8")
    return root


def edit(file: Path, lines: list[str]) -> None:
    """Replace the lines of a diff before by those after; … stands for what is there."""
    removed, added = ("".join(f"{line[1:]}\n" for line in lines if line[0] in signs) for signs in (" -", " +"))
    pattern = "^" + re.escape(removed).replace("…", "(.*)")
    text, count = re.subn(
        pattern,
        lambda found: added.replace("…", found[1] if found.groups() else "…"),
        file.read_text("utf-8"),
        flags=re.M,
    )
    assert count == 1, f"{file.name}: the recipe changes what is not there: {removed}"
    file.write_text(text, "utf-8")


def in_copy(copy: Path, tmp_path: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(copy), "LTHRUN_CACHE": str(tmp_path / "cache"), "COLUMNS": "160"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )


def test_there_is_a_recipe_for_each_extension():
    assert re.findall(r"^### (?:An?|The) (.*)$", RECIPES, re.MULTILINE) == [
        "criterion", "schedule of sparsity", "granularity", "data set", "optimizer", "learning-rate schedule", "model",
        "arm", "experiment", "reproduction", "column of the epoch table", "figure", "executor", "setting, and an option for it",
    ]  # fmt: skip


def test_what_the_recipes_add_works(copy: Path, tmp_path: Path):
    done = in_copy(copy, tmp_path, Path(__file__).parent / "use_recipes.py")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_recipes_pass_the_linter(copy: Path, tmp_path: Path):
    for command in (["check", "--fix"], ["format"], ["check"]):  # as `make format` does, and `make lint`
        done = in_copy(copy, tmp_path, "-m", "ruff", *command, "--no-cache", copy / "lthrun")
        assert done.returncode == 0, done.stdout + done.stderr
