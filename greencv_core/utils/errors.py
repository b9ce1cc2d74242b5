"""Errors that a user can correct."""

from __future__ import annotations


class GreencvError(Exception):
    """A problem that the user can correct; the message has what, where and what to do.

    The command line prints it, one line a problem, and exits with ``exit_code``.
    """

    exit_code = 1


class BadInputError(GreencvError):
    """A study, an argument or a name that cannot be used as given."""

    exit_code = 2


class UnavailableError(GreencvError):
    """A server that does not respond now, and may later."""


def check_type(parameter: str, value: object, kinds: tuple[type, ...], expected: str) -> None:
    """Raise :class:`BadInputError` for a parameter of another type, such as Papermill may give.

    True and False are no numbers here.
    """
    if (type(value) is bool and bool not in kinds) or not isinstance(value, kinds):
        hint = " (Papermill passes text with -r instead of -p)" if str in kinds else ""
        raise BadInputError(f"{parameter}: {value!r} is not {expected}{hint}")


class NotEnoughDataError(ValueError):
    """The runs are not enough for an analysis; the message names what is missing."""
