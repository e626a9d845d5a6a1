"""What the user can mend, as opposed to what is our fault."""

import sys
from collections.abc import Iterable


class UserError(Exception):
    """A mistake the user can mend: shown as one line, exit status 2.

    The message names the key, option or file, what was found there, and what would be right. Names and values in
    it come from files that anybody may have written: what cannot be printed (a newline, an escape sequence for the
    terminal, half a character) is shown escaped.
    """

    def __init__(self, message: str):
        super().__init__(escape_unprintable(message))


class MissingData(UserError):
    """The data set is nowhere on this machine (and could be downloaded)."""


LONGEST = 200


def escape_unprintable(text: str) -> str:
    """The text on one line, with what would move a terminal's cursor, or worse, escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def print_error(message: str) -> None:
    """One line on stderr."""
    print(f"lthrun: {escape_unprintable(message)}", file=sys.stderr)


def shorten(found: object) -> str:
    """What was found, short enough for a message."""
    try:
        text = found if isinstance(found, str) else repr(found)
    except ValueError:  # Python writes no number of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text):,} characters)"


def list_names(names: Iterable[str]) -> str:
    """The first five names and the number of the others, for a message."""
    names = list(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
