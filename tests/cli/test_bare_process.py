"""Processes that lack what a terminal gives: standard streams, a home directory."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lthrun
from lthrun.errors import UserError
from lthrun.storage.files import cache_dir


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_standard_stream_ends_no_command(closed: str):
    """As services, cron jobs and batch systems may start a program."""
    command = f'exec "{sys.executable}" -m lthrun config show {closed}'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("experiment: ") == (">&-" not in closed.replace("2>&-", ""))


def test_without_a_home_directory_the_variable_is_named(monkeypatch: pytest.MonkeyPatch):
    def fail(name: str) -> str:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.delenv("LTHRUN_CACHE", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", fail)
    with pytest.raises(UserError, match=r"^LTHRUN_CACHE: found nothing; this user has no home directory: set it"):
        cache_dir()


def test_no_behavior_depends_on_a_docstring_or_an_assertion():
    """Python leaves out both under PYTHONOPTIMIZE=2. Help of config keys does depend on them."""
    package = Path(lthrun.__file__).parent
    nodes = [(file, node) for file in package.rglob("*.py") for node in ast.walk(ast.parse(file.read_text("utf-8")))]
    assert not [file for file, node in nodes if isinstance(node, ast.Assert)]
    assert not [file for file, node in nodes if isinstance(node, ast.Attribute) and node.attr == "__doc__"]
