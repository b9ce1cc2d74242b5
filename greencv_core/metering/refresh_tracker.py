"""When the value of a meter is refreshed, found with as few polls as possible.

The driver reads a board's sensor every 20 to 100 ms. Between two refreshes the value does not
change, so a reading at the edge of a window is up to one refresh old. The tracker finds the cycle
of the refreshes. It polls just before and just after each is due, which gives their times to a
millisecond or two; :mod:`greencv_core.metering.energy_curves` interpolates the rest.
Every refresh of a power is followed. A counter loses nothing between polls, so only its refreshes
around the edges of windows and phases are followed, and the others now and then.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

from greencv_core.metering.refresh_cycle import (
    JITTER_S,
    REACH,
    SEARCH_S,
    TIGHT_S,
    USUAL_PERIOD_S,
    Refresh,
    RefreshCycle,
    cycle_through,
)
from greencv_core.metering.refresh_times import SeenRefresh, timed_by_cycle, timed_without_cycle

SEARCH_GAP_S = 0.002  # seconds between the first polls of a search for the cycle
SLOW_SEARCH_GAP_S = 0.004  # seconds between its later polls; most boards refresh every 20 to 100 ms
FAST_SEARCH_S = 0.03  # seconds of the fast part of a search
STILL_GAP_S = 0.033  # seconds between polls of a constant value
CONTINUOUS_GAP_S = 0.05  # seconds between polls of a value that changes at every poll
MARGIN_S = 0.0005
"""Seconds between a poll and the due time of a refresh, if the last polls confirmed the cycle."""
SINGLE_REFRESH_SHARE = 0.6
"""Share of a period below which the interval between two polls holds at most one refresh."""
MOST_OFF_CYCLE = 8  # consecutive refreshes off the cycle until the period is estimated again
QUICK_MOVES = 8  # consecutive polls with a new value, soon after each other: it is continuous
CONTINUOUS_SHARE = 1.5  # longest refresh period that is likely then, over their distance
PHASE_SHARE = 1 / 16
"""Share of a period to which the times of refreshes must be known after a pause in the polls."""
UNCLEAR_IN_A_ROW = 3  # values of unclear refreshes after which one refresh is searched for
OVERDUE_S = 0.01  # seconds for which a refresh is awaited after it was due
RESTARTS = 3  # searches after which a value is assumed to have no cycle
IRREGULAR_GAP_S = 0.012  # seconds between polls of a value without a cycle
UNCHECKED_REFRESHES = 4
"""Consecutive refreshes polled only after they are due, if the cycle is known well; such polls
detect late refreshes but no early ones. For a counter, consecutive polls between refreshes."""
TRACKED_GAP_S = 0.5  # seconds between polls of a counter away from edges
CLOSE_PERIODS = 3.5  # periods after an edge of a window or phase in which every refresh is followed
CLEARLY_AFTER = 0.9  # share of the margin from which a refresh that was due has happened
MISSED_PERIODS = 3  # refresh periods without a reading after which values were missed
OVERCONFIDENCE = 4  # true over stated uncertainty of a period, at worst


class RefreshTracker:
    """Polls one value and records its refreshes.

    Parameters
    ----------
    read
        Function that reads the value; its exceptions pass through :meth:`poll`.
    cycle
        Cycle found by an earlier tracker of the same value, to save the search.
    every_refresh
        Whether to follow every refresh.
    is_counter
        Whether a missed value loses nothing, since the next one includes it.
    """

    def __init__(
        self,
        read: Callable[[], float],
        cycle: RefreshCycle | None = None,
        *,
        every_refresh: bool = False,
        is_counter: bool = True,
    ) -> None:
        self._read = read
        self._is_counter = is_counter
        self._every_refresh = every_refresh
        self.cycle: RefreshCycle | None = None
        self.continuous = False
        """Whether the value changes at every poll, so that each poll is a refresh."""
        self._continuous_gap_s = SEARCH_GAP_S  # longest refresh period of such a value
        self.refreshes: list[SeenRefresh] = []
        self.missed: list[tuple[float, float]] = []  # times without a reading: start, end
        self.next_poll_s = 0.0
        self._known_cycle = self._earlier_cycle = cycle
        self._last_poll: tuple[float, float, float] | None = None
        self._quick_moves_s: list[float] = []
        """Seconds between the polls of consecutive new values."""
        self._was_unchanged = False
        self._tight: list[tuple[float, float]] = []
        """Times of the refresh before and of each one from which the cycle may be found."""
        self._search_began_s = 0.0
        self._margin_s = 2 * MARGIN_S
        self._off_cycle = self._restarts = 0
        self._refreshes_since_tight = UNCHECKED_REFRESHES
        self._reference: tuple[float, float] | None = None
        self._unclear_in_a_row = 0
        self._unclear: list[SeenRefresh] = []
        """Values that may come from either of two refreshes, as far as the poll showed."""
        self._last_seen: SeenRefresh | None = None
        self._lost_cycle: RefreshCycle | None = None
        """The last cycle that refreshes did not keep to."""
        self._close_until_s = -math.inf

    @property
    def polled_s(self) -> float:
        """Time of the last poll."""
        assert self._last_poll is not None, "poll() comes first"
        return self._last_poll[1]

    @property
    def period_s(self) -> float:
        """Refresh period in seconds, found or assumed."""
        if self.continuous:
            return self._continuous_gap_s
        cycle = self.cycle  # another thread may discard it
        return cycle.period_s if cycle else USUAL_PERIOD_S

    @property
    def spacing_s(self) -> float:
        """Seconds between two values that are read."""
        return CONTINUOUS_GAP_S if self.continuous else self.period_s

    def poll(self) -> None:
        """Read the value once; :attr:`next_poll_s` is the time of the next poll.

        An earlier poll marks an edge: the refreshes after it are followed closely.
        """
        before_s = time.monotonic()
        unplanned = before_s < self.next_poll_s
        value = self._read()
        after_s = time.monotonic()
        last, self._last_poll = self._last_poll, (before_s, after_s, value)
        if last is not None and before_s - last[1] > MISSED_PERIODS * self.spacing_s:
            self.missed.append((last[1], before_s))
            if self.cycle and 2 * self.cycle.drift_s(before_s) > PHASE_SHARE * self.period_s:
                self._search_phase(after_s)
        if last is None:
            self._record_first(before_s, after_s, value)
        elif value != last[2]:
            self._record(last[0], after_s, value, before_s)
        else:
            self._quick_moves_s, self._was_unchanged = [], True
            if (seen := self._last_seen) is not None:
                seen.last_read_s = before_s
            if self.continuous:  # only seemingly so, as polls came late
                self.continuous = False
                self._search_again(after_s)
        if unplanned:
            self._poll_closely(after_s)
        self._schedule(after_s)

    def _poll_closely(self, now_s: float) -> None:
        if self.cycle is not None:
            self._close_until_s = now_s + CLOSE_PERIODS * self.cycle.period_s

    def _record_first(self, before_s: float, after_s: float, value: float) -> None:
        self._search_began_s = after_s
        # The age of the first value is found with the cycle: see timeline().
        read_s = (before_s + after_s) / 2
        uncertainty_s = (after_s - before_s) / math.sqrt(12)
        first = SeenRefresh(read_s, uncertainty_s, value, read_s, -math.inf, after_s, before_s)
        self.refreshes.append(first)
        self._last_seen = first
        known = self._earlier_cycle
        if known is None:
            return
        uncertainty_s = known.uncertainty_s(after_s, max(MARGIN_S, known.anchor_uncertainty_s))
        if uncertainty_s < known.period_s / 20:  # recent enough to predict the refreshes
            self._earlier_cycle = None
            self._margin_s = max(2 * MARGIN_S, 2 * uncertainty_s)
            # A refresh that is due right now may be still to come.
            due_s = known.latest_until(after_s - REACH * math.hypot(uncertainty_s, JITTER_S))
            self.cycle = replace(known, anchor_s=due_s, anchor_width_s=2 * self._margin_s)
            self._reference = (known.anchor_s, max(4 * MARGIN_S, known.anchor_width_s))
            self._poll_closely(after_s)

    def _record(self, earliest_s: float, latest_s: float, value: float, before_s: float) -> None:
        width_s, read_s = latest_s - earliest_s, (before_s + latest_s) / 2
        unclear = self._is_ambiguous(earliest_s, latest_s)
        if self.cycle is not None and not unclear:
            time_s, uncertainty_s = self._locate(earliest_s, latest_s)
        else:
            time_s, uncertainty_s = (earliest_s + latest_s) / 2, width_s / math.sqrt(12)
        refresh = SeenRefresh(time_s, uncertainty_s, value, read_s, earliest_s, latest_s, before_s)
        self._last_seen = refresh
        if unclear:
            self._unclear.append(refresh)
            self._unclear_in_a_row += 1
            self._refreshes_since_tight = UNCHECKED_REFRESHES
            if self._unclear_in_a_row == UNCLEAR_IN_A_ROW:
                self._search_phase(latest_s)
            return
        self._unclear_in_a_row = 0
        self.refreshes.append(refresh)
        if self.cycle is None and not self.continuous:
            self._search_cycle(refresh, width_s)

    def _is_ambiguous(self, earliest_s: float, latest_s: float) -> bool:
        """Return whether a value may come from the refresh just due or from the one before.

        This happens if a poll at an edge, or a late one, coincides with a refresh.
        """
        cycle = self.cycle
        if cycle is None or not self._is_counter:
            return False
        due_s, early_s = cycle.nearest(latest_s), self._early_s(cycle, latest_s)
        late_s = CLEARLY_AFTER * self._margin_s + 2 * cycle.drift_s(latest_s)
        clear = latest_s < due_s - early_s or latest_s > due_s + late_s
        seen = len(self.refreshes) > 1
        seen_s = self.refreshes[-1].time_s + cycle.period_s / 2 if seen else -math.inf
        return not clear and due_s - cycle.period_s > max(seen_s, earliest_s - early_s)

    def _early_s(self, cycle: RefreshCycle, time_s: float) -> float:
        """Return how long before its due time a refresh may happen."""
        early_s = self._margin_s + 2 * cycle.uncertainty_s(time_s, self._margin_s)
        return min(early_s, cycle.period_s / 3)

    def _locate(self, earliest_s: float, latest_s: float) -> tuple[float, float]:
        """Return the time of a refresh between two polls, and its standard uncertainty.

        A refresh that is due between the polls confirms the cycle; otherwise the cycle has drifted
        and is corrected. The margin shrinks while refreshes are confirmed, so drift shows early.
        """
        cycle = self.cycle
        assert cycle is not None
        width_s, middle_s = latest_s - earliest_s, (earliest_s + latest_s) / 2
        tight = width_s < min(cycle.period_s / 2, max(TIGHT_S, 3 * self._margin_s))
        if width_s < SINGLE_REFRESH_SHARE * cycle.period_s:
            due_s = cycle.nearest(middle_s)
        else:
            # The value is that of the latest of several refreshes, which may have come early.
            due_s = cycle.latest_until(latest_s + self._early_s(cycle, latest_s))
        time_s, uncertainty_s, off_s = cycle.between(due_s, earliest_s, latest_s, self._margin_s)
        # A cycle that refreshes often miss, or that no poll around one confirms, is wrong.
        self._refreshes_since_tight = 0 if tight else self._refreshes_since_tight + 1
        is_off = off_s > cycle.period_s / 8 or not tight
        self._off_cycle = self._off_cycle + 1 if is_off else 0
        if self._off_cycle > MOST_OFF_CYCLE:
            self._search_again(latest_s)
            return time_s, uncertainty_s
        if off_s > self._margin_s / 2:
            self._margin_s = min(2 * self._margin_s, cycle.period_s / 8)
            self._poll_closely(latest_s)
        elif tight:
            self._margin_s = max(MARGIN_S, min(0.8 * self._margin_s, width_s))
        if tight or off_s > 0:
            self._update_cycle(time_s, max(2 * self._margin_s, off_s))
        return time_s, uncertainty_s

    def _update_cycle(self, time_s: float, width_s: float) -> None:
        """Update the cycle from a refresh within an interval of some width."""
        cycle = self.cycle
        assert cycle is not None
        if self._reference is None:
            self._reference = (time_s, width_s)
        first_s, first_width_s = self._reference
        period_s, drift_s = cycle.period_s, cycle.period_uncertainty_s
        periods = round((time_s - first_s) / period_s)
        uncertainty_s = math.hypot(width_s, first_width_s) / math.sqrt(12) / max(periods, 1)
        if periods >= 1 and uncertainty_s < 1.5 * drift_s:
            period_s, drift_s = (time_s - first_s) / periods, uncertainty_s
        if periods > 600:  # the card's clock drifts against ours: renew the reference
            self._reference, drift_s = (time_s, width_s), max(drift_s, 1e-5)
        self.cycle = RefreshCycle(time_s, width_s, period_s, drift_s)

    def _search_cycle(self, refresh: Refresh, width_s: float) -> None:
        # Late polls find a new value each time, too, however rarely it is refreshed.
        self._quick_moves_s = [*self._quick_moves_s, width_s] if width_s < TIGHT_S else []
        if len(self._quick_moves_s) >= QUICK_MOVES:
            self.continuous = True
            self._continuous_gap_s = CONTINUOUS_SHARE * statistics.fmean(self._quick_moves_s)
            return
        still_s = refresh.time_s - self.refreshes[-2].time_s
        if width_s > TIGHT_S:
            # After a constant value: poll closely from now on, unless this was a single step.
            if still_s < SEARCH_S:
                self._search_began_s = refresh.time_s
            else:
                self._tight = []
            return
        self._search_began_s = refresh.time_s
        self._tight.append((self.refreshes[-2].time_s, refresh.time_s))
        if self._earlier_cycle is not None:
            known, self._earlier_cycle = self._earlier_cycle, None
            self.cycle = replace(known, anchor_s=refresh.time_s, anchor_width_s=width_s)
            self._reference = None
            self._poll_closely(refresh.time_s)
            return
        if self._was_unchanged and (found := cycle_through(self._tight, width_s)):
            self.cycle = found
            self._reference = (self._tight[-3][1], width_s)
            self._off_cycle, self._margin_s = 0, max(2 * MARGIN_S, width_s)

    def _search_phase(self, now_s: float) -> None:
        """Search for one refresh: the period is known, but no longer when each is due."""
        self._earlier_cycle, self.cycle, self._tight = self.cycle, None, []
        self._search_began_s, self._off_cycle = now_s, 0

    def _search_again(self, now_s: float) -> None:
        self._lost_cycle = self.cycle or self._lost_cycle
        self._search_phase(now_s)
        self._earlier_cycle = None
        self._restarts += 1

    def _schedule(self, now_s: float) -> None:
        if self.continuous:
            self.next_poll_s = now_s + CONTINUOUS_GAP_S
        elif self.cycle is None:
            searched_s = now_s - self._search_began_s
            gap_s = (
                IRREGULAR_GAP_S
                if self._restarts > RESTARTS
                else SEARCH_GAP_S
                if searched_s < FAST_SEARCH_S and len(self.refreshes) < 8
                else SLOW_SEARCH_GAP_S
                if searched_s < SEARCH_S
                else STILL_GAP_S
            )
            self.next_poll_s = now_s + gap_s
        else:
            self.next_poll_s = self._next_on_cycle(self.cycle, now_s)

    def _stride(self, cycle: RefreshCycle, now_s: float) -> int:
        """Return how many periods ahead to poll: for a counter, as many as are predictable."""
        if self._every_refresh or now_s < self._close_until_s:
            return 1
        stride = math.ceil(TRACKED_GAP_S / cycle.period_s - 0.01)
        return max(1, min(stride, self._predictable_periods(cycle) // UNCHECKED_REFRESHES))

    def _predictable_periods(self, cycle: RefreshCycle) -> int:
        """Return how many periods ahead each refresh is known, by the margin and by its phase."""
        drift_s = max(2 * cycle.period_uncertainty_s, 1e-9)
        most_s = min(max(self._margin_s, 2 * MARGIN_S), PHASE_SHARE * cycle.period_s)
        return max(1, int(most_s / drift_s))

    def _next_on_cycle(self, cycle: RefreshCycle, now_s: float) -> float:
        # The time of the first refresh is not known yet.
        seen = len(self.refreshes) > 1
        last_s = cycle.nearest(self.refreshes[-1].time_s) if seen else cycle.anchor_s
        stride = self._stride(cycle, now_s)
        if stride > 1 and self._refreshes_since_tight < UNCHECKED_REFRESHES:
            # Halfway between two refreshes the value certainly comes from the first.
            step_s = stride * cycle.period_s
            halfway_s = last_s + cycle.period_s / 2
            return halfway_s + max(1, math.floor((now_s - halfway_s) / step_s + 1)) * step_s
        # After refreshes without a change the power is constant: wait for the next one.
        given_up_s = now_s - self._margin_s - min(cycle.period_s / 4, OVERDUE_S)
        periods = max(1, math.ceil((given_up_s - last_s) / cycle.period_s))
        due_s = last_s + periods * cycle.period_s
        # Poll before a refresh, too, to bracket it; if all are followed, only some of them.
        unchecked = min(UNCHECKED_REFRESHES, self._predictable_periods(cycle))
        if self._margin_s > 2 * MARGIN_S:
            unchecked = 1
        both_sides = stride > 1 or self._refreshes_since_tight >= unchecked
        before_s, after_s = due_s - self._margin_s, due_s + self._margin_s
        if now_s < before_s - 1e-4:
            return before_s if both_sides else after_s
        if now_s < after_s:  # if it is not known well when it is due, narrow that down
            return min(now_s + SEARCH_GAP_S, after_s)
        return now_s + 2 * self._margin_s

    def timeline(self) -> list[Refresh]:
        """Return the refreshes so far, at the times that all polls together give them.

        The first value was refreshed before the first poll, at a time inferred here.
        """
        if self.continuous:  # each value is of its poll, before or after any pause in it
            read_s = self._continuous_gap_s / math.sqrt(12)
            return [
                Refresh(r.read_s, math.hypot(read_s, r.latest_s - r.read_s), r.value, r.read_s)
                for r in self.refreshes
            ]
        if len(self.refreshes) < 2:
            return list(self.refreshes)
        cycle = self._cycle_to_fit()
        if cycle is not None:
            seen = sorted([*self.refreshes, *self._unclear], key=lambda refresh: refresh.read_s)
            timeline = timed_by_cycle(seen, cycle, is_counter=self._is_counter)
            if timeline is not None:
                return timeline
        return timed_without_cycle(self.refreshes)

    def _cycle_to_fit(self) -> RefreshCycle | None:
        """Return what is known of the cycle apart from the refreshes of this recording."""
        known, found = self._known_cycle, self.cycle or self._lost_cycle
        if found is None:
            return None
        if known is None:
            # Following late polls, a cycle seems better known than it is.
            return replace(found, period_uncertainty_s=OVERCONFIDENCE * found.period_uncertainty_s)
        surer = found.period_uncertainty_s < known.period_uncertainty_s / 10
        return found if surer and self._lost_cycle is None else known
