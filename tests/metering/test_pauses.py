"""Windows of a counter of known energy whose polls pause: the program was stopped, or starved."""

import math
import random

import numpy as np
import pytest

from greencv_core.metering.gpu import GpuRecording
from greencv_core.metering.window import EDGE_S
from tests.metering.test_late_polls import WAKE_UP_S, Card


def paused_window(clock, seed, *, pause_s, late_share):
    """Return a window's error, uncertainty and energy in J, and how long it took to settle."""
    draw = random.Random(seed)
    card = Card(draw, clock, uses_counter=True, every_refresh=False, jitter_s=4e-4)
    start_s = clock.now_s = 2 + draw.uniform(0, card.period_s)
    pause_at_s = start_s + draw.uniform(0.5, 1.0)
    end_s = pause_at_s + pause_s + draw.uniform(0.3, 1.0)
    latest = [3.5, 0.3][seed % 2]  # periods
    recording, seen_s, paused = GpuRecording(card), None, False
    while seen_s is None or not recording.is_settled(seen_s):
        if seen_s is None and clock.now_s >= end_s:
            seen_s = clock.now_s
        recording.poll()
        due_s = max(recording.next_poll_s, clock.now_s + 2e-4) + draw.expovariate(1 / WAKE_UP_S)
        if not paused and due_s >= pause_at_s:
            due_s, paused = due_s + pause_s, True
        elif draw.random() < late_share:
            due_s += draw.uniform(0.1, latest) * card.period_s
        clock.now_s = due_s if seen_s else min(due_s, max(end_s, clock.now_s))
    energy_j, uncertainty_j = recording.curve().between(start_s, seen_s)
    edges_j = math.sqrt(2) * EDGE_S * energy_j / (seen_s - start_s)
    true_j = card.energy_j(seen_s) - card.energy_j(start_s)
    error_j = energy_j - true_j
    return error_j, math.hypot(uncertainty_j, edges_j), true_j, clock.now_s - seen_s


@pytest.mark.parametrize("late_share", [0.0, 0.15, 0.5], ids=["in time", "late", "very late"])
@pytest.mark.parametrize("pause_s", [0.0, 0.4, 1.5, 5.0])
def test_after_a_pause_the_interval_holds_and_the_window_settles(clock, pause_s, late_share):
    found = [
        paused_window(clock, seed, pause_s=pause_s, late_share=late_share) for seed in range(150)
    ]
    error_j, uncertainty_j, true_j, settled_s = np.array(found).T
    off = np.abs(error_j) / uncertainty_j
    assert np.mean(off > 2) <= 0.08
    assert np.max(off) < 4.5
    assert np.max(settled_s) < 1.5
    if not late_share:  # it holds without being wide
        assert np.quantile(uncertainty_j / true_j, 0.95) < 0.006
