"""Readings of a log that are not those of one device, one after the other."""

from __future__ import annotations

import numpy as np

from greencv_core.estimation.trajectory import Floats
from greencv_core.utils.text import duration

_GAP_S = 60.0
"""A pause between readings that is always accepted."""
_GAP_INTERVALS = 10
"""Usual intervals up to which a longer pause is accepted."""
_SHORT = 0.2
"""Share of a usual interval below which two readings look like those of two GPUs."""
_SHORT_SHARE = 0.2
"""Share of such short intervals in a log that is not one GPU's."""
_LARGEST_POWER_W = 2000.0
_ADVICE = "log again with --query-gpu=timestamp,index,name,power.draw"

Found = tuple[int, str]
"""Index of a reading and what is wrong with it."""


def find_clock_set_back(time_s: Floats) -> list[Found]:
    """Return the first reading whose time is before that of the reading before."""
    return _find_falls(np.diff(time_s))


def find_wrong_readings(time_s: Floats, power_w: Floats, *, identified: bool) -> list[Found]:
    """Return the readings that make an integral of the power wrong.

    Parameters
    ----------
    time_s, power_w
        Readings of one GPU, in the order of the log.
    identified
        Whether the log says which GPU each reading is of, by more than its model's name.
    """
    above = np.flatnonzero((power_w > _LARGEST_POWER_W) | (power_w < 0))
    found = [(int(place), f"a power of {power_w[place]:g} W cannot be") for place in above]
    steps = np.diff(time_s)
    if not len(steps) or _is_even(steps):
        return found
    return found + (
        _find_falls(steps) or _find_gaps(steps) or ([] if identified else _find_second_gpu(steps))
    )


def _is_even(steps: Floats) -> bool:
    """Return whether no interval is so long or so short that the checks below could object.

    Most logs are, and an extreme is found faster than a quantile.
    """
    longest = steps.max()
    return bool(longest <= _GAP_S and 0 < _SHORT * longest <= steps.min())


def _find_falls(steps: Floats) -> list[Found]:
    falls = np.flatnonzero(steps < 0)
    if not len(falls):
        return []
    back = duration(-steps[falls[0]])
    text = f"the time is {back} before that of the line before (a clock set back, or two logs "
    return [(int(falls[0]) + 1, text + "in one); split the log")]


def _find_gaps(steps: Floats) -> list[Found]:
    usual_s = float(np.median(steps))
    return [
        (int(place) + 1,
         f"no power for {duration(steps[place])} before this line, where {usual_s:g} s is usual "
         "(two trainings, or a stopped logger); split the log")
        for place in np.flatnonzero(steps > max(_GAP_S, _GAP_INTERVALS * usual_s))
    ]  # fmt: skip


def _find_second_gpu(steps: Floats) -> list[Found]:
    short = np.flatnonzero(steps < _SHORT * float(np.quantile(steps, 0.9)))
    repeated = np.flatnonzero(steps == 0)
    if not len(repeated) and len(short) <= _SHORT_SHARE * len(steps):
        return []
    place = int(repeated[0] if len(repeated) else short[0])
    text = f"a second reading after {steps[place]:g} s, perhaps of another GPU of this name"
    return [(place + 1, f"{text}; {_ADVICE}")]
