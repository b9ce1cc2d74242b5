"""Recordings of hours: bounded memory, quick answers, and no joule lost."""

import itertools
import time
import tracemalloc

import pytest

from greencv_core.metering.count_recording import CountRecording
from greencv_core.metering.counter import CheckedCounter
from greencv_core.metering.gpu import GpuRecording, GpuState
from greencv_core.metering.gpu_summary import GpuStates
from greencv_core.metering.thinning import MOST_READINGS, kept_after_thinning

DAY_S, HOUR_S = 86_400.0, 3_600.0
EDGES_S = (0.0, 1_000.0, 2_215.0, 3_000.0)
REFRESH_S = 0.1


def true_energy_j(time_s):
    """Return the energy of 200 W, and of 100 W more in the second half of each minute."""
    minutes, rest_s = divmod(time_s, 60.0)
    return 200 * time_s + 100 * (30 * minutes + max(0.0, rest_s - 30))


def true_power_w(time_s):
    return 300.0 if time_s % 60 >= 30 else 200.0


class Card:
    """A card whose sensor looks every 100 ms."""

    component = "gpu"
    uuid = name = "a card"
    description = "a card"
    provenance = "measured"
    relative_uncertainty = 0.0
    may_hang = False
    has_power = True
    averaged = False
    power_limit_w = 400.0
    cycle = None

    def __init__(self, clock, *, uses_counter, every_refresh):
        self._clock = clock
        self.uses_counter, self.every_refresh = uses_counter, every_refresh

    def read(self):
        refreshed_s = int(self._clock.now_s / REFRESH_S + 1e-6) * REFRESH_S
        # A sensor is never quite the same twice.
        noise_w = 0.1 * (int(refreshed_s / REFRESH_S) % 7)
        tells_energy = self.uses_counter
        return true_energy_j(refreshed_s) if tells_energy else true_power_w(refreshed_s) + noise_w

    def power_w(self):
        return true_power_w(self._clock.now_s)

    instant_power_w = power_w


def record(clock, recording, step_s, until_s):
    """Poll as the meter's thread does, and at the edges; return the memory it grew by."""
    edges = sorted(EDGES_S)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    while clock.now_s < until_s:
        recording.poll()
        if edges and clock.now_s >= edges[0]:
            edges.pop(0)
        seen = [edge for edge in EDGES_S if edge <= clock.now_s]
        recording.thin(seen)
        due_s = max(recording.next_poll_s, clock.now_s + step_s)
        clock.now_s = min([due_s, *edges[:1]])
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return after - before


def check(recording, grown_bytes, until_s):
    assert grown_bytes < 12 * 2**20
    start = time.perf_counter()
    curve = recording.curve()
    for start_s, end_s in [*itertools.pairwise(EDGES_S), (0.0, until_s - 5)]:
        energy_j, uncertainty_j = curve.between(start_s, end_s)
        true_j = true_energy_j(end_s) - true_energy_j(start_s)
        assert energy_j == pytest.approx(true_j, rel=0.003)
        assert uncertainty_j < 0.02 * true_j
    assert time.perf_counter() - start < 1


def test_a_live_counter(clock):
    counter = CheckedCounter(
        "a counter", lambda: true_energy_j(clock.now_s), highest_w=400, refresh_s=0.01,
        stuck_after_s=1,
    )  # fmt: skip
    recording = CountRecording([counter], poll_period_s=0.5, refresh_s=0.001)
    check(recording, record(clock, recording, 0.5, DAY_S), DAY_S)


@pytest.mark.slow
@pytest.mark.parametrize("every_refresh", [False, True], ids=["counter", "every refresh"])
def test_a_card_with_a_counter(clock, every_refresh):
    recording = GpuRecording(Card(clock, uses_counter=True, every_refresh=every_refresh))
    check(recording, record(clock, recording, 0.0005, HOUR_S), HOUR_S)


@pytest.mark.slow
def test_a_card_without_a_counter(clock):
    recording = GpuRecording(Card(clock, uses_counter=False, every_refresh=True))
    check(recording, record(clock, recording, 0.0005, HOUR_S), HOUR_S)


def test_states_of_a_card_do_not_grow():
    states = GpuStates()
    for second in range(10_000):
        states.add(GpuState(utilization_pct=50.0 + second % 2, processes=(second,)))
    assert states.summary().utilization_pct == pytest.approx(50.5)
    assert states.count == 10_000
    assert len(states._processes) <= 1000


def test_readings_near_edges_and_at_both_ends_are_kept():
    times_s = [0.5 * i for i in range(MOST_READINGS)]
    kept = kept_after_thinning(times_s, [2_000.0, 5_000.0])
    assert len(kept) == pytest.approx(MOST_READINGS / 2, rel=0.02)
    for edge_s in (2_000.0, 5_000.0):
        near = [i for i in kept if abs(times_s[i] - edge_s) < 4]
        assert len(near) == 15
    assert kept[:50] == list(range(50))
    assert kept[-1] == MOST_READINGS - 1
    assert kept_after_thinning(times_s[:-1], []) is None
