"""Error rates of all tests, and results that the data do not allow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from greencv_core.utils.errors import NotEnoughDataError

__all__ = ["ALPHA", "CONFIDENCE", "NotEnoughDataError", "Unavailable", "Values", "attempt"]

ALPHA = 0.05
"""Significance level of every test."""
CONFIDENCE = 0.95
"""Coverage of every interval."""

Values = NDArray[np.float64]
Question = ParamSpec("Question")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Unavailable:
    """Reason why a result is not available; false as a condition."""

    reason: str

    def __bool__(self) -> bool:
        return False

    def sentence(self) -> str:
        """Describe why there is no answer."""
        return f"No answer from these runs: {self.reason}."


def attempt(
    analysis: Callable[Question, Result], *args: Question.args, **kwargs: Question.kwargs
) -> Result | Unavailable:
    """Return the result of an analysis, or why it is unavailable.

    An argument that is :class:`Unavailable` is returned as the result. Only
    :class:`NotEnoughDataError` is caught: any other error is a defect.
    """
    for argument in args:
        if isinstance(argument, Unavailable):
            return argument
    try:
        return analysis(*args, **kwargs)
    except NotEnoughDataError as error:
        return Unavailable(str(error))
