"""An analysis that the data cannot feed is answered by a sentence, not by a crash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from greencv_core.utils.errors import NotEnoughDataError

__all__ = ["NotEnoughDataError", "Unanswered", "attempt"]

Question = ParamSpec("Question")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Unanswered:
    """Stands in for a result; false, so that ``if result`` asks whether there is one."""

    reason: str

    def __bool__(self) -> bool:
        return False

    def sentence(self) -> str:
        """Say why there is no answer."""
        return f"No answer from these runs: {self.reason}."


def attempt(
    analysis: Callable[Question, Result], *args: Question.args, **kwargs: Question.kwargs
) -> Result | Unanswered:
    """Return the analysis' result, or why these runs cannot answer it.

    What rests on a question without an answer has none either: an argument that is
    :class:`Unanswered` is returned. Nothing but missing data is caught: any other error is a defect
    and is raised.
    """
    for argument in args:
        if isinstance(argument, Unanswered):
            return argument
    try:
        return analysis(*args, **kwargs)
    except NotEnoughDataError as error:
        return Unanswered(str(error))
