"""What is shown of a question without an answer: nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar, cast

from greencv_core.analysis import Unavailable

Shown = TypeVar("Shown")
Value = TypeVar("Value")
Rest = ParamSpec("Rest")


def if_answered(
    show: Callable[Concatenate[Value, Rest], Shown],
) -> Callable[Concatenate[Value | Unavailable, Rest], Shown | None]:
    """Make a function take a question without an answer as well, and then return None."""

    @functools.wraps(show)
    def either(value: Value | Unavailable, *args: Rest.args, **kwargs: Rest.kwargs) -> Shown | None:
        return None if isinstance(value, Unavailable) else show(value, *args, **kwargs)

    # The type of what wraps() returns has lost the way that arguments are passed.
    return cast("Callable[Concatenate[Value | Unavailable, Rest], Shown | None]", either)
