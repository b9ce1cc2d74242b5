"""Results as plain JSON: words, numbers, lists and objects, the same bytes on every machine.

Processors and their libraries of linear algebra differ in the last digits of a result. What is
written is rounded to what they agree on.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from greencv_core.analysis.result import Unavailable

DIGITS = 6
_P_VALUE = re.compile(r"(^|_)p(_|$)")
_OF_LOGARITHMS = re.compile(r"_sd$")
_TELLING = ("environment_sentence", "sentence", "effects_sentence", "efficiency_sentence",
            "assumptions", "diagnosis")  # fmt: skip
"""Methods of results that say in words what was found, in the order of the pages."""


def plain(value: Any, name: str = "", digits: int = DIGITS) -> Any:
    """Return a result as JSON knows it.

    A result object becomes an object of its fields and, under ``sentences``, of what it says; a
    table becomes a list of rows; a question without an answer the reason of it. A figure that is
    not defined becomes null. Arrays, which hold a figure for each run, are left out.

    Parameters
    ----------
    name
        The key that the value stands under; tells p values from other figures.
    digits
        Significant ones of a figure; fewer where an iteration ends before it has them all.
    """
    if isinstance(value, Unavailable):
        return {"unanswered": value.reason}
    if dataclasses.is_dataclass(value):
        return _result(value, digits)
    if isinstance(value, pd.DataFrame):
        rows = value.to_dict("records")
        return [plain(row, digits=digits) for row in rows]
    if isinstance(value, Mapping):
        return {str(key): plain(part, str(key), digits) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part, name, digits) for part in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return rounded(float(value), name, digits)
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"{name}: {type(value).__name__} has no form in JSON")


def rounded(value: float, name: str = "", digits: int = DIGITS) -> float | None:
    """Return a figure to the digits that every machine computes alike; None if not defined.

    That many significant digits, and twelve decimals at most: what is nought but for an error of
    arithmetic is nought. Of p values four, and nine decimals: those that are a difference from one
    are noise beyond. The root of a variance that an iteration brought near nought has six decimals.
    """
    if not math.isfinite(value):
        return None
    decimals = 12
    if _P_VALUE.search(name):
        digits, decimals = min(digits, 4), 9
    elif _OF_LOGARITHMS.search(name):
        decimals = 6
    return round(float(f"{value:.{digits}g}"), decimals) + 0.0


def as_bytes(content: Mapping[str, Any]) -> bytes:
    """Return a JSON document: UTF-8, keys sorted, a line for each value."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1, sort_keys=True)
    return f"{text}\n".encode()


def _result(value: Any, digits: int) -> dict[str, Any]:
    fields = {
        field.name: getattr(value, field.name)
        for field in dataclasses.fields(value)
        if not isinstance(getattr(value, field.name), np.ndarray)
    }
    told = [getattr(value, name)() for name in _TELLING if hasattr(value, name)]
    return {
        **plain(fields, digits=digits),
        **({"sentences": [text for text in told if text]} if told else {}),
    }
