"""Processes that lack what a terminal gives: standard streams, a home directory."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
