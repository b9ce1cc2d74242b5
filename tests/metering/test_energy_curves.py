"""Energy curves against a known power."""

import numpy as np
import pytest

from greencv_core.metering.energy_curves import AveragedPowerCurve, CounterCurve, PowerCurve
from tests.support.simulated_gpu import Waveform


def times(*values):
    return np.array(values, dtype=float)


def test_a_counters_curve_finds_a_step_from_the_sum():
    # 100 W, then 300 W from 0.23 s on; refreshed every 100 ms.
    t = np.arange(0.0, 3.0, 0.1)
    true_j = np.where(t < 0.23, 100 * t, 23 + 300 * (t - 0.23))
    curve = CounterCurve(t, true_j, np.zeros(30))
    assert curve.energy_at_j(times(0.22, 0.23, 0.28)) == pytest.approx([22, 23, 38])
    assert curve.between(0.05, 0.23)[0] == pytest.approx(18)
    inside, aside = curve.between(0.23, 1.45)[1], curve.between(1.35, 2.45)[1]
    assert inside > 10 * aside


def test_a_counters_curve_stays_between_its_refreshes():
    rng = np.random.default_rng(3)
    t = np.cumsum(rng.uniform(0.02, 0.12, 200))
    e = np.cumsum(rng.uniform(0, 30, 200))
    curve = CounterCurve(t, e, np.zeros(200))
    at = rng.uniform(t[0], t[-1], 5000)
    energy_j = curve.energy_at_j(at)
    i = np.searchsorted(t, at, side="right") - 1
    assert np.all(energy_j >= e[i] - 1e-9)
    assert np.all(energy_j <= e[i + 1] + 1e-9)


def test_a_power_curve_is_the_trapezoid_with_its_ends_interpolated():
    t = np.arange(0.0, 2.0, 0.1)
    curve = PowerCurve(t, 100 + 50 * t, np.zeros(20), 0.1)
    energy_j, uncertainty_j = curve.between(0.33, 1.47)
    assert energy_j == pytest.approx(100 * 1.14 + 25 * (1.47**2 - 0.33**2))
    assert uncertainty_j < 0.01


def test_power_synchronous_with_the_sensor_has_a_large_uncertainty():
    # 0.35 s on, 0.35 s off, sampled every 0.1 s: seven samples a period, three or four of them on.
    t = np.arange(0.0, 14.0, 0.1)
    power = np.where((t + 0.02) % 0.7 < 0.35, 300.0, 60.0)
    energy_j, uncertainty_j = PowerCurve(t, power, np.zeros(140), 0.1).between(0.0, 13.9)
    true_j = 180 * 13.9
    assert abs(energy_j - true_j) > 0.05 * true_j
    assert abs(energy_j - true_j) < 1.96 * uncertainty_j
    assert uncertainty_j < 0.15 * true_j


def test_power_averaged_over_a_second_is_unfolded():
    waveform = Waveform(
        ((0.0, 50.0), (1.4, 50.0), (1.4, 290.0), (4.1, 290.0), (4.1, 50.0), (9, 50))
    )
    t = np.arange(0.0, 7.0, 0.1)
    mean = np.array([waveform.energy_j(x - 1, x) for x in t])
    curve = AveragedPowerCurve(t, mean, np.zeros(70), 0.1)
    energy_j, uncertainty_j = curve.between(1.4, 4.1)
    assert energy_j == pytest.approx(290 * 2.7, rel=0.005)
    assert uncertainty_j < 0.02 * energy_j
