"""The tracker of refreshes against counters of known refresh times."""

import time

import numpy as np
import pytest

from greencv_core.metering.refresh_cycle import RefreshCycle
from greencv_core.metering.refresh_tracker import RefreshTracker

pytestmark = pytest.mark.realtime


def test_the_cycle_and_the_times_of_refreshes_are_found():
    period_s = 0.05

    def counter():
        return float(time.monotonic() // period_s)

    tracker = RefreshTracker(counter)
    polls = 0
    until_s = time.monotonic() + 2
    while time.monotonic() < until_s:
        tracker.poll()
        polls += 1
        time.sleep(max(0.0, tracker.next_poll_s - time.monotonic()))
    assert tracker.cycle is not None
    assert tracker.cycle.period_s == pytest.approx(period_s, rel=0.01)
    off_s = [abs(r.time_s - r.value * period_s) for r in tracker.timeline()]
    assert np.median(off_s) < 0.004
    assert polls < 200


@pytest.mark.parametrize("late_s", [-0.003, 0.003])
@pytest.mark.parametrize("start_offset_s", [-0.001, -0.0003, 0.001])
def test_a_first_poll_at_a_refresh_counts_none_twice(late_s, start_offset_s):
    period_s = 0.1

    def counter():
        return float(time.monotonic() // period_s)

    due_s = (time.monotonic() // period_s + 2) * period_s
    tracker = RefreshTracker(
        counter, RefreshCycle(due_s + late_s - 10 * period_s, 1e-3, period_s, 1e-4)
    )
    time.sleep(due_s + start_offset_s - time.monotonic() - 0.003)
    while time.monotonic() < due_s + start_offset_s:  # sleep would end too late for it
        pass
    polls_s = []
    while time.monotonic() < due_s + 1.5:
        tracker.poll()
        polls_s.append(time.monotonic())
        time.sleep(max(0.0, tracker.next_poll_s - time.monotonic()))
    off_s = [abs(r.time_s - r.value * period_s) for r in tracker.timeline()]
    assert np.max(off_s) < period_s / 3
    assert np.median(off_s) < 0.004
    # A known cycle needs hardly more than one poll per refresh.
    assert sum(at_s > due_s + 0.5 for at_s in polls_s) < 25


def test_a_value_that_changes_at_every_poll_is_continuous():
    tracker = RefreshTracker(time.monotonic)
    for _ in range(30):
        tracker.poll()
        time.sleep(0.001)
    assert tracker.continuous
