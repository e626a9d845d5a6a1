"""What every refusal has in common, and the paths in tables of bad input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.conftest import Outcome


def fill_in(arguments: Sequence[str], place: Path) -> list[str]:
    """The arguments with `@name` as a path in `place`."""
    return [f"{place}/{a[1:]}" if a.startswith("@") else a for a in arguments]


def check_refusal(outcome: Outcome, message: str) -> None:
    """Status 2 and one printable line on stderr, which has each part of `message` between `|`."""
    err = outcome.err
    assert outcome.status == 2, outcome.out + err
    assert err.startswith("lthrun: ") and err.endswith("\n") and err.count("\n") == 1 and "Traceback" not in err
    assert err[:-1].isprintable() and len(err) < 3000
    for words in message.split("|"):
        assert words in err
