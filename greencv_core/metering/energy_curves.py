"""Energy over time from a meter's refreshes, with its uncertainty.

A curve gives the energy between any two times, so windows may nest and overlap at no cost.
Uncertainties are standard uncertainties (one standard deviation), after the *Guide to the
expression of uncertainty in measurement* (JCGM 100:2008): a quantity known to lie within an
interval of width w has w / sqrt(12).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from greencv_core.metering.refresh_cycle import Refresh

Floats = npt.NDArray[np.float64]

UNIFORM = 1 / math.sqrt(12)
"""Standard uncertainty of a quantity within an interval, as a share of its width."""
COUNTER_RESOLUTION_J = 1e-3
AVERAGING_S = 1.0  # seconds over which NVML's averaged power is the mean
DENSE_JUMPS = 10
"""Refreshes per jump of the power below which the jumps may be synchronous with the refreshes."""
FEW_JUMPS = 3  # number of jumps below which their period cannot be estimated
RESTLESS_REACH = 4  # intervals to either side from which restlessness is estimated
RESTLESS_QUANTILE = 0.2
UNFOLDED_S = 10
"""Seconds near each edge that are unfolded; further unfolding would accumulate errors."""
RESAMPLES = 10  # largest number of groups of the jackknife


class EnergyCurve(Protocol):
    """Energy as a function of time."""

    def energy_at_j(self, time_s: Floats) -> Floats:
        """Return the energy until each time, from an arbitrary zero."""

    def between(self, start_s: float, end_s: float) -> tuple[float, float]:
        """Return the energy between two times and its standard uncertainty, both in J."""


class CounterCurve:
    """Energy from a counter, known at its refreshes.

    Between two refreshes only the sum is known. If the mean power of the interval is between the
    powers before and after it, the power is assumed to step from one to the other at the instant
    that fits the sum; otherwise to be constant. If only one side is known, the work is assumed to
    begin or end at the window's edge.

    Without ``steps``, the power of each interval is its mean. After a single refresh the power is
    assumed to be 0.
    """

    def __init__(
        self,
        time_s: Floats,
        energy_j: Floats,
        time_uncertainty_s: Floats,
        power_before_w: float | None = None,
        *,
        steps: bool = True,
    ) -> None:
        keep = np.concatenate([[True], np.diff(time_s) > 0])
        self._t, self._e, self._u = time_s[keep], energy_j[keep], time_uncertainty_s[keep]
        if len(self._t) == 1:
            self._t = np.append(self._t, self._t + 1e-9)
            self._e, self._u = np.append(self._e, self._e), np.append(self._u, self._u)
        self._steps = steps
        self._p = np.diff(self._e) / np.diff(self._t)
        before = math.nan if power_before_w is None else power_before_w
        self._before = np.concatenate([[before], self._p[:-1]])
        self._after = np.concatenate([self._p[1:], [math.nan]])
        self._restless_w = _restlessness(self._p) if steps else self._p

    def energy_at_j(self, time_s: Floats) -> Floats:
        """Return the energy until each time; beyond the refreshes the nearest power continues."""
        return self._energy_and_uncertainty_j(time_s)[0]

    def between(self, start_s: float, end_s: float) -> tuple[float, float]:
        """Return the energy between two times and its standard uncertainty, both in J."""
        times = np.array([start_s, end_s])
        (start_j, end_j), uncertainties_j = self._energy_and_uncertainty_j(times)
        resolution_j = COUNTER_RESOLUTION_J * UNIFORM
        return float(end_j - start_j), math.hypot(*uncertainties_j, resolution_j)

    def _energy_and_uncertainty_j(self, time_s: Floats) -> tuple[Floats, Floats]:
        i = np.clip(np.searchsorted(self._t, time_s, side="right") - 1, 0, len(self._p) - 1)
        p, first_j = self._p[i], self._e[i]
        width_s, since_s = self._t[i + 1] - self._t[i], time_s - self._t[i]
        share = np.clip(since_s / width_s, 0, 1)
        energy = first_j + p * since_s
        shape_j = np.zeros_like(energy)
        if self._steps:
            stepped, stepped_u = self._with_steps(i, since_s, width_s, energy)
            inside = (since_s >= 0) & (since_s <= width_s)
            energy, shape_j = np.where(inside, stepped, energy), np.where(inside, stepped_u, 0.0)
        # Power over three intervals, as two adjacent refreshes may be too close to give it.
        left, right = np.clip(i - 1, 0, None), np.clip(i + 2, None, len(self._t) - 1)
        around_w = (self._e[right] - self._e[left]) / (self._t[right] - self._t[left])
        timing_j = around_w * np.hypot((1 - share) * self._u[i], share * self._u[i + 1])
        beyond_s = np.fmax(-since_s, since_s - width_s).clip(min=0.0)
        return energy, np.sqrt(shape_j**2 + timing_j**2 + (p * beyond_s) ** 2)

    def _with_steps(
        self, i: npt.NDArray[np.intp], since_s: Floats, width_s: Floats, constant: Floats
    ) -> tuple[Floats, Floats]:
        """Return the energy within intervals ``i``, and its uncertainty from their shape."""
        p, before, after = self._p[i], self._before[i], self._after[i]
        first_j, last_j = self._e[i], self._e[i + 1]
        forward = first_j + before * since_s
        backward = last_j - after * (width_s - since_s)
        rises, falls = (before < p) & (p < after), (before > p) & (p > after)
        step = np.where(rises, np.fmax(forward, backward), np.fmin(forward, backward))
        one_sided = np.isnan(before) ^ np.isnan(after)
        energy = np.where(
            rises | falls,
            step,
            np.where(one_sided, np.where(np.isnan(before), backward, forward), constant),
        )
        energy = np.clip(energy, first_j, last_j)
        # A burst within an interval is at least its difference from its neighbours; and if the
        # intervals around keep changing, the power within this one may change as well.
        excess_w = np.nan_to_num(np.fmin(np.abs(p - before), np.abs(p - after)))
        share = since_s / width_s
        spread_s = width_s * np.sqrt(np.clip(share * (1 - share), 0, None))
        other_j = np.abs(energy - constant)
        shape_j = np.where(
            rises | falls,
            other_j / math.sqrt(3),
            np.where(one_sided, other_j, excess_w * spread_s),
        )
        restless_j = self._restless_w[i] * spread_s
        alone_j = np.where(np.isnan(before) & np.isnan(after), (last_j - first_j) * UNIFORM, 0.0)
        return energy, np.fmin(np.hypot(np.hypot(shape_j, restless_j), alone_j), last_j - first_j)


def _restlessness(power_w: Floats) -> Floats:
    """Return how much the power fluctuates from interval to interval around each interval.

    It is a low quantile of the second differences nearby: 0 around a single step, but not for a
    load that alternates faster than the meter is refreshed.
    """
    padded = np.pad(power_w, 1, mode="edge")
    bends = np.abs(np.diff(padded, 2))
    reach = min(RESTLESS_REACH, (len(bends) - 1) // 2)
    if reach < 2:
        return np.zeros_like(power_w)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(bends, reach, mode="reflect"), 2 * reach + 1
    )
    restless: Floats = np.quantile(windows, RESTLESS_QUANTILE, axis=1)
    return restless


class PowerCurve:
    """Energy from power at its refreshes, by the trapezoidal rule with interpolated ends.

    The moment within an interval at which the power changed is unknown. The errors of rare jumps
    are independent; those of a load that jumps every few refreshes may be synchronous with them
    and then add up (separately for jumps up and down).
    """

    def __init__(
        self, time_s: Floats, power_w: Floats, time_uncertainty_s: Floats, period_s: float
    ) -> None:
        self._period_s = period_s
        keep = np.concatenate([[True], np.diff(time_s) > 0])
        self._t, self._p, u = time_s[keep], power_w[keep], time_uncertainty_s[keep]
        widths_s = np.diff(self._t)
        self._e = np.concatenate([[0.0], np.cumsum(widths_s * (self._p[1:] + self._p[:-1]) / 2)])
        jumps = np.diff(self._p)
        # A steady slope is no jump, so changes are compared with their neighbours.
        padded = np.concatenate([[0.0], jumps, [0.0]])
        bends = np.fmax(np.abs(jumps - padded[:-2]), np.abs(jumps - padded[2:]))
        self._jumps_w = np.sign(jumps) * np.fmin(np.abs(jumps), bends)
        self._uncertainties_j = np.abs(self._jumps_w) * np.hypot(widths_s * UNIFORM, u[1:])

    def energy_at_j(self, time_s: Floats) -> Floats:
        """Return the energy until each time; beyond the refreshes the nearest power continues."""
        i = np.clip(np.searchsorted(self._t, time_s, side="right") - 1, 0, len(self._t) - 2)
        since_s = time_s - self._t[i]
        power_w = np.interp(time_s, self._t, self._p)
        within = self._e[i] + since_s * (self._p[i] + power_w) / 2
        beyond = self._e[-1] + (time_s - self._t[-1]) * self._p[-1]
        energy: Floats = np.where(time_s > self._t[-1], beyond, within)
        return energy

    def between(self, start_s: float, end_s: float) -> tuple[float, float]:
        """Return the energy between two times and its standard uncertainty, both in J."""
        start_j, end_j = self.energy_at_j(np.array([start_s, end_s]))
        first = max(0, int(np.searchsorted(self._t, start_s, side="right")) - 1)
        last = max(first, min(len(self._t) - 1, int(np.searchsorted(self._t, end_s))))
        t, jumps_w = self._t[first : last + 1], self._jumps_w[first:last]
        shares = (np.fmin(t[1:], end_s) - np.fmax(t[:-1], start_s)) / np.diff(t)
        parts_j = self._uncertainties_j[first:last] * np.clip(shares, 0, 1)
        beyond_j = max(0.0, end_s - self._t[-1]) * abs(self._p[-1])
        return float(end_j - start_j), math.hypot(self._combine(parts_j, jumps_w, t), beyond_j)

    def _combine(self, uncertainties_j: Floats, jumps_w: Floats, time_s: Floats) -> float:
        """Return the uncertainty of a sum over intervals, given each interval's."""
        refreshes = np.fmax(1, np.rint(np.diff(time_s) / self._period_s)).astype(int)
        unchanged = int(np.sum(refreshes - 1))  # within intervals longer than the period
        sizes = np.concatenate([np.abs(jumps_w), np.zeros(unchanged)])
        large = np.abs(jumps_w) > 5 * np.median(sizes) if len(sizes) else np.zeros(0, bool)
        # Small differences are noise of the readings rather than jumps at an unknown time.
        parts_j = [math.sqrt(6 * float(np.sum(uncertainties_j[~large] ** 2)))]
        for sign in (1, -1):
            selected = large & (np.sign(jumps_w) == sign)
            synchronous = self._are_synchronous(time_s[1:][selected], len(sizes))
            part = uncertainties_j[selected]
            parts_j.append(float(np.sum(part) if synchronous else np.sqrt(np.sum(part**2))))
        return math.hypot(*parts_j)

    def _are_synchronous(self, jumps_s: Floats, refreshes: int) -> bool:
        """Return whether jumps of one direction may all have the same phase between refreshes."""
        if len(jumps_s) < FEW_JUMPS:
            return len(jumps_s) > 1 and refreshes < DENSE_JUMPS * len(jumps_s)
        spacing = float(np.mean(np.diff(jumps_s))) / self._period_s
        slip = len(jumps_s) * abs(spacing - round(spacing))
        return slip < 1 or spacing < DENSE_JUMPS


class AveragedPowerCurve:
    """Energy from power that is reported as the mean of the last second.

    The energy of an interval is that of the interval one second earlier, plus the change of the
    mean. This leaves the first second undetermined; it is chosen to make the power smoothest (by
    the median change at each phase within a second). Energy over whole seconds does not depend on
    it, so only the parts of a long window near its edges are unfolded.
    """

    def __init__(
        self, time_s: Floats, mean_w: Floats, time_uncertainty_s: Floats, period_s: float
    ) -> None:
        self._bins = max(1, round(AVERAGING_S / period_s))
        self._step_s = AVERAGING_S / self._bins
        # The refresh whose time is known best determines the times of all others.
        best = int(np.argmin(time_uncertainty_s))
        self._timing_s = float(time_uncertainty_s[best])
        before = math.ceil((time_s[best] - time_s[0]) / self._step_s - 0.5)
        first_s = time_s[best] - before * self._step_s
        count = math.floor((time_s[-1] - first_s) / self._step_s + 1.5)
        self._t = first_s + self._step_s * np.arange(max(self._bins + 1, count))
        # A mean is almost linear between refreshes, so missed refreshes are interpolated.
        self._means_w = np.interp(self._t, time_s, mean_w)
        # For a power trace it is enough to assign each mean to the middle of its second.
        self._middles = PowerCurve(time_s - AVERAGING_S / 2, mean_w, time_uncertainty_s, period_s)

    def energy_at_j(self, time_s: Floats) -> Floats:
        """Return the energy until each time, smoothed over the second around it."""
        return self._middles.energy_at_j(time_s)

    def between(self, start_s: float, end_s: float) -> tuple[float, float]:
        """Return the energy between two times and its standard uncertainty, both in J."""
        n, reach = self._bins, UNFOLDED_S * self._bins
        first = max(0, int(np.searchsorted(self._t, start_s)) - 1)
        last = min(len(self._t) - 1, int(np.searchsorted(self._t, end_s)) + n)
        if last - first <= 3 * reach:
            return self._unfolded_between(first, last, start_s, end_s)
        # Whole seconds in the middle are determined by their means.
        a = first + reach
        seconds = (last - reach - a) // n
        b = a + seconds * n
        middle_j = float(np.sum(self._means_w[a + n : b + 1 : n])) * AVERAGING_S
        head_j, head_u = self._unfolded_between(first, a + reach, start_s, float(self._t[a]))
        tail_j, tail_u = self._unfolded_between(b - reach, last, float(self._t[b]), end_s)
        return head_j + middle_j + tail_j, math.hypot(head_u, tail_u)

    def _unfolded_between(
        self, first: int, last: int, start_s: float, end_s: float
    ) -> tuple[float, float]:
        last = max(last, min(len(self._t) - 1, first + self._bins))
        means_w = self._means_w[first : last + 1]
        groups = max(2, min(RESAMPLES, math.ceil(len(means_w) / self._bins)))
        energy_j, edges_j = self._curve(means_w, first, groups, None).between(start_s, end_s)
        # The jackknife: how much the result depends on each second.
        left_out = [
            self._curve(means_w, first, groups, k).between(start_s, end_s)[0] for k in range(groups)
        ]
        spread_j = math.sqrt((groups - 1) * float(np.var(left_out)))
        return energy_j, math.hypot(edges_j, spread_j)

    def _curve(
        self, means_w: Floats, first: int, groups: int, left_out: int | None
    ) -> CounterCurve:
        """Return the curve of some means, with the smoothest possible first second."""
        n = self._bins
        powers = _unfold(means_w, np.full(n, means_w[0]))
        changes = np.diff(powers)
        phase, second = np.arange(1, len(powers)) % n, np.arange(1, len(powers)) // n
        used = second % groups != (-1 if left_out is None else left_out)
        drop = np.zeros(n)
        for k in range(n):
            at = changes[used & (phase == k)]
            if len(at):
                drop[k] = -np.median(at)
        pattern = np.cumsum(drop - drop.mean())  # drops cancel over a whole second
        powers = _unfold(means_w, means_w[0] + pattern - pattern.mean())
        times = self._t[first] + self._step_s * np.arange(-n, len(powers) - n + 1)
        energy = np.concatenate([[0.0], np.cumsum(powers * self._step_s)])
        return CounterCurve(times, energy, np.full(len(times), self._timing_s))


def _unfold(means_w: Floats, first_w: Floats) -> Floats:
    """Return the power of every interval, including the second before the first mean."""
    n = len(first_w)
    powers: Floats = np.concatenate([first_w, n * np.diff(means_w)])
    for start in range(n, len(powers), n):
        part = powers[start : start + n]
        part += powers[start - n : start - n + len(part)]
    return powers


def power_curve(
    refreshes: Sequence[Refresh], until_s: float, period_s: float, averaged: bool
) -> PowerCurve | AveragedPowerCurve:
    """Return the curve of a power in watts.

    The value was still the last one at ``until_s``, and refreshes to the same value are invisible.
    An ``averaged`` power is the mean of the last second.
    """
    times, powers, uncertainties = columns(refreshes)
    end = max(until_s, times[-1] + 1e-9)
    # The last refresh to the old value came one period before the refresh to the new one.
    repeated = times[1:] - period_s
    late = repeated > times[:-1] + period_s / 2
    all_times = np.concatenate([times, repeated[late], [end]])
    order = np.argsort(all_times, kind="stable")
    all_powers = np.concatenate([powers, powers[:-1][late], powers[-1:]])
    all_uncertainties = np.concatenate([uncertainties, uncertainties[1:][late], uncertainties[-1:]])
    curve = AveragedPowerCurve if averaged else PowerCurve
    return curve(all_times[order], all_powers[order], all_uncertainties[order], period_s)


def columns(refreshes: Sequence[Refresh]) -> tuple[Floats, Floats, Floats]:
    """Return the times, values and uncertainties of refreshes."""
    rows = np.array([(r.time_s, r.value, r.uncertainty_s) for r in refreshes], dtype=float)
    return rows[:, 0], rows[:, 1], rows[:, 2]
