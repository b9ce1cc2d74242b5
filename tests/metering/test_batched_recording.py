"""Counters that come in batches, on a clock of the test's own, against a known truth."""

import bisect
from types import SimpleNamespace

import numpy as np
import pytest

from greencv_core.metering import counter, timed_reading
from greencv_core.metering.batched_recording import BatchedRecording
from greencv_core.metering.counter import CheckedCounter

IDLE_W, LOAD_W = 2.0, 15.0


class Machine:
    """A window of load on a machine whose counter is published in batches."""

    def __init__(self, rng, gaps_s, window_s, alternates_s):
        self.rng, self.now_s, self._alternates_s = rng, 0.0, alternates_s
        self.start_s = 10 + 5 * rng.random()
        self.end_s = self.start_s + window_s
        steps_s = rng.choice(gaps_s, int((window_s + 30) / min(gaps_s)))
        steps_s = steps_s * rng.uniform(0.97, 1.05, len(steps_s))
        self._published_s = [0.0, *np.cumsum(steps_s)]

    def true_j(self, time_s):
        active_s = min(max(time_s - self.start_s, 0.0), self.end_s - self.start_s)
        if self._alternates_s:
            times, rest_s = divmod(active_s, self._alternates_s)
            active_s = times * self._alternates_s / 2 + min(rest_s, self._alternates_s / 2)
        return IDLE_W * time_s + LOAD_W * active_s

    def read_j(self):
        batch = bisect.bisect_right(self._published_s, self.now_s) - 1
        return round(self.true_j(self._published_s[batch]), 3)

    def meter(self):
        """Return the relative error, the half-width of the 95 % interval, and the wait."""
        count = CheckedCounter(
            "counter", self.read_j, highest_w=300.0, refresh_s=3.5, stuck_after_s=5.0
        )
        recording = BatchedRecording(count, [count], 0.5)
        self.now_s, ended = self.start_s, False
        recording.poll()
        while not (ended and recording.is_settled(self.end_s)):
            due_s = recording.next_poll_s + self.rng.uniform(0, 0.02)
            if not ended and due_s >= self.end_s:
                due_s, ended = self.end_s, True
            self.now_s = due_s + 1e-4
            recording.poll()
        energy_j, uncertainty_j = recording.curve().between(self.start_s, self.end_s)
        true_j = self.true_j(self.end_s) - self.true_j(self.start_s)
        waited_s = self.now_s - self.end_s
        return energy_j / true_j - 1, 1.96 * uncertainty_j / true_j, waited_s


@pytest.fixture
def metered(monkeypatch):
    """Return a function that meters some windows: errors, half-widths and waits."""

    def meter(gaps_s, window_s, alternates_s=None, windows=50):
        rng, machine = np.random.default_rng(0), None
        clock = SimpleNamespace(monotonic=lambda: machine.now_s)
        monkeypatch.setattr(timed_reading, "time", clock)
        monkeypatch.setattr(counter, "time", clock)
        told = []
        for _ in range(windows):
            machine = Machine(rng, gaps_s, window_s, alternates_s)
            told.append(machine.meter())
        return np.array(told).T

    return meter


@pytest.mark.parametrize("window_s", [1.0, 3.0, 5.0, 20.0])
@pytest.mark.parametrize("alternates_s", [None, 1.7])
@pytest.mark.parametrize("gaps_s", [[2.1], [0.75, 1.3, 0.46, 1.69], [0.7]])
def test_the_interval_holds(metered, gaps_s, window_s, alternates_s):
    errors, half_widths, waits_s = metered(gaps_s, window_s, alternates_s)
    assert np.mean(np.abs(errors) <= half_widths) >= 0.9
    assert waits_s.max() < 5.0


@pytest.mark.parametrize(("window_s", "error"), [(5.0, 0.05), (20.0, 0.01)])
def test_windows_of_some_batches_are_measured_well(metered, window_s, error):
    errors, half_widths, _ = metered([2.1], window_s)
    assert np.abs(errors).max() < error
    assert half_widths.max() < 1.5 * 4 / window_s


def test_a_counter_that_is_published_at_each_read_is_not_taken_for_batches(metered):
    errors, half_widths, waits_s = metered([0.001], 1.0, windows=20)
    assert np.abs(errors).max() < 0.003
    assert half_widths.max() < 0.01
    assert waits_s.max() < 0.001
