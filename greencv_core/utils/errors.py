"""The error that a person can do something about."""

from __future__ import annotations


class GreencvError(Exception):
    """Something the user can put right; the message says what, where and how.

    The command line prints the message, one line a problem, and exits with ``exit_code``.
    """

    exit_code = 1


class BadInputError(GreencvError):
    """A study, an argument or a name that cannot be used as given."""

    exit_code = 2


class UnavailableError(GreencvError):
    """A server that does not answer now, and may a little later."""


class NotEnoughDataError(ValueError):
    """The runs do not hold what an analysis needs; the message says what is missing."""
