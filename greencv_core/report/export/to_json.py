"""Result objects as JSON, the same bytes on every machine.

Processors and libraries of linear algebra differ in the last digits; numbers are rounded to the
digits on which they agree.
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
_SENTENCES = ("environment_sentence", "sentence", "effects_sentence", "efficiency_sentence",
            "assumptions", "diagnosis")  # fmt: skip
"""Methods of results that return sentences, in the order of the pages."""


def plain(value: Any, name: str = "", digits: int = DIGITS) -> Any:
    """Return a result as JSON values, with a number of significant digits.

    A result object becomes an object of its fields and ``sentences``, a table a list of rows, an
    unavailable result its reason, an undefined figure null. Arrays (a figure a run) are left
    out. ``name`` is the key of the value and decides whether that is a p value.
    """
    if isinstance(value, Unavailable):
        return {"unanswered": value.reason}
    if dataclasses.is_dataclass(value):
        return _result(value, digits)
    if isinstance(value, pd.DataFrame):
        return [plain(row, digits=digits) for row in value.to_dict("records")]
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
    """Return a figure rounded to the digits on which machines agree; None if undefined.

    At most twelve decimals, so that rounding errors become 0. P values have four digits and nine
    decimals, standard deviations of logarithms six decimals.
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
    sentences = [getattr(value, name)() for name in _SENTENCES if hasattr(value, name)]
    return {
        **plain(fields, digits=digits),
        **({"sentences": [text for text in sentences if text]} if sentences else {}),
    }
