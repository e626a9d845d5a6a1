"""What the user can mend, as opposed to what is our fault."""


class UserError(Exception):
    """A mistake the user can mend: shown as one line, exit status 2.

    The message names the key, option or file, what was found there, and what would be right.
    """


class MissingData(UserError):
    """The data set is nowhere on this machine (and could be downloaded)."""
